package redisbroker_test

import (
	"slices"
	"testing"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

func TestEveryNodeGetsAGroupsMessagesInOrder(t *testing.T) {
	s := redistest.Start(t)
	a, b := open(t, s.URL(), nil), open(t, s.URL(), nil)
	var ra, rb recorder
	subscribe(t, a, &ra, "room")
	subscribe(t, b, &rb, "room")
	var epoch string
	for i := range 100 {
		from := a
		if i%2 == 1 {
			from = b
		}
		p := publish(t, from, saved("room", "x"))
		if p.Seq != uint64(i+1) || p.Epoch == "" || !p.Saved || epoch != "" && p.Epoch != epoch {
			t.Fatalf("message %d: %+v", i, p)
		}
		epoch = p.Epoch
	}
	for _, r := range []*recorder{&ra, &rb} {
		until(t, "100 messages", func() bool { return len(r.seqs("room")) >= 100 })
		if got := r.seqs("room"); !slices.Equal(got, upTo(100)) {
			t.Errorf("received %v", got)
		}
		if p := r.last(); p.Epoch != epoch || !p.Saved || p.Text() != "x" || p.Type != wschannels.Text {
			t.Errorf("received %+v", p)
		}
	}
	wantTexts(t, history(t, b, "room", &wschannels.HistoryOptions{Last: 2}), "99:x", "100:x")
}
