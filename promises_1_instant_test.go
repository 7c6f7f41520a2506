package wschannels_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// Six goroutines do nothing but fill; meanwhile what Stats shows is over no cap in any
// look, and has come near every one.
func testCapsAtAnyInstant(t *testing.T) {
	fixed := boxCost(t)
	limits := wschannels.Stats{
		Channels: 8, Groups: 5, Mailboxes: 4,
		QueuedBytes: 1000, HistoryBytes: 3000, MailboxBytes: 4 * 1000,
	}
	const perChannel, keys = 3, 10
	b := boxOf(t, &wschannels.Options{
		MaxChannels: limits.Channels, MaxGroups: limits.Groups, MaxGroupsPerChannel: perChannel,
		History: wschannels.HistoryLimits{Bytes: 2000}, HistoryTotalBytes: int(limits.HistoryBytes),
		MailboxBytes: 1000, MaxMailboxes: limits.Mailboxes,
	})
	l := chanLimiter(t, 1, time.Hour, &wschannels.RateLimitOptions{MaxKeys: keys})
	history := boxLog(t, &wschannels.HistoryLimits{Bytes: 10 * (fixed + 10), Len: 8})

	// The only channel that is sent to; its peer reads now and then.
	c, conn := boxMember(t, b, &wschannels.ChannelOptions{
		PayloadType: wschannels.Text, QueueBytes: int(limits.QueuedBytes), Slow: wschannels.SlowDropOldest, WriteTimeout: time.Hour,
	}, "g", "h")
	// This one is put into groups that nobody sends to.
	mover, _ := boxMember(t, b, nil)

	stop := make(chan struct{})
	var fillers sync.WaitGroup
	fill := func(what func(rnd *rand.Rand, text string)) {
		fillers.Go(func() {
			for rnd := rand.New(rand.NewPCG(1, uint64(fixed))); ; {
				select {
				case <-stop:
					return
				default:
					what(rnd, strings.Repeat("x", rnd.IntN(500)))
					runtime.Gosched() // locks are not fair to who only looks
				}
			}
		})
	}
	for range 2 {
		fill(func(rnd *rand.Rand, text string) {
			b.GroupSend(t.Context(), []string{"g", "h", "i"}[rnd.IntN(3)], text, &wschannels.SendOptions{SaveHistory: rnd.IntN(2) == 0})
		})
	}
	fill(func(rnd *rand.Rand, text string) {
		conn.Stall()
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			c.Send(ctx, text)
			cancel()
		}
		conn.Resume()
		boxWritten(conn)
	})
	fill(func(rnd *rand.Rand, text string) { b.SendToUser(t.Context(), fmt.Sprint(rnd.IntN(20)), text) })
	fill(func(rnd *rand.Rand, text string) {
		b.Join(t.Context(), mover, fmt.Sprint(rnd.IntN(20)), nil)
		b.Leave(t.Context(), mover, fmt.Sprint(rnd.IntN(20)))
		l.Allow(fmt.Sprint(rnd.IntN(1000)))
		history.Append(boxEntry(1, rnd.IntN(40)))
	})
	fill(func(rnd *rand.Rand, text string) {
		c, err := wschannels.NewChannel(wschannelstest.NewConn(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		if err := b.Add(c); err != nil || rnd.IntN(2) == 0 {
			c.CloseNow()
			for _, c := range b.Channels() {
				if rnd.IntN(2) == 0 && len(c.Groups()) == 0 && c != mover {
					c.CloseNow()
				}
			}
		}
	})

	type seen struct {
		what       string
		top, limit int64
	}
	caps := []*seen{}
	look := func(i int, what string, now, limit int64) {
		if i == len(caps) {
			caps = append(caps, &seen{what: what, limit: limit})
		}
		caps[i].top = max(caps[i].top, now)
		if now > limit {
			t.Errorf("%s: %d, and the cap is %d", what, now, limit)
		}
	}
	full := func() bool { // half
		return !slices.ContainsFunc(caps, func(c *seen) bool { return c.top < c.limit/2 })
	}
	looks := 0
	for until := time.Now().Add(boxPatience); looks < 20_000 || !full() && time.Now().Before(until); looks++ {
		s := b.Stats()
		look(0, "channels", int64(s.Channels), int64(limits.Channels))
		look(1, "groups", int64(s.Groups), int64(limits.Groups))
		look(2, "groups of a channel", int64(len(mover.Groups())), perChannel)
		look(3, "queued bytes", s.QueuedBytes, limits.QueuedBytes)
		look(4, "history bytes", s.HistoryBytes, limits.HistoryBytes)
		look(5, "mailboxes", int64(s.Mailboxes), int64(limits.Mailboxes))
		look(6, "mailbox bytes", s.MailboxBytes, limits.MailboxBytes)
		look(7, "limiter keys", int64(l.Stats().Keys), keys)
		look(8, "bytes of a history", int64(history.Bytes()), int64(10*(fixed+10)))
		look(9, "messages of a history", int64(history.Len()), 8)
		if t.Failed() {
			break
		}
	}
	close(stop)
	fillers.Wait()
	if !full() {
		for _, c := range caps {
			t.Errorf("%s: at most %d of %d were seen: too peaceful to mean anything", c.what, c.top, c.limit)
		}
	}
	t.Logf("looked %d times", looks)
	conn.Resume()
}
