package redisbroker

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

type deaf struct{ n int }

func (d *deaf) Deliver(*wschannels.Publication)       { d.n++ }
func (*deaf) Appear(string, wschannels.PresenceEntry) {}
func (*deaf) Interrupted(string)                      {}
func (*deaf) Failed(error)                            {}

// BenchmarkDecode is what the connection's goroutine does beside reading.
func BenchmarkDecode(b *testing.B) {
	p := &wschannels.Publication{Message: wschannels.Message{ID: uuid.New(), Created: time.Now(), Data: []byte(strings.Repeat("x", 256))}}
	data, err := appendPublication(nil, p, true)
	if err != nil {
		b.Fatal(err)
	}
	l := newLink(&Broker{topics: make(map[string]*topic)}, nil, nil, "probe")
	var d deaf
	t := &topic{kind: ofGroup, name: "a", link: l, members: []*member{{who: &d}}}
	t.list()
	l.b.topics["c"] = t
	m := rueidis.PubSubMessage{Channel: "c", Message: "p0123456789abcdef\x00\x00\x00\x00\x00\x00\x00\x00" + string(data)}
	b.ReportAllocs()
	for b.Loop() {
		t.seen.seq = 0
		l.receive(m)
	}
	if d.n == 0 {
		b.Fatal("nothing was delivered")
	}
}
