package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// One member stalls: it is closed with 4004 and counted, and the others wait for
// nothing, not even for time to pass.
func TestStalledMemberDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards ended
		var ended []error
		b := boxOf(t, &wschannels.Options{Events: wschannels.Events{
			OnDisconnect: func(_ *wschannels.Channel, err error) {
				mu.Lock()
				defer mu.Unlock()
				ended = append(ended, err)
			},
		}})
		opts := boxText
		opts.QueueBytes = 50
		stalled, stalledConn := boxMember(t, b, &opts, "g", "other")
		stalledConn.Stall()
		var others []*wschannelstest.Conn
		for range 20 {
			_, conn := boxMember(t, b, &opts, "g")
			others = append(others, conn)
		}
		start := time.Now()
		var closed int
		for i := range 100 {
			text := fmt.Sprintf("%010d", i)
			res := boxSend(t, b, "g", text, nil)
			closed += res.Closed
			if want := 21; i < 6 && (res.Queued != want || res.Closed != 0) {
				t.Fatalf("message %d: %+v, want %d queued: 1 being written, 5 of 10 bytes waiting", i, res, want)
			}
			synctest.Wait()
			for _, conn := range others {
				boxWant(t, "another member", boxWritten(conn), []string{text})
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("the others waited for %v", waited)
		}
		if closed != 1 || len(b.Members("g")) != 20 || b.Groups()["other"] != 0 {
			t.Errorf("Closed = %d, groups %v, want the stalled one out", closed, b.Groups())
		}
		if got := boxEnd(t, stalled); got != wschannels.StatusSlowConsumer || !errors.Is(stalled.Err(), wschannels.ErrSlowConsumer) {
			t.Errorf("Err() = %v, want 4004 and ErrSlowConsumer", stalled.Err())
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(ended) != 1 || ended[0] != stalled.Err() {
			t.Errorf("OnDisconnect: %v, want %v once", ended, stalled.Err())
		}
		if s := b.Stats(); s.SlowClosed != 1 || s.Dropped != 6 || s.Sent != 2000 || s.Channels != 20 {
			t.Errorf("Stats: %+v, want 1 slow, its 6 messages dropped, 2000 sent", s)
		}
	})
}

func TestSlowPolicies(t *testing.T) {
	for _, tt := range []struct {
		policy wschannels.SlowPolicy
		full   wschannels.SendResult // of the message for which there is no room
		huge   wschannels.SendResult // of one that is alone over QueueBytes
		got    []string
	}{
		{wschannels.SlowDropNewest, wschannels.SendResult{Dropped: 1}, wschannels.SendResult{Dropped: 1}, []string{"aaaa", "bbbb", "cccc"}},
		{wschannels.SlowDropOldest, wschannels.SendResult{Queued: 1, Evicted: 2}, wschannels.SendResult{Dropped: 1}, []string{"aaaa", "dddddddd"}},
		{wschannels.SlowDisconnect, wschannels.SendResult{Closed: 1}, wschannels.SendResult{}, nil},
	} {
		t.Run(fmt.Sprint(tt.policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := boxOf(t, nil)
				opts := boxText
				opts.QueueBytes, opts.Slow = 8, tt.policy
				c, conn := boxMember(t, b, &opts, "g")
				conn.Stall()
				for _, text := range []string{"aaaa", "bbbb", "cccc"} { // one being written, two waiting
					if res := boxSend(t, b, "g", text, nil); res.Queued != 1 {
						t.Fatalf("%s: %+v", text, res)
					}
					synctest.Wait()
				}
				for _, m := range []struct {
					text string
					want wschannels.SendResult
				}{{"dddddddd", tt.full}, {"nine bytes", tt.huge}} {
					res := boxSend(t, b, "g", m.text, nil)
					m.want.ID, m.want.Seq = res.ID, res.Seq
					if res != m.want {
						t.Errorf("%s: %+v, want %+v", m.text, res, m.want)
					}
				}
				if tt.policy == wschannels.SlowDisconnect {
					if got := boxEnd(t, c); got != wschannels.StatusSlowConsumer {
						t.Errorf("closed with %v, want 4004", got)
					}
					return
				}
				conn.Resume()
				boxWant(t, "received", boxFlushed(t, c, conn), tt.got)
			})
		})
	}
}

// A message that alone is over QueueBytes closes a member that must not miss any.
func TestSlowDisconnectClosesAMemberThatCannotHaveAMessage(t *testing.T) {
	b := boxOf(t, nil)
	opts := boxText
	opts.QueueBytes = 8
	c, _ := boxMember(t, b, &opts, "g")
	if res := boxSend(t, b, "g", "nine bytes", nil); res.Closed != 1 || res.Queued != 0 {
		t.Errorf("result %+v, want 1 closed", res)
	}
	if got := boxEnd(t, c); got != wschannels.StatusSlowConsumer {
		t.Errorf("closed with %v, want 4004", got)
	}
}

