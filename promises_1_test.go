package wschannels_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// Promise 1: every buffer (queues, history, mailboxes, limiter tables) has a cap that is
// never exceeded at any instant, and Stats shows it.
//
// First each cap by itself: what fits to the byte, and what one more does. Then all of
// them while everybody writes and somebody looks all the time.
func TestPromise1EveryBufferHasACap(t *testing.T) {
	t.Run("queue", testQueueCap)
	t.Run("what waits behind a replay", testHeldCap)
	t.Run("history", testHistoryCap)
	t.Run("all histories", testHistoryTotalCap)
	t.Run("mailbox", testMailboxCap)
	t.Run("number of mailboxes", testMailboxesCap)
	t.Run("limiter table", testLimiterCap)
	t.Run("inbound message", testInboundCap)
	t.Run("inbound messages that nobody takes", testInboxCap)
	t.Run("channels, groups, groups of a channel", testCountCaps)
	t.Run("at any instant", testCapsAtAnyInstant)
}

// By default 1 MiB; beside that only what is being written.
func testQueueCap(t *testing.T) {
	for _, set := range []int{0, 1000} {
		limit := cmp.Or(set, 1<<20)
		for policy, want := range map[wschannels.SlowPolicy]struct {
			res    wschannels.SendResult // of one byte more
			queued int
		}{
			wschannels.SlowDropNewest: {wschannels.SendResult{Dropped: 1}, limit},
			wschannels.SlowDropOldest: {wschannels.SendResult{Queued: 1, Evicted: 1}, limit/2 + 1},
			wschannels.SlowDisconnect: {wschannels.SendResult{Closed: 1}, 0},
		} {
			synctest.Test(t, func(t *testing.T) {
				b := boxOf(t, nil)
				c, conn := boxMember(t, b, &wschannels.ChannelOptions{
					PayloadType: wschannels.Text, QueueBytes: set, Slow: policy, WriteTimeout: time.Hour, Heartbeat: -1,
				}, "g")
				conn.Stall()
				boxSend(t, b, "g", "being written", nil)
				synctest.Wait()
				for range 2 {
					boxSend(t, b, "g", strings.Repeat("x", limit/2), nil)
				}
				promiseShows(t, "a full queue", b.Stats().QueuedBytes, limit)

				sent := chanSending(t.Context(), c, "x") // waits for room
				chanWaits(t, sent)
				promiseShows(t, "a Send that waits", b.Stats().QueuedBytes, limit)
				if err := c.Send(t.Context(), strings.Repeat("x", limit+1)); !errors.Is(err, wschannels.ErrTooLarge) {
					t.Errorf("a message larger than the queue: %v, want ErrTooLarge", err)
				}

				res := boxSend(t, b, "g", "x", nil)
				want.res.ID, want.res.Seq = res.ID, res.Seq
				if res != want.res {
					t.Errorf("one byte more: %+v, want %+v", res, want.res)
				}
				if policy == wschannels.SlowDropOldest { // there is room for the Send, too
					want.queued++
				}
				chanSleep(time.Minute)
				promiseShows(t, "one byte more", b.Stats().QueuedBytes, want.queued)
				c.CloseNow()
				<-sent
			})
		}
	}
}

func promiseShows[N, W int | int64](t *testing.T, what string, got N, want W) {
	t.Helper()
	if int64(got) != int64(want) {
		t.Errorf("%s: Stats shows %d, want %d", what, got, want)
	}
}

// A replay may wait for room in the queue of 12 bytes. Live messages wait behind it, of
// as many bytes.
func testHeldCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := boxStartSlowJoin(t, wschannels.SlowDropNewest)
		for i := range 4 {
			res := boxSend(t, j.b, "g", fmt.Sprint("new", i), nil)
			if room := i < 3; (res.Queued == 1) != room || (res.Dropped == 1) == room {
				t.Errorf("live message %d of 4 bytes: %+v", i, res)
			}
			promiseShows(t, "while a join waits", j.b.Stats().QueuedBytes, 12+min(4*(i+1), 12))
		}
		j.c.CloseNow()
		<-j.done
	})
}

