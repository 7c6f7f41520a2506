package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// Eight goroutines that do anything, in any order, to the same channels, also join one
// to one group at once, which the model leaves out: no deadlock, no result that
// contradicts itself, and in the end nothing is left.
func TestAnythingAtOnceToTheSameChannels(t *testing.T) {
	channels, groups, each := 2_000, 200, 10_000
	switch {
	case testing.Short():
		channels, groups, each = 500, 100, 2_000
	case boxRace:
		each = 3_000
	}
	before := runtime.NumGoroutine()
	b, err := wschannels.New(&wschannels.Options{
		HistoryTotalBytes: 1 << 20, MaxMailboxes: 50, MailboxBytes: 2000, MaxGroupsPerChannel: 20,
		History: wschannels.HistoryLimits{Len: 10},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()

	var mu sync.Mutex // guards pool
	pool := make([]*wschannels.Channel, channels)
	fresh := func(rnd *rand.Rand) *wschannels.Channel {
		conn := wschannelstest.NewConn()
		if rnd.IntN(20) == 0 {
			conn.Stall()
		}
		c, err := wschannels.NewChannel(conn, &wschannels.ChannelOptions{
			PayloadType: wschannels.PayloadType(rnd.IntN(3)), Slow: wschannels.SlowPolicy(rnd.IntN(3)), QueueBytes: 10 + rnd.IntN(50),
			CloseTimeout: time.Millisecond,
		})
		if err != nil {
			t.Error(err)
		}
		if err := b.Add(c); err != nil {
			t.Error(err)
		}
		return c
	}
	brief := func(f func(context.Context) error) error { // a stalled peer is not waited for
		ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		return f(ctx)
	}
	for i := range pool {
		pool[i] = fresh(rand.New(rand.NewPCG(1, uint64(i))))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		rnd := rand.New(rand.NewPCG(5, uint64(w)))
		wg.Go(func() {
			for range each {
				i, group, user := rnd.IntN(channels), fmt.Sprint("g", rnd.IntN(groups)), fmt.Sprint("u", rnd.IntN(5000))
				mu.Lock()
				c := pool[i]
				mu.Unlock()
				var err error
				switch rnd.IntN(20) {
				case 0, 1, 2, 3:
					_, err = b.Join(ctx, c, group, nil)
				case 4:
					err = brief(func(ctx context.Context) error {
						_, err := b.Join(ctx, c, group, &wschannels.JoinOptions{ReplayLast: 5})
						return err
					})
				case 5, 6, 7:
					_, err = b.Leave(ctx, c, group)
				case 8, 9, 10, 11:
					_, err = b.GroupSend(ctx, group, "a message", &wschannels.SendOptions{SaveHistory: rnd.IntN(3) == 0, Except: boxIDs(c)})
				case 12:
					_, err = b.SendToUser(ctx, user, "a message")
				case 13:
					err = brief(func(ctx context.Context) error { return b.SendTo(ctx, c.ID(), "a message") })
				case 14:
					err = c.SetUser(user)
				case 15:
					_, err = b.History(ctx, group, nil)
				case 16:
					b.Members(group)
					c.Groups()
					b.Group(group)
				case 17:
					if rnd.IntN(100) == 0 {
						b.Stats()
						b.Groups()
					}
				default:
					if rnd.IntN(2) == 0 {
						c.CloseNow()
					} else {
						c.Close(websocket.StatusNormalClosure, "")
					}
					c = fresh(rnd)
					mu.Lock()
					pool[i] = c
					mu.Unlock()
				}
				switch {
				case err == nil, errors.Is(err, wschannels.ErrClosed), errors.Is(err, wschannels.ErrNoSuchChannel),
					errors.Is(err, wschannels.ErrTooManyGroups), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, wschannels.ErrTooLarge):
				default:
					if c.Err() == nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	members := 0
	for _, n := range b.Groups() {
		members += n
	}
	memberships := 0
	for _, c := range b.Channels() {
		memberships += len(c.Groups())
	}
	if members != memberships || members == 0 {
		t.Errorf("groups have %d members, and channels %d memberships", members, memberships)
	}
	s := b.Stats()
	if s.Mailboxes > 50 || s.HistoryBytes > 1<<20 {
		t.Errorf("Stats: %+v: a cap does not hold", s)
	}
	if s.Mailboxes == 0 || s.HistoryBytes == 0 || s.Dropped == 0 || s.SlowClosed == 0 || s.QueuedMessages == 0 {
		t.Errorf("Stats: %+v: too peaceful to mean anything", s)
	}
	closed, err := b.CloseAll(ctx, websocket.StatusNormalClosure, "")
	if err != nil || closed == 0 {
		t.Errorf("CloseAll = %d, %v", closed, err)
	}
	if err := b.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	boxNothingLeft(t, b)
	boxGoroutines(t, before)
}

// Connect, join, send, leave, disconnect, a hundred thousand times: then everything is
// zero, down to the memory.
func TestNothingIsKeptOfChannelsThatHaveGone(t *testing.T) {
	total := 100_000
	switch {
	case testing.Short():
		total = 4_000
	case boxRace:
		total = 10_000
	}
	before := runtime.NumGoroutine()
	b, err := wschannels.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const workers = 4
	churn := func(n int) {
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range n / workers {
					conn := wschannelstest.NewConn()
					c, err := wschannels.NewChannel(conn, nil)
					if err != nil {
						t.Error(err)
						return
					}
					group := fmt.Sprint("g", i%100)
					if err := b.Add(c); err != nil {
						t.Error(err)
					}
					if _, err := b.Join(ctx, c, group, nil); err != nil {
						t.Error(err)
					}
					if _, err := b.Join(ctx, c, fmt.Sprint("own", w), nil); err != nil {
						t.Error(err)
					}
					if i%10 == 0 {
						if _, err := b.GroupSend(ctx, group, i, nil); err != nil {
							t.Error(err)
						}
					}
					if i%2 == 0 {
						if _, err := b.Leave(ctx, c, group); err != nil {
							t.Error(err)
						}
					}
					switch i % 3 {
					case 0:
						c.CloseNow()
					case 1:
						c.Close(websocket.StatusNormalClosure, "")
					case 2: // the peer hangs up
						conn.Hangup(websocket.StatusGoingAway, "")
						<-c.Done()
					}
				}
			})
		}
		wg.Wait()
		boxNothingLeft(t, b)
		boxGoroutines(t, before)
	}
	churn(total / 20)
	warm := memory()
	churn(total - total/20)
	if now := memory(); now > warm+4<<20 {
		t.Errorf("%d bytes are in use, and %d before: something is kept for each channel", now, warm)
	}
	if s := b.Stats(); s.Accepted != uint64(total) || s.Disconnected != uint64(total) {
		t.Errorf("Stats: %+v, want %d accepted and disconnected", s, total)
	}
	if err := b.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
