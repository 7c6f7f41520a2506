package wschannels_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// boxStats compares everything that b counts.
func boxStats(t *testing.T, b *wschannels.ChannelBox, when string, want wschannels.Stats) {
	t.Helper()
	if got := b.Stats(); got != want {
		t.Errorf("%s:\ngot  %+v\nwant %+v", when, got, want)
	}
}

// Every field, one after the other, and nothing else moves.
func TestStatsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fixed := int64(boxCost(t))
		b := boxOf(t, nil)
		want := wschannels.Stats{}
		boxStats(t, b, "new", want)

		c, conn := boxMember(t, b, &wschannels.ChannelOptions{
			PayloadType: wschannels.Text, QueueBytes: 8, Slow: wschannels.SlowDropOldest, WriteTimeout: time.Hour,
			MessageLimit: 2, Heartbeat: -1,
		}, "g")
		want.Channels, want.Groups, want.Accepted = 1, 1, 1
		boxStats(t, b, "a member", want)

		boxSend(t, b, "g", "four", boxSave)
		synctest.Wait()
		want.Sent, want.BytesSent, want.HistoryBytes = 1, 4, fixed+4
		boxStats(t, b, "a message written", want)

		conn.Stall()
		boxSend(t, b, "g", "four", nil)
		synctest.Wait()
		boxStats(t, b, "a message being written", want)

		boxSend(t, b, "g", "abc", nil)
		boxSend(t, b, "g", "", nil)
		want.QueuedMessages, want.QueuedBytes = 2, 3+1 // an empty one counts as 1
		boxStats(t, b, "two waiting", want)

		if res := boxSend(t, b, "g", "sixsix", nil); res.Evicted != 1 {
			t.Errorf("result %+v, want 1 evicted", res)
		}
		want.Dropped, want.QueuedBytes = 1, 1+6
		boxStats(t, b, "one evicted", want)
		if res := boxSend(t, b, "g", "nine bytes", nil); res.Dropped != 1 {
			t.Errorf("result %+v, want 1 dropped", res)
		}
		want.Dropped++
		boxStats(t, b, "one dropped", want)

		boxSendUser(t, b, "ann", "x")
		want.Mailboxes, want.MailboxBytes = 1, fixed+1
		boxStats(t, b, "a mailbox", want)

		conn.Push(websocket.MessageText, []byte("hello"))
		if _, err := c.ReceiveText(t.Context()); err != nil {
			t.Fatal(err)
		}
		want.Received, want.BytesReceived = 1, 5
		boxStats(t, b, "a message received", want)
		conn.Push(websocket.MessageBinary, []byte("hi"))
		if _, err := c.Receive(t.Context()); !errors.As(err, new(*wschannels.PayloadError)) {
			t.Fatal(err)
		}
		want.Received, want.BytesReceived, want.Invalid = 2, 7, 1
		boxStats(t, b, "an invalid one", want)
		conn.Push(websocket.MessageText, []byte("!"))
		if _, err := c.Receive(t.Context()); !errors.Is(err, wschannels.ErrRateLimited) {
			t.Fatal(err)
		}
		want.Received, want.BytesReceived, want.RateLimited = 3, 8, 1
		boxStats(t, b, "one past the limit", want)

		c.CloseNow()
		synctest.Wait()
		want.Channels, want.Groups, want.Disconnected = 0, 0, 1
		want.Dropped += 3 // being written, and two waiting
		want.QueuedMessages, want.QueuedBytes = 0, 0
		boxStats(t, b, "closed", want)
	})
}

func TestStatsCountEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		quiet := boxText
		quiet.Heartbeat = -1
		ttl := quiet
		ttl.TTL = time.Minute
		stale := boxText
		slow := quiet
		slow.WriteTimeout = time.Second
		boxMember(t, b, &ttl)
		_, conn := boxMember(t, b, &stale)
		conn.Stall() // it will not see the ping
		_, conn = boxMember(t, b, &slow, "g")
		conn.Stall()
		boxSend(t, b, "g", "x", nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		boxStats(t, b, "three ends", wschannels.Stats{
			Accepted: 3, Disconnected: 3, Expired: 1, Stale: 1, SlowClosed: 1, Dropped: 1, Unanswered: 1,
		})
	})
}

func TestStatsCountPanicsAndRefusals(t *testing.T) {
	var panics wschannels.Events
	panics.OnMessage = func(context.Context, *wschannels.Channel, wschannels.Message) error { panic("oh") }
	b := boxOf(t, &wschannels.Options{MaxChannels: 1, Channel: boxText, Events: panics})
	refuse := b.Handler(nil, func(wschannels.Handler) wschannels.Handler {
		return func(context.Context, *wschannels.Channel) error {
			return &wschannels.CloseError{Code: wschannels.StatusUnauthorized}
		}
	})
	client := wschannelstest.Dial(t, refuse, "/")
	if _, _, err := client.Read(t.Context()); websocket.CloseStatus(err) != wschannels.StatusUnauthorized {
		t.Fatalf("Read: %v, want 4001", err)
	}
	boxEventually(t, "the refusal is counted", func() bool { return b.Stats().Refused == 1 })
	boxStats(t, b, "refused by middleware", wschannels.Stats{Refused: 1})

	client = wschannelstest.Dial(t, b, "/")
	boxEventually(t, "the channel is in the box", func() bool { return b.Stats().Channels == 1 })
	if code := boxRequest(b); code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", code)
	}
	if err := client.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusInternalError {
		t.Errorf("Read: %v, want 1011", err)
	}
	boxEventually(t, "the end is counted", func() bool { return b.Stats().Disconnected == 1 })
	boxStats(t, b, "a panic", wschannels.Stats{
		Refused: 2, Accepted: 1, Disconnected: 1, Received: 1, BytesReceived: 1, Panics: 1,
	})
}

// A refusal by OnConnect is a refusal of a channel that was accepted.
func TestStatsCountRefusalByOnConnect(t *testing.T) {
	b := boxOf(t, &wschannels.Options{Events: wschannels.Events{
		OnConnect: func(context.Context, *wschannels.Channel) error { return errors.New("no") },
	}})
	client := wschannelstest.Dial(t, b, "/")
	if _, _, err := client.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusInternalError {
		t.Errorf("Read: %v, want 1011", err)
	}
	boxEventually(t, "the end is counted", func() bool { return b.Stats().Disconnected == 1 })
	boxStats(t, b, "refused by OnConnect", wschannels.Stats{Accepted: 1, Disconnected: 1, Refused: 1})
}

type boxPanics struct{}

func (boxPanics) MarshalJSON() ([]byte, error) { panic("marshal") }

// Panics of payloads count wherever they are sent.
func TestStatsCountPanicsOfPayloads(t *testing.T) {
	b := boxOf(t, nil)
	c, _ := boxMember(t, b, nil, "g")
	g, err := b.Group("g")
	if err != nil {
		t.Fatal(err)
	}
	for i, send := range []func() error{
		func() error { return c.Send(t.Context(), boxPanics{}) },
		func() error { _, err := b.GroupSend(t.Context(), "g", boxPanics{}, nil); return err },
		func() error { _, err := b.SendToUser(t.Context(), "ann", boxPanics{}); return err },
		func() error { _, err := g.SendJSON(t.Context(), boxPanics{}, nil); return err },
	} {
		var bad *wschannels.PayloadError
		if err := send(); !errors.As(err, &bad) {
			t.Errorf("send %d: %v, want a *PayloadError", i, err)
		}
		if n := b.Stats().Panics; n != uint64(i)+1 {
			t.Errorf("send %d: %d panics were counted, want %d", i, n, i+1)
		}
	}
}