// A member that dies in the middle of a broadcast takes nothing from the others.
func TestMembersDieDuringBroadcasts(t *testing.T) {
	for name, die := range map[string]func(*wschannelstest.Conn){
		"reset":       func(conn *wschannelstest.Conn) { conn.FailReads(io.ErrUnexpectedEOF) },
		"write error": func(conn *wschannelstest.Conn) { conn.FailWrites(io.ErrClosedPipe) },
		"closes":      func(conn *wschannelstest.Conn) { conn.Hangup(websocket.StatusGoingAway, "") },
		"hangs up":    func(conn *wschannelstest.Conn) { conn.Hangup(websocket.StatusAbnormalClosure, "") },
	} {
		t.Run(name, func(t *testing.T) {
			var disconnects atomic.Int32
			b := boxOf(t, &wschannels.Options{Events: wschannels.Events{
				OnDisconnect: func(*wschannels.Channel, error) { disconnects.Add(1) },
			}})
			healthy, conn := boxMember(t, b, &boxRoomy, "g")
			var dying []*wschannelstest.Conn
			for range 10 {
				_, conn := boxMember(t, b, &boxRoomy, "g", "another")
				dying = append(dying, conn)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				for _, conn := range dying {
					die(conn)
				}
			})
			for i := range 200 {
				boxSend(t, b, "g", fmt.Sprint(i+1), nil)
			}
			wg.Wait()
			boxSend(t, b, "g", "201", nil) // a failed write needs one
			boxWant(t, "the healthy one", boxFlushed(t, healthy, conn), boxNumbers(1, 201))
			boxEventually(t, "all 10 are gone", func() bool { return disconnects.Load() == 10 })
			if g := b.Groups(); len(b.Channels()) != 1 || g["g"] != 1 || len(g) != 1 {
				t.Errorf("left: %d channels, groups %v, want the healthy one in g", len(b.Channels()), g)
			}
		})
	}
}

// No silent loss: what was accepted is delivered, queued or dropped, and both the
// results and Stats say so, to the message.
func TestConservation(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { boxConservationRun(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func boxConservationRun(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	b := boxOf(t, nil)
	var cs []*wschannels.Channel
	var conns []*wschannelstest.Conn
	for i := range 9 {
		c, conn := boxMember(t, b, &wschannels.ChannelOptions{
			PayloadType: wschannels.PayloadType(rnd.IntN(3)), QueueBytes: 20 + rnd.IntN(200),
			Slow: wschannels.SlowPolicy(i % 3), WriteTimeout: time.Hour, Heartbeat: -1, CloseTimeout: time.Second,
		}, "g")
		cs, conns = append(cs, c), append(conns, conn)
	}
	var mu sync.Mutex // guards the sums
	var sum wschannels.SendResult
	var direct, replayed int
	var wg sync.WaitGroup
	for p := range 3 {
		rnd := rand.New(rand.NewPCG(seed, 20+uint64(p)))
		wg.Go(func() {
			for i := range 60 {
				text := fmt.Sprintf("%d.%0*d", p, 1+rnd.IntN(40), i)
				switch n := rnd.IntN(len(cs)); rnd.IntN(12) {
				case 0:
					conns[n].Stall()
				case 1:
					conns[n].Resume()
				case 2:
					if b.SendTo(t.Context(), cs[n].ID(), text) == nil {
						mu.Lock()
						direct++
						mu.Unlock()
					}
				case 3: // its own members, so that no join is cut short
					n = 3*p + 1 + rnd.IntN(2)
					b.Leave(t.Context(), cs[n], "g")
					res, err := b.Join(t.Context(), cs[n], "g", &wschannels.JoinOptions{ReplayLast: 3})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					replayed += res.Replayed
					mu.Unlock()
				default:
					res, err := b.GroupSend(t.Context(), "g", text, &wschannels.SendOptions{SaveHistory: rnd.IntN(2) == 0})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					sum.Queued += res.Queued
					sum.Dropped += res.Dropped
					sum.Evicted += res.Evicted
					sum.Closed += res.Closed
					mu.Unlock()
				}
			}
		})
	}
	// A send or a replay may wait for a peer that nobody wakes up.
	stop := make(chan bool)
	var waker sync.WaitGroup
	waker.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				conns[i%len(conns)].Resume()
			}
		}
	})
	wg.Wait()
	close(stop)
	waker.Wait()
	synctest.Wait()

	accepted := sum.Queued + direct + replayed
	received := 0
	check := func(when string) {
		t.Helper()
		s := b.Stats()
		for _, conn := range conns {
			received += len(boxWritten(conn))
		}
		if int(s.Sent) != received {
			t.Errorf("seed %d, %s: Sent = %d, but the peers got %d", seed, when, s.Sent, received)
		}
		if got := int(s.Sent) + int(s.QueuedMessages) + int(s.Dropped) - sum.Dropped; got != accepted {
			t.Errorf("seed %d, %s: %d sent, %d queued, %d dropped of which %d were not accepted: %d, but %d were accepted (%d to the group, %d directly, %d replayed)",
				seed, when, s.Sent, s.QueuedMessages, s.Dropped, sum.Dropped, got, accepted, sum.Queued, direct, replayed)
		}
		if int(s.SlowClosed) != sum.Closed {
			t.Errorf("seed %d, %s: SlowClosed = %d, but the results say %d", seed, when, s.SlowClosed, sum.Closed)
		}
	}
	for i := range conns {
		if i%2 == 0 {
			conns[i].Resume()
		} else { // one message is being written, and more wait
			conns[i].Stall()
		}
	}
	res := boxSend(t, b, "g", "last", nil)
	accepted += res.Queued
	sum.Dropped += res.Dropped
	sum.Closed += res.Closed
	for _, c := range slices.Clone(b.Channels()) {
		if rnd.IntN(2) == 0 {
			c.CloseNow()
		}
	}
	for _, conn := range conns {
		conn.Resume()
	}
	synctest.Wait()
	check("when the peers have read")
	for _, conn := range conns {
		conn.Stall()
	}
	b.CloseAll(t.Context(), websocket.StatusNormalClosure, "")
	check("when all are closed")
}

