package wire

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
)

// documents are what an application might send as JSON: they share their shape, and
// little of what they say.
const documents = 64

var stock = sync.OnceValue(func() []string {
	all := make([]string, documents)
	r := rand.New(rand.NewPCG(1, 2)) // always the same
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	for i := range all {
		var s strings.Builder
		fmt.Fprintf(&s, `,"kind":%q,"room":"r-%d","author":{"id":%d,"name":%q,"level":%d,"online":%t},"tags":[%q,%q],"items":[`,
			pick("message", "edit", "reaction", "presence"), r.IntN(900), r.Int64N(1e12),
			pick("Ada", "Bela", "Chidi", "Dana", "Emre", "Farah")+" "+pick("Novak", "Okafor", "Silva", "Tanaka", "Weber"),
			r.IntN(80), r.IntN(2) == 0, pick("news", "sport", "music"), pick("today", "pinned", "draft"))
		for j := 0; s.Len() < 1<<15; j++ {
			if j > 0 {
				s.WriteByte(',')
			}
			fmt.Fprintf(&s, `{"id":"%016x","price":%.2f,"count":%d,"at":"2025-%02d-%02dT%02d:%02d:%02dZ","state":%q}`,
				r.Uint64(), r.Float64()*500, r.IntN(1000), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60),
				pick("open", "sold", "reserved", "returned"))
		}
		all[i] = s.String()
	}
	return all
})

// AppendDocument appends a JSON document of exactly size bytes, at least 256, that
// depends on t and n only. What does not fit of its list is cut, and padded.
func AppendDocument(p []byte, size int, t, n int64) []byte {
	const tail = `],"p":"`
	end := len(p) + size
	p = appendHead(p, t, n)
	body := stock()[n%documents]
	cut := end - len(p) - len(tail) - 2
	for cut > 0 && body[cut-1] != '}' && body[cut-1] != '[' {
		cut--
	}
	p = append(p, body[:cut]...)
	p = append(p, tail...)
	p = append(p, padding[:end-len(p)-2]...)
	return append(p, `"}`...)
}
