package wire

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"testing"
)

const someTime = 1234567890123456789

func TestPayloads(t *testing.T) {
	for _, make := range []struct {
		name   string
		append func(p []byte, size int, t, n int64) []byte
		sizes  []int
	}{
		{"payload", AppendPayload, []int{MinPayload, 128, 16 << 10}},
		{"document", AppendDocument, []int{256, 1 << 10, 16 << 10}},
	} {
		for _, size := range make.sizes {
			for _, n := range []int64{1, 9, 10, 63, 64, 12345678901} {
				p := make.append([]byte("before"), size, someTime, n)
				p = bytes.TrimPrefix(p, []byte("before"))
				if len(p) != size {
					t.Errorf("%s %d of %d bytes has %d", make.name, n, size, len(p))
				}
				var fields struct{ T, N int64 }
				if err := json.Unmarshal(p, &fields); err != nil || fields.T != someTime || fields.N != n {
					t.Errorf("%s %d of %d bytes says %v: %v", make.name, n, size, fields, err)
				}
				if bytes.IndexByte(p, '\n') >= 0 {
					t.Errorf("%s %d of %d bytes has a newline", make.name, n, size)
				}
				for _, wrapped := range [][]byte{p, fmt.Appendf(nil, `{"push":{"pub":{"data":%s}}}`, p)} {
					if gotT, gotN, ok := ParseHead(wrapped); gotT != someTime || gotN != n || !ok {
						t.Errorf("ParseHead(%.60s) = %d, %d, %v", wrapped, gotT, gotN, ok)
					}
				}
			}
		}
	}
}

func TestParseHeadOfOthers(t *testing.T) {
	p := AppendPayload(nil, 128, someTime, 7)
	for _, s := range []string{"", "ready", "{}", string(p[:afterTime]), string(p[1:]), `{"t":1,"n":2,"p":""}`} {
		if _, _, ok := ParseHead([]byte(s)); ok {
			t.Errorf("ParseHead(%q) succeeds", s)
		}
	}
}

// A document should compress as those of applications do: well, but not to nothing.
func TestDocumentsCompress(t *testing.T) {
	for n := range int64(documents) {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(AppendDocument(nil, 1<<10, someTime, n+1)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if b.Len() < 300 || b.Len() > 700 {
			t.Errorf("document %d of 1 KiB is compressed to %d bytes", n+1, b.Len())
		}
	}
}
