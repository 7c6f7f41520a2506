package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// Promise 10: (cluster) Memory, Redis and NATS pass one suite that kills the engine: what
// needs no engine goes on, a group send is whole or an error, subscriptions come back by
// themselves.
//
// Brokers for Redis and NATS are not written yet. Here the engine is a MemoryBroker, and
// each box is on a link to it that can be cut: then everything that needs the engine
// fails, or waits until its context ends, and nothing is delivered.
//
// Who sees to what: a broker bounds Unsubscribe, tells the engine again what it was
// subscribed to, and delivers what came meanwhile, in order; the link below stands for
// that. The boxes see to the rest: nothing but what needs the engine feels its absence,
// what fails leaves nothing behind, and what the history gave to a member that came
// meanwhile does not come again.
func TestPromise10OneSeamToMoreThanOneProcess(t *testing.T) {
	for name, silent := range map[string]bool{"the engine refuses": false, "the engine is silent": true} {
		t.Run(name, func(t *testing.T) {
			t.Run("what needs no engine goes on", func(t *testing.T) { testNoEngineNeeded(t, silent) })
			t.Run("a failed group send has sent nothing", func(t *testing.T) { testFailedSend(t, silent) })
			t.Run("a failed join leaves nothing", func(t *testing.T) { testFailedJoin(t, silent) })
			t.Run("closing is bounded", func(t *testing.T) { testClosingWithoutEngine(t, silent) })
			t.Run("what others sent meanwhile comes", func(t *testing.T) { testBackWithWhatWasMissed(t, silent) })
			t.Run("whole or an error, at any moment", func(t *testing.T) { testWholeOrAnError(t, silent) })
		})
	}
}

// promiseFails fails unless the call fails as it must without an engine: at once, or
// when its context ends.
func promiseFails(t *testing.T, what string, silent bool, call func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start, took, want := time.Now(), time.Duration(0), errEngine
	if silent {
		took, want = time.Second, context.DeadlineExceeded
	}
	err := call(ctx)
	if d := time.Since(start); d != took || !errors.Is(err, want) {
		t.Errorf("%s: %v after %v, want %v after %v", what, err, d, want, took)
	}
}

// Receiving, sends to what is here, leaving and closing: at once, in a bubble.
func testNoEngineNeeded(t *testing.T, silent bool) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := promiseCluster(t, silent)
		b := boxes[0]
		c, conn := boxMember(t, b, nil, "g", "h")
		boxSetUser(t, c, "ann")
		synctest.Wait()
		other, otherConn := boxMember(t, b, nil, "g")
		links[0].cutOff()
		start := time.Now()

		conn.Push(websocket.MessageText, []byte("hello"))
		if text, err := c.ReceiveText(t.Context()); err != nil || text != "hello" {
			t.Errorf("Receive: %q, %v", text, err)
		}
		if err := c.Send(t.Context(), "1"); err != nil {
			t.Errorf("Send: %v", err)
		}
		if err := b.SendTo(t.Context(), c.ID(), "2"); err != nil {
			t.Errorf("SendTo: %v", err)
		}
		boxWant(t, "received", boxFlushed(t, c, conn), []string{"1", "2"})
		promiseFails(t, "SendToUser, who is away", silent, func(ctx context.Context) error {
			_, err := b.SendToUser(ctx, "bob", "none of it")
			return err
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if res, err := b.SendToUser(ctx, "ann", "3"); err != nil || res.Queued != 1 || !res.Local {
			t.Errorf("SendToUser: %+v, %v; want it here, and that nobody else was reached", res, err)
		}
		boxWant(t, "received", boxFlushed(t, c, conn), []string{"3"})
		boxSetUser(t, other, "bob")
		boxWant(t, "bob", boxFlushed(t, other, otherConn), nil)
		if g := b.Groups(); g["g"] != 2 || g["h"] != 1 || len(b.Members("g")) != 2 || b.Stats().Groups != 2 {
			t.Errorf("groups %v", g)
		}
		newcomer, newConn := boxMember(t, b, nil)
		if err := newcomer.Send(t.Context(), "welcome"); err != nil {
			t.Error(err)
		}
		boxWant(t, "a newcomer", boxFlushed(t, newcomer, newConn), []string{"welcome"})
		if status, err := b.Leave(t.Context(), c, "g"); err != nil || status != wschannels.ChannelRemoved {
			t.Errorf("Leave: %v, %v", status, err)
		}
		if status, err := b.Leave(t.Context(), c, "h"); err != nil || status != wschannels.GroupRemoved {
			t.Errorf("Leave of the last: %v, %v", status, err)
		}
		if err := other.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("Close: %v", err)
		}
		took := time.Duration(0)
		if silent {
			took = 2 * time.Second // of the two that asked for other nodes
		}
		if d := time.Since(start); d != took || len(b.Groups()) != 0 {
			t.Errorf("it took %v, and %v are left; want %v, and no group", d, b.Groups(), took)
		}
		time.Sleep(2 * time.Second) // a broker's Unsubscribe takes a second here
		links[0].restore()
		boxJoin(t, b, c, "h", nil)
		boxSend(t, boxes[1], "h", "again", nil)
		boxWant(t, "after it came back", boxFlushed(t, c, conn), []string{"again"})
	})
}

