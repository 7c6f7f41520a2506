package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// farWriters has three goroutines on each box send number messages each, saved.
func farWriters(t *testing.T, boxes []*wschannels.ChannelBox, number int) {
	t.Helper()
	var writing sync.WaitGroup
	for i, b := range boxes {
		for w := range 3 {
			writing.Go(func() {
				for n := range number {
					res, err := b.GroupSend(t.Context(), "g", fmt.Sprint(i, ".", w, ".", n), boxSave)
					if err != nil || res.Queued != 2 || !res.Saved || res.Seq == 0 {
						t.Errorf("GroupSend: %+v, %v; want it queued for both members here", res, err)
						return
					}
				}
			})
		}
	}
	writing.Wait()
}

// Three boxes send at once: all members see one order, the history's, and each send has
// the counts of its own box. Also where copies are lost, and where they come twice.
func TestOneOrderOnAllNodes(t *testing.T) {
	for name, set := range map[string]func(n *farNode){
		"well": func(*farNode) {},
		// Not near the end: what is behind a message shows that it was lost.
		"lossy": func(n *farNode) { n.lose = func(p *wschannels.Publication) bool { return p.Seq%7 == 2 && p.Seq < 300 } },
		"twice": func(n *farNode) { n.twice = func(p *wschannels.Publication) bool { return p.Seq%5 == 2 } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				boxes, nodes := farCluster(t, 3, wschannels.Options{})
				var conns []*wschannelstest.Conn
				for i, b := range boxes {
					set(nodes[i])
					for range 2 {
						_, conn := boxMember(t, b, &boxRoomy, "g")
						conns = append(conns, conn)
					}
				}
				farWriters(t, boxes, 40)
				for _, n := range nodes {
					n.set(func() { n.lose = nil })
				}
				for _, b := range boxes {
					boxSend(t, b, "g", "end", boxSave)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				want := boxHistory(t, boxes[0], "g", nil)
				if len(want) != 363 {
					t.Fatalf("%d in the history", len(want))
				}
				for i, conn := range conns {
					boxWant(t, fmt.Sprint("member ", i), boxWritten(conn), want)
				}
				for _, b := range boxes {
					if s := b.Stats(); s.Lost != 0 || s.BrokerErrors != 0 {
						t.Errorf("%d lost, %d errors", s.Lost, s.BrokerErrors)
					}
				}
			})
		})
	}
}

// What SendResult says of members is of those here, under every policy.
func TestASendOverAWireHasItsOwnCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := farCluster(t, 2, wschannels.Options{})
		b := boxes[0]
		opts := boxText
		opts.QueueBytes = 4
		full := func(policy wschannels.SlowPolicy) *wschannelstest.Conn {
			opts.Slow = policy
			_, conn := boxMember(t, b, &opts, "g")
			conn.Stall()
			return conn
		}
		boxMember(t, boxes[1], nil, "g") // is not counted here
		boxMember(t, b, nil, "g")
		one, _ := boxMember(t, b, nil, "g")
		full(wschannels.SlowDropNewest)
		full(wschannels.SlowDropOldest)
		full(wschannels.SlowDisconnect)
		boxMember(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.JSON}, "g")
		for i, want := range []wschannels.SendResult{
			{Queued: 5}, // one is being written
			{Queued: 5},
			{Queued: 3, Dropped: 1, Evicted: 1, Closed: 1},
		} {
			synctest.Wait()
			got := boxSend(t, b, "g", "four", &wschannels.SendOptions{Except: boxIDs(one)})
			want.ID, want.Seq = got.ID, uint64(i+1)
			if got != want {
				t.Errorf("send %d: %+v, want %+v", i, got, want)
			}
		}
		if got := boxSend(t, b, "nobody's", "x", nil); got.Queued != 0 || got.Seq != 1 {
			t.Errorf("to nobody: %+v", got)
		}
	})
}

// A message that comes next in its group is with the members here when the send returns,
// without its copy, which is not delivered again.
func TestAMessageThatFollowsDoesNotWaitForItsCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, nodes := farCluster(t, 2, wschannels.Options{})
		_, conn := boxMember(t, boxes[0], nil, "g")
		for _, n := range nodes {
			n.set(func() { n.delay = time.Second })
		}
		start := time.Now()
		for i := range 3 {
			if res := boxSend(t, boxes[0], "g", fmt.Sprint(i+1), nil); res.Queued != 1 || res.Seq != uint64(i+1) {
				t.Errorf("GroupSend: %+v", res)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		time.Sleep(time.Minute)
		boxWant(t, "the member", boxWritten(conn), boxNumbers(1, 3))
		if s := boxes[0].Stats(); s.Lost != 0 {
			t.Errorf("%d lost", s.Lost)
		}
	})
}

// One that does not waits for what comes before it, from another node, too.
func TestAMessageThatDoesNotFollowWaitsForWhatIsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, nodes := farCluster(t, 2, wschannels.Options{})
		_, conn := boxMember(t, boxes[0], nil, "g")
		_, conn2 := boxMember(t, boxes[1], nil, "g")
		nodes[0].set(func() { nodes[0].delay = time.Second })
		start := time.Now()
		boxSend(t, boxes[1], "g", "1", nil)
		if res := boxSend(t, boxes[0], "g", "2", nil); res.Queued != 1 || res.Seq != 2 {
			t.Errorf("GroupSend: %+v", res)
		}
		if d := time.Since(start); d != 2*time.Second { // one after the other
			t.Errorf("it took %v", d)
		}
		time.Sleep(time.Minute)
		boxWant(t, "here", boxWritten(conn), boxNumbers(1, 2))
		boxWant(t, "there", boxWritten(conn2), boxNumbers(1, 2))
	})
}

