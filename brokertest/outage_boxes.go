package brokertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

var outageBoxPromises = []promise{
	{"WhileTheEngineIsAwayLocalThingsGoOnAndSendsFailAsAWhole", testBoxAway},
	{"MembersMissNothingThatWasSavedWhenTheEngineDies", testBoxKilled},
	{"MembersOfANodeThatWasCutOffMissNothingThatWasSaved", testBoxCut},
}

func testBoxAway(t *testing.T, s *suite) {
	need(t, "Stop", s.f.Stop != nil)
	nodes := s.nodes(t, 2)
	bs := boxes(t, nodes, 0)
	a, b := member(t, bs[0], "g"), member(t, bs[1], "g")
	send(t, bs[0], "g", "before", keep)
	a.await(t, 1)
	b.await(t, 1)
	start := s.stop(t, nodes[0])
	for range 2 {
		ctx := lasting(t, time.Second)
		if res, err := bs[0].GroupSend(ctx, "g", "away", keep); !away(err) || res != (wschannels.SendResult{}) {
			t.Errorf("GroupSend: %+v, %v, want nothing, and ErrUnavailable or ErrUnknownOutcome", res, err)
		}
		if _, err := bs[0].Join(lasting(t, time.Second), connect(t, bs[0], false).c, "new", nil); !away(err) {
			t.Errorf("Join of a new group: %v, want ErrUnavailable or ErrUnknownOutcome", err)
		}
	}
	do(t, "Send", func(ctx context.Context) error { return a.c.Send(ctx, "direct") })
	do(t, "SendTo", func(ctx context.Context) error { return bs[0].SendTo(ctx, a.c.ID(), "to") })
	wantTexts(t, "the local channel", a.await(t, 3), "before", "direct", "to")
	leaver := connect(t, bs[1], false)
	_ = leaver.c.Close(websocket.StatusNormalClosure, "")
	if _, err := bs[1].Leave(patient(t), b.c, "g"); err != nil {
		t.Errorf("Leave: %v", err)
	}
	start()
	eventually(t, "group sends work", func() bool {
		_, err := bs[1].GroupSend(lasting(t, 5*time.Second), "g", "after", keep)
		return err == nil
	})
	a.awaitText(t, "after")
	settleBoxes(t, bs)
	wantTexts(t, "who has left", b.rest(t), "before")
}

// testBoxKilled sends saved messages alone: what clients get has no hole, but for one after
// the engine has lost its data.
func testBoxKilled(t *testing.T, s *suite) {
	s.needs(t, History)
	need(t, "Stop", s.f.Stop != nil)
	nodes := s.nodes(t, 2)
	s.boxesMissNothing(t, nodes, func() (works func()) {
		start := s.stop(t, nodes[0])
		return func() { start() }
	})
}

func testBoxCut(t *testing.T, s *suite) {
	s.needs(t, History)
	need(t, "Node", s.apart())
	need(t, "Cut", s.f.Cut != nil)
	nodes := s.nodes(t, 2)
	s.boxesMissNothing(t, nodes, func() (works func()) {
		s.f.Cut(t, nodes[0])
		return func() {}
	})
}

func (s *suite) boxesMissNothing(t *testing.T, nodes []wschannels.Broker, breakIt func() (works func())) {
	t.Helper()
	bs := boxes(t, nodes, 0)
	var cs []*client
	for i := range 4 {
		cl := connect(t, bs[i%2], true)
		cl.join(t, "g", nil)
		cs = append(cs, cl)
	}
	i := 0
	send := func(n int) (last wschannels.SendResult) {
		deadline := time.Now().Add(patience)
		for sent := 0; sent < n; i++ {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d messages could be sent", sent, n)
			}
			res, err := bs[i%2].GroupSend(lasting(t, 2*time.Second), "g", fmt.Sprint(i), keep)
			switch {
			case err == nil:
				sent++
				last = res
			case !away(err):
				t.Fatalf("GroupSend: %v, want ErrUnavailable or ErrUnknownOutcome", err)
			}
			<-time.After(time.Millisecond)
		}
		return last
	}
	for range 2 {
		send(30)
		works := breakIt()
		within(100*time.Millisecond, func() bool { // somebody tries, whatever comes of it
			_, _ = bs[i%2].GroupSend(lasting(t, 50*time.Millisecond), "g", fmt.Sprint(i), keep)
			i++
			return false
		})
		works()
		send(30)
	}
	last := send(1)
	var at wschannels.Position
	eventually(t, "the position can be had", func() (ok bool) { // its node may still be connecting
		var err error
		if at, err = bs[0].Position(lasting(t, 5*time.Second), "g"); err != nil && !away(err) {
			t.Errorf("Position: %v, want ErrUnavailable or ErrUnknownOutcome", err)
		}
		return err == nil
	})
	if at.Seq != last.Seq {
		t.Fatalf("the position is %+v, and the last message is at %d", at, last.Seq)
	}
	for k, cl := range cs {
		epoch, next := "", uint64(1)
		for _, e := range cl.awaitPosition(t, at) {
			if e.Epoch != epoch {
				if epoch != "" && s.f.KeepsData {
					t.Fatalf("client %d: epoch %q after %q, and the data was kept", k, e.Epoch, epoch)
				}
				epoch, next = e.Epoch, 1
			}
			if e.Seq != next {
				t.Fatalf("client %d gets %d of %q where %d is next", k, e.Seq, e.Epoch, next)
			}
			next++
		}
	}
}