// Not to one member of one box, not to the history, and no place in the order is used up.
func testFailedSend(t *testing.T, silent bool) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := promiseCluster(t, silent)
		a, aConn := boxMember(t, boxes[0], nil, "g")
		b, bConn := boxMember(t, boxes[1], nil, "g")
		boxSend(t, boxes[0], "g", "1", boxSave)
		links[0].cutOff()
		var res wschannels.SendResult
		promiseFails(t, "GroupSend", silent, func(ctx context.Context) (err error) {
			res, err = boxes[0].GroupSend(ctx, "g", "no", boxSave)
			return err
		})
		if res != (wschannels.SendResult{}) {
			t.Errorf("GroupSend: %+v, and it failed", res)
		}
		promiseFails(t, "History", silent, func(ctx context.Context) error {
			_, err := boxes[0].History(ctx, "g", nil)
			return err
		})
		boxWant(t, "the history, elsewhere", boxHistory(t, boxes[1], "g", nil), []string{"1"})
		links[0].restore()
		if res := boxSend(t, boxes[0], "g", "2", boxSave); res.Seq != 2 || res.Queued != 1 {
			t.Errorf("the next one: %+v, want Seq 2", res)
		}
		for _, box := range boxes {
			boxWant(t, "the history", boxHistory(t, box, "g", nil), []string{"1", "2"})
		}
		boxWant(t, "here", boxFlushed(t, a, aConn), []string{"1", "2"})
		boxWant(t, "elsewhere", boxFlushed(t, b, bConn), []string{"1", "2"})
	})
}

// Of a group that nobody is in, of one that is there already, with replay and without;
// and the same join succeeds later.
func testFailedJoin(t *testing.T, silent bool) {
	for _, opts := range []*wschannels.JoinOptions{nil, {ReplayLast: 5}} {
		synctest.Test(t, func(t *testing.T) {
			boxes, links := promiseCluster(t, silent)
			b := boxes[0]
			boxMember(t, b, nil, "g")
			boxSend(t, b, "g", "1", boxSave)
			c, conn := boxMember(t, b, nil)
			links[0].cutOff()
			for _, group := range []string{"g", "h"} {
				promiseFails(t, "Join "+group, silent, func(ctx context.Context) error {
					res, err := b.Join(ctx, c, group, opts)
					if res != (wschannels.JoinResult{}) {
						t.Errorf("Join %s: %+v, and it failed", group, res)
					}
					return err
				})
			}
			if g := b.Groups(); len(c.Groups()) != 0 || len(g) != 1 || g["g"] != 1 || len(b.Members("g")) != 1 {
				t.Errorf("the channel is in %q, the groups are %v; want none of it left", c.Groups(), g)
			}
			time.Sleep(2 * time.Second)
			if n := wschannels.Rooms(b); n != 1 {
				t.Errorf("%d groups are left in the table, want g", n)
			}
			links[0].restore()
			boxSend(t, b, "g", "2", boxSave)
			boxWant(t, "before it is a member", boxFlushed(t, c, conn), nil)
			boxJoin(t, b, c, "g", opts)
			boxJoin(t, b, c, "h", opts)
			boxSend(t, boxes[1], "g", "3", boxSave)
			boxSend(t, boxes[1], "h", "4", boxSave)
			want := []string{"3", "4"}
			if opts != nil {
				want = []string{"1", "2", "3", "4"}
			}
			boxWant(t, "received", boxFlushed(t, c, conn), want)
		})
	}
}