// Neither its copy comes nor what is before it: the send has succeeded nevertheless, after as
// long as it may wait, and says nothing of members.
func TestASendDoesNotWaitForEverForItsCopy(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration // of the caller
		leave   bool          // the last member leaves
		want    time.Duration
	}{
		"BrokerTimeout":          {time.Hour, false, 5 * time.Second},
		"the caller's":           {time.Second, false, time.Second},
		"the last member leaves": {time.Hour, true, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				boxes, nodes := farCluster(t, 2, wschannels.Options{})
				c, _ := boxMember(t, boxes[0], nil, "g")
				nodes[0].lose = func(*wschannels.Publication) bool { return true }
				boxSend(t, boxes[1], "g", "before", nil)
				if tt.leave {
					time.AfterFunc(2*time.Second, func() { boxes[0].Leave(context.Background(), c, "g") })
				}
				ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
				defer cancel()
				start := time.Now()
				res, err := boxes[0].GroupSend(ctx, "g", "x", boxSave)
				if err != nil || res.Queued != 0 || res.Seq != 2 || !res.Saved || res.Local {
					t.Errorf("GroupSend: %+v, %v", res, err)
				}
				if d := time.Since(start); d != tt.want {
					t.Errorf("it took %v, want %v", d, tt.want)
				}
				if n := wschannels.PendingSends(boxes[0]); n != 0 {
					t.Errorf("%d sends are still waited for", n)
				}
			})
		})
	}
}

// A message whose outcome the engine did not tell, and that came, was sent.
func TestASendThatCameBackHasSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, nodes := farCluster(t, 1, wschannels.Options{})
		_, conn := boxMember(t, boxes[0], nil, "g")
		nodes[0].after = func(context.Context, *wschannels.Publication) error {
			time.Sleep(time.Second)
			return wschannels.ErrUnknownOutcome
		}
		res, err := boxes[0].GroupSend(t.Context(), "g", "x", nil)
		if err != nil || res.Queued != 1 || res.Seq != 1 {
			t.Errorf("GroupSend: %+v, %v", res, err)
		}
		boxWant(t, "the member", boxWritten(conn), []string{"x"})
	})
}

// The engine loses all its data, and each node hears of it at another time.
func TestANewOrderOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports atomic.Int32
		boxes, nodes := farCluster(t, 2, wschannels.Options{Events: wschannels.Events{OnError: func(_ *wschannels.Channel, err error) {
			if errors.Is(err, wschannels.ErrNewOrder) {
				reports.Add(1)
			}
		}}})
		_, conn := boxMember(t, boxes[0], nil, "g")
		_, conn2 := boxMember(t, boxes[1], nil, "g")
		boxSend(t, boxes[0], "g", "1", boxSave)
		time.Sleep(time.Second)
		nodes[0].cut(false)
		nodes[1].cut(false)
		engine := newFarEngine(t)
		nodes[0].moveTo(t, engine)
		nodes[0].restore()
		boxSend(t, boxes[0], "g", "2", boxSave)
		boxSend(t, boxes[0], "g", "3", boxSave)
		nodes[1].moveTo(t, engine)
		nodes[1].restore()
		time.Sleep(time.Second)
		if res := boxSend(t, boxes[1], "g", "4", boxSave); res.Queued != 1 || res.Seq != 3 {
			t.Errorf("GroupSend: %+v", res)
		}
		time.Sleep(time.Second)
		boxWant(t, "here", boxWritten(conn), boxNumbers(1, 4))
		boxWant(t, "there", boxWritten(conn2), boxNumbers(1, 4))
		if n := reports.Load(); n != 2 {
			t.Errorf("%d reports, want one of each node", n)
		}
	})
}

// Ten thousand groups after an outage: every one is filled, by few goroutines, a few
// questions at a time.
func TestManyGroupsCatchUpAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups = 10_000
		boxes, nodes := farCluster(t, 2, wschannels.Options{MaxGroupsPerChannel: groups})
		c, conn := boxMember(t, boxes[0], &boxRoomy)
		name := func(i int) string { return fmt.Sprint("g", i) }
		for i := range groups {
			boxJoin(t, boxes[0], c, name(i), nil)
		}
		nodes[0].cut(false)
		for i := range groups {
			boxSend(t, boxes[1], name(i), fmt.Sprint(i), boxSave)
		}
		before := runtime.NumGoroutine()
		nodes[0].set(func() { nodes[0].askDelay, nodes[0].most, nodes[0].calls = time.Millisecond, 0, 0 })
		nodes[0].restore()
		time.Sleep(50 * time.Millisecond)
		if n := runtime.NumGoroutine() - before; n > 30 {
			t.Errorf("%d goroutines more", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		got := boxFlushed(t, c, conn)
		slices.Sort(got)
		want := boxNumbers(0, groups-1)
		slices.Sort(want)
		boxWant(t, "the member", got, want)
		if n := nodes[0]; n.most != 16 || n.calls != groups {
			t.Errorf("%d questions, %d at a time; want %d, 16", n.calls, n.most, groups)
		}
	})
}