// By default 1 MiB; what a message counts beside its payload is documented.
func testHistoryCap(t *testing.T) {
	for _, set := range []int{0, 1000} {
		limit, fixed := cmp.Or(set, 1<<20), boxCost(t)
		b := boxOf(t, &wschannels.Options{History: wschannels.HistoryLimits{Bytes: set}})
		for _, m := range []struct {
			payload, messages, bytes int // what is saved; what is there then
		}{
			{limit/2 - fixed, 1, limit / 2},
			{limit/2 - fixed, 2, limit}, // full
			{1, 2, limit/2 + fixed + 1}, // oldest out
			{limit - fixed, 1, limit},   // full with one
			{limit - fixed + 1, 1, limit},
		} {
			res := boxSend(t, b, "g", strings.Repeat("x", m.payload), boxSave)
			if fits := m.payload+fixed <= limit; res.Saved != fits {
				t.Errorf("%d bytes of %d: Saved is %v, want %v", m.payload, limit, res.Saved, fits)
			}
			promiseShows(t, "history", b.Stats().HistoryBytes, m.bytes)
			if n := len(boxHistory(t, b, "g", nil)); n != m.messages {
				t.Errorf("%d messages are held, want %d", n, m.messages)
			}
		}
	}
	b := boxOf(t, &wschannels.Options{History: wschannels.HistoryLimits{Len: 3}})
	for i := 1; i <= 5; i++ {
		boxSend(t, b, "g", fmt.Sprint(i), boxSave)
		boxWant(t, "a history of Len 3", boxHistory(t, b, "g", nil), boxNumbers(max(1, i-2), i))
	}
}

func testHistoryTotalCap(t *testing.T) {
	fixed := boxCost(t)
	b := boxOf(t, &wschannels.Options{HistoryTotalBytes: 3 * (fixed + 1)})
	for i, group := range []string{"a", "b", "c", "d", "a"} {
		boxSend(t, b, group, "x", boxSave)
		promiseShows(t, "all histories", b.Stats().HistoryBytes, min(i+1, 3)*(fixed+1))
	}
	for group, want := range map[string]int{"a": 1, "b": 0, "c": 1, "d": 1} { // the least recently written is out
		if n := len(boxHistory(t, b, group, nil)); n != want {
			t.Errorf("group %s has %d messages, want %d", group, n, want)
		}
	}
}

// By default 64 KiB.
func testMailboxCap(t *testing.T) {
	for _, set := range []int{0, 1000} {
		limit, fixed := cmp.Or(set, 64<<10), boxCost(t)
		b := boxOf(t, &wschannels.Options{MailboxBytes: set})
		for _, m := range []struct{ payload, bytes, dropped int }{
			{limit/2 - fixed, limit / 2, 0},
			{limit/2 - fixed, limit, 0},
			{1, limit/2 + fixed + 1, 1},
			{limit - fixed, limit, 3},
			{limit - fixed + 1, limit, 3},
		} {
			res := boxSendUser(t, b, "ann", strings.Repeat("x", m.payload))
			if fits := m.payload+fixed <= limit; (res.Waiting == 1) != fits {
				t.Errorf("%d bytes of %d: %+v", m.payload, limit, res)
			}
			promiseShows(t, "mailbox", b.Stats().MailboxBytes, m.bytes)
			promiseShows(t, "lost of the mailbox", int64(b.Stats().Dropped), m.dropped)
		}
	}
}

func testMailboxesCap(t *testing.T) {
	b := boxOf(t, &wschannels.Options{MaxMailboxes: 3})
	for i := 1; i <= 5; i++ {
		boxSendUser(t, b, fmt.Sprint("user ", i), "x")
		promiseShows(t, "mailboxes", b.Stats().Mailboxes, min(i, 3))
		promiseShows(t, "lost with mailboxes", int64(b.Stats().Dropped), max(0, i-3))
	}
}

func testLimiterCap(t *testing.T) {
	l := chanLimiter(t, 1, time.Hour, &wschannels.RateLimitOptions{MaxKeys: 3})
	for i, key := range []string{"a", "b", "c", "d", "a"} { // d is one too many: a is forgotten
		if ok, _ := l.Allow(key); !ok {
			t.Errorf("call %d: %s was refused", i, key)
		}
		if n := l.Stats().Keys; n != min(i+1, 3) {
			t.Errorf("the table has %d keys after %d, want at most 3", n, i+1)
		}
	}
	if ok, _ := l.Allow("d"); ok {
		t.Error("d was forgotten, and there was room for it")
	}
}