// Close, CloseAll and Shutdown wait for no engine, and two seconds later nothing is left.
// Shutdown waits for calls of the Broker that run, but of those that are left then none
// needs the engine, says the contract; this one's Unsubscribe takes a second to give up.
func testClosingWithoutEngine(t *testing.T, silent bool) {
	synctest.Test(t, func(t *testing.T) {
		before := promiseGoroutines()
		boxes, links := promiseCluster(t, silent)
		b := boxes[0]
		one, _ := boxMember(t, b, nil, "g", "h")
		var conns []*wschannelstest.Conn
		for range 5 {
			_, conn := boxMember(t, b, nil, "g", "i")
			conns = append(conns, conn)
		}
		links[0].cutOff()
		start := time.Now()
		if err := one.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("Close: %v", err)
		}
		if closed, err := b.CloseAll(t.Context(), 3005, ""); closed != 5 || err != nil {
			t.Errorf("CloseAll: %d, %v", closed, err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("Close and CloseAll took %v, want at once", d)
		}
		if err := b.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		want := time.Duration(0)
		if silent {
			want = time.Second
		}
		if d := time.Since(start); d != want {
			t.Errorf("Shutdown took %v, want %v", d, want)
		}
		for _, conn := range conns {
			if code, _, _ := conn.Closed(); code != 3005 {
				t.Errorf("closed with %d, want 3005", code)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if left := promiseGoroutines(); left > before {
			t.Errorf("%d goroutines are left", left-before)
		}
		boxNothingLeft(t, b)
	})
}

// One box is cut off while the other goes on. Its members get what they missed, once
// and in order, also one that joins when the engine is back and has it from the history.
func testBackWithWhatWasMissed(t *testing.T, silent bool) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := promiseCluster(t, silent)
		a, aConn := boxMember(t, boxes[0], nil, "g")
		b, bConn := boxMember(t, boxes[1], nil, "g")
		boxSend(t, boxes[0], "g", "1", boxSave)
		at, err := boxes[0].Position(t.Context(), "g")
		if err != nil {
			t.Fatal(err)
		}
		links[0].cutOff()
		boxSend(t, boxes[1], "g", "2", boxSave)
		boxSend(t, boxes[1], "g", "3", boxSave)
		boxWant(t, "where the engine is", boxFlushed(t, b, bConn), boxNumbers(1, 3))
		boxWant(t, "where it is not", boxFlushed(t, a, aConn), boxNumbers(1, 1))

		// The engine answers again before it has delivered.
		links[0].mu.Lock()
		cut := links[0].cut
		held := links[0].held
		links[0].cut, links[0].held = nil, nil
		links[0].mu.Unlock()
		close(cut)
		c, conn := boxMember(t, boxes[0], nil)
		if res := boxJoin(t, boxes[0], c, "g", &wschannels.JoinOptions{ReplayAfter: &at}); !res.Recovered || res.Replayed != 2 {
			t.Errorf("Join: %+v, want Recovered with 2", res)
		}
		for _, h := range held {
			h.to.Deliver(h.p)
		}
		boxSend(t, boxes[0], "g", "4", boxSave)
		boxWant(t, "the old member", boxFlushed(t, a, aConn), boxNumbers(2, 4))
		boxWant(t, "the new member", boxFlushed(t, c, conn), boxNumbers(2, 4))
		boxWant(t, "elsewhere", boxFlushed(t, b, bConn), boxNumbers(4, 4))
	})
}

// Four publishers in two boxes, whose links are cut and restored all the time: what was
// sent with success is with every member of both boxes, once, in the order of Seq, and
// what failed with nobody.
func testWholeOrAnError(t *testing.T, silent bool) {
	boxes, links := promiseCluster(t, silent)
	var read []func() []string
	for _, b := range boxes {
		for range 3 {
			c, conn := boxMember(t, b, &boxRoomy, "g")
			read = append(read, func() []string { return boxFlushed(t, c, conn) })
		}
	}
	type sent struct {
		seq  uint64
		text string
	}
	var mu sync.Mutex // guards what follows
	var all []sent
	failed := 0
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(all) >= 500 && failed >= 100
	}
	var publishing sync.WaitGroup
	until := time.Now().Add(boxPatience)
	for p := range 4 {
		publishing.Go(func() {
			link, cut, count := links[p%2], false, 0 // since it was cut or restored
			for i := 0; !enough() && time.Now().Before(until); i++ {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				text := fmt.Sprint(p, ".", i)
				res, err := boxes[p%2].GroupSend(ctx, "g", text, boxSave)
				cancel()
				runtime.Gosched() // the others' turn
				mu.Lock()
				if err == nil {
					all = append(all, sent{res.Seq, text})
				} else {
					failed++
				}
				mu.Unlock()
				switch count++; {
				case p > 1: // the link is another's to cut
				case !cut && count == 5:
					link.cutOff()
					cut, count = true, 0
				case cut && count == 2:
					link.restore()
					cut, count = false, 0
				}
			}
			if cut {
				link.restore()
			}
		})
	}
	publishing.Wait()
	if !enough() {
		t.Fatalf("%d sends succeeded and %d failed: too few of them", len(all), failed)
	}
	slices.SortFunc(all, func(a, b sent) int { return int(a.seq) - int(b.seq) })
	want := make([]string, len(all))
	for i, s := range all {
		want[i] = s.text
	}
	for i, got := range read {
		boxWant(t, fmt.Sprint("member ", i), got(), want)
	}
	boxWant(t, "the history", boxHistory(t, boxes[0], "g", nil), want)
}