// boxUnanswered is a broker whose engine delivers and then does not answer.
type boxUnanswered struct {
	*wschannels.MemoryBroker
	silent atomic.Bool
}

func (b *boxUnanswered) Publish(ctx context.Context, p *wschannels.Publication) error {
	err := b.MemoryBroker.Publish(ctx, p)
	if b.silent.Load() {
		return errors.New("no answer")
	}
	return err
}

// A member that found no room is closed, also if the send that found it out failed.
func TestSlowMemberOfAFailedSendIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, err := wschannels.NewMemoryBroker(nil)
		if err != nil {
			t.Fatal(err)
		}
		broker := &boxUnanswered{MemoryBroker: memory}
		b := boxOf(t, &wschannels.Options{Broker: broker})
		opts := boxText
		opts.QueueBytes = 10
		c, conn := boxMember(t, b, &opts, "g")
		conn.Stall()
		broker.silent.Store(true)
		for range 3 {
			if _, err := b.GroupSend(t.Context(), "g", "12345678", nil); err == nil {
				t.Fatal("GroupSend succeeded, want the broker's error")
			}
			synctest.Wait()
		}
		if code := boxEnd(t, c); code != wschannels.StatusSlowConsumer {
			t.Errorf("closed with %d, want 4004", code)
		}
	})
}

// Messages of a byte take much more than that: their number has a cap, too.
func TestTinyMessagesHaveACap(t *testing.T) {
	const most = 1 << 16
	synctest.Test(t, func(t *testing.T) {
		for policy, want := range map[wschannels.SlowPolicy]wschannels.SendResult{
			wschannels.SlowDropNewest: {Dropped: 1},
			wschannels.SlowDropOldest: {Queued: 1, Evicted: 1},
			wschannels.SlowDisconnect: {Closed: 1},
		} {
			b := boxOf(t, nil)
			opts := boxText
			opts.Slow = policy
			c, conn := boxMember(t, b, &opts, "g")
			conn.Stall()
			boxSend(t, b, "g", "x", nil)
			synctest.Wait() // it is being written
			for i := range most {
				if res := boxSend(t, b, "g", "x", nil); res.Queued != 1 || res.Evicted != 0 {
					t.Fatalf("%v: message %d: %+v", policy, i, res)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := c.Send(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v: Send: %v, want it to wait", policy, err)
			}
			cancel()
			res := boxSend(t, b, "g", "x", nil)
			res.ID, res.Seq = uuid.UUID{}, 0
			if res != want {
				t.Errorf("%v: %+v, want %+v", policy, res, want)
			}
			if n := b.Stats().QueuedMessages; n > most {
				t.Errorf("%v: %d messages wait", policy, n)
			}
			if err := c.CloseNow(); err != nil {
				t.Error(err)
			}
		}
	})
}

// What is held during joins has one cap for all groups of a channel.
func TestHeldMessagesHaveACap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		opts := boxText
		opts.QueueBytes, opts.Slow = 1000, wschannels.SlowDropNewest
		c, conn := boxMember(t, b, &opts)
		conn.Stall()
		groups := boxNumbers(1, 10)
		for _, g := range groups {
			for range 3 {
				boxSend(t, b, g, strings.Repeat("x", 900), &wschannels.SendOptions{SaveHistory: true})
			}
			go func() { _, _ = b.Join(t.Context(), c, g, &wschannels.JoinOptions{ReplayLast: 3}) }() // ends with c
		}
		synctest.Wait()
		dropped := 0
		for _, g := range groups {
			dropped += boxSend(t, b, g, strings.Repeat("x", 600), nil).Dropped
		}
		if n := b.Stats().QueuedBytes; n > 2000 || dropped != 9 {
			t.Errorf("%d bytes wait and %d messages were dropped, want at most 2000, and 9", n, dropped)
		}
		if err := c.CloseNow(); err != nil {
			t.Error(err)
		}
	})
}