// In fragments and compressed, too: what counts is the whole message as the handler
// would see it.
func testInboundCap(t *testing.T) {
	const limit = 1000
	for over := range 2 {
		x := strings.Repeat("x", limit+over)
		for name, frames := range map[string][][]byte{
			"one frame":  {wireString(x)},
			"fragments":  {wireFrame(wireText, []byte(x[:limit/2])), wireFrame(wireCont, []byte(x[limit/2:limit])), wireFrame(wireFin|wireCont, []byte(x[limit:]))},
			"compressed": {wireFrame(0xC1, wireDeflate(t, []byte(x)))},
		} {
			log := newWireLog()
			b := wireBox(t, &wschannels.Options{
				Channel: wschannels.ChannelOptions{PayloadType: wschannels.Text, ReadLimit: limit},
				Accept:  websocket.AcceptOptions{CompressionMode: websocket.CompressionNoContextTakeover},
				Events:  log.events(),
			})
			p := promiseDial(t, wireServe(t, b, b), wireOfferDeflate)
			p.send(t, append(frames, wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))...)
			body, _ := p.untilClose(t)
			if code, want := wireCode(body), []websocket.StatusCode{1000, 1009}[over]; code != want {
				t.Errorf("%d bytes in %s: closed with %d, want %d", len(x), name, code, want)
			}
			p.Close()
			log.end(t)
			log.want(t, []string{x}[:1-over], over)
		}
	}
}

// A handler that does not take its messages has one waiting. The rest is the peer's to
// keep: it cannot send on.
func testInboxCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := wireBox(t, &wschannels.Options{Channel: wschannels.ChannelOptions{Heartbeat: -1}})
		p := wirePipe(t, b.Handler(func(ctx context.Context, _ *wschannels.Channel) error {
			<-ctx.Done()
			return nil
		}))
		written := make(chan int, 1)
		go func() {
			n, _ := p.Write(slices.Repeat(wireString(`"`+strings.Repeat("x", 1000)+`"`), 100))
			written <- n
		}()
		chanSleep(time.Minute)
		if n := b.Stats().Received; n != 1 || len(written) != 0 {
			t.Errorf("%d messages were read and the peer could send on (%v), want one", n, len(written) > 0)
		}
		p.Close()
		if n := <-written; n > 2000 {
			t.Errorf("%d bytes were taken, want little more than one message of 1,000", n)
		}
		wireShutdown(t, b)
	})
}

func testCountCaps(t *testing.T) {
	b := boxOf(t, &wschannels.Options{MaxChannels: 2, MaxGroups: 3, MaxGroupsPerChannel: 2})
	one, _ := boxMember(t, b, nil, "a", "b")
	two, _ := boxMember(t, b, nil, "c")
	third, _ := boxChannel(t, nil)
	if err := b.Add(third); !errors.Is(err, wschannels.ErrTooManyChannels) {
		t.Errorf("a third channel: %v, want ErrTooManyChannels", err)
	}
	if code := boxRequest(b); code != http.StatusServiceUnavailable {
		t.Errorf("a request to a full box got %d, want 503", code)
	}
	if _, err := b.Join(t.Context(), one, "c", nil); !errors.Is(err, wschannels.ErrTooManyGroups) {
		t.Errorf("a third group of one channel: %v, want ErrTooManyGroups", err)
	}
	if _, err := b.Join(t.Context(), two, "d", nil); !errors.Is(err, wschannels.ErrTooManyGroups) {
		t.Errorf("a fourth group: %v, want ErrTooManyGroups", err)
	}
	if _, err := b.GroupSend(t.Context(), "e", "x", boxSave); !errors.Is(err, wschannels.ErrTooManyGroups) {
		t.Errorf("history of a fourth group: %v, want ErrTooManyGroups", err)
	}
	if s := b.Stats(); s.Channels != 2 || s.Groups != 3 || len(one.Groups()) != 2 {
		t.Errorf("%+v, and one is in %q; want 2 channels, 3 groups, 2 of one", s, one.Groups())
	}
}
