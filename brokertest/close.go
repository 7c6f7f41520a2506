package brokertest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/internal/leak"
)

var closePromises = []promise{
	{"AfterCloseAllCallsReturnErrClosed", testClosed},
	{"ANodeThatClosesGetsNothingMoreAndTakesNothingFromOthers", testCloseOne},
	{"TenNodesCloseAtOnceWhilePublishingAndLeaveNothing", testCloseAll},
}

func closeBroker(t *testing.T, b wschannels.Broker) {
	t.Helper()
	do(t, "Close", func(ctx context.Context) error { return b.Close(ctx) })
}

func testClosed(t *testing.T, s *suite) {
	b := s.open(t)
	r, l := record(t, b, "g"), newListener(echo)
	if s.f.Lacks&Requests == 0 {
		listen(t, b, "listened", l)
	}
	closeBroker(t, b)
	for _, c := range s.calls(b, r, newRecorder(t), l) {
		if err := c.call(patient(t)); !errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", c.name, err)
		}
	}
	if err := b.Close(patient(t)); err != nil && !errors.Is(err, wschannels.ErrClosed) {
		t.Errorf("a second Close: %v, want nil or ErrClosed", err)
	}
}

func testCloseOne(t *testing.T, s *suite) {
	need(t, "Node", s.apart())
	nodes := s.nodes(t, 3)
	rs := recordAll(t, nodes, "g")
	l := newListener(echo)
	if s.f.Lacks&Requests == 0 {
		listen(t, nodes[0], "a", l)
	}
	publish(t, nodes[1], saved("g", "1"))
	for _, r := range rs {
		r.await(t, "g", 1)
	}
	closeBroker(t, nodes[0])
	publish(t, nodes[1], saved("g", "2"))
	publish(t, nodes[2], saved("g", "3"))
	for _, r := range rs[1:] {
		inOrder(t, "a node that stays", r.await(t, "g", 3))
	}
	settle(t, nodes[1:]...)
	wantTexts(t, "the closed node", texts(rs[0].of("g")), "1")
	if s.f.Lacks&Requests == 0 {
		wantNobody(t, nodes[1], "a")
	}
	if s.f.Subscribed != nil {
		unsubscribe(t, nodes[1], "g", rs[1])
		unsubscribe(t, nodes[2], "g", rs[2])
		eventually(t, "the engine has no subscription", func() bool { return !s.f.Subscribed(t, nodes[1], "g") })
	}
}

func testCloseAll(t *testing.T, s *suite) {
	before := leak.Snapshot()
	t.Run("nodes", func(t *testing.T) { s.closeAll(t) }) // with all that its cleanups close
	if left := leak.Left(before, patience, s.f.Foreign...); len(left) > 0 {
		t.Errorf("%d goroutines left behind:\n\n%s", len(left), strings.Join(left, "\n\n"))
	}
}

func (s *suite) closeAll(t *testing.T) {
	nodes := s.nodes(t, 10)
	rs := recordAll(t, nodes, "g", "h")
	ctx := lasting(t, 2*patience) // one for all: a context for each call would be hundreds of thousands
	pause := func() { <-time.After(time.Millisecond) }
	var sent atomic.Int64
	var busy sync.WaitGroup
	for k, b := range nodes {
		busy.Go(func() {
			for {
				p := saved([]string{"g", "h"}[k%2], "x")
				if err := b.Publish(ctx, p); err != nil {
					if !errors.Is(err, wschannels.ErrClosed) && !away(err) {
						t.Errorf("Publish while the broker closes: %v, want ErrClosed, ErrUnavailable or ErrUnknownOutcome", err)
					}
					return
				}
				sent.Add(1)
			}
		})
		busy.Go(func() { // and some that come and go
			r := newRecorder(t)
			for ; b.Subscribe(ctx, "churn", r) == nil; pause() {
				_ = b.Unsubscribe(ctx, "churn", r)
			}
		})
		if h, ok := b.(wschannels.HistoryBroker); ok {
			busy.Go(func() {
				for ; ; pause() {
					if _, err := h.History(ctx, "g", &wschannels.HistoryOptions{Last: 5}); err != nil {
						return
					}
				}
			})
		}
	}
	eventually(t, "all are busy", func() bool { return sent.Load() > 200 && rs[9].all() > 50 })
	together(len(nodes), func(k int) {
		if err := nodes[k].Close(patient(t)); err != nil && !errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	busy.Wait()
	for _, b := range nodes {
		if err := b.Publish(patient(t), plain("g", "x")); !errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("Publish after Close: %v, want ErrClosed", err)
		}
	}
}
