package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// boxPatience is how long a test waits for what must come: longer than any library
// timeout, so that it decides nothing.
const boxPatience = time.Minute

// boxText is the options of most channels here: what is sent is what is read.
var boxText = wschannels.ChannelOptions{PayloadType: wschannels.Text}

func boxOf(t testing.TB, opts *wschannels.Options) *wschannels.ChannelBox {
	t.Helper()
	b, err := wschannels.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), boxPatience)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return b
}

// boxChannel returns a channel on a fake, in no box. A test ends it.
func boxChannel(t testing.TB, opts *wschannels.ChannelOptions) (*wschannels.Channel, *wschannelstest.Conn) {
	t.Helper()
	if opts == nil {
		opts = &boxText
	}
	conn := wschannelstest.NewConn()
	c, err := wschannels.NewChannel(conn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	return c, conn
}

// boxMember returns a channel in b and in groups.
func boxMember(t testing.TB, b *wschannels.ChannelBox, opts *wschannels.ChannelOptions, groups ...string) (*wschannels.Channel, *wschannelstest.Conn) {
	t.Helper()
	c, conn := boxChannel(t, opts)
	if err := b.Add(c); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		boxJoin(t, b, c, g, nil)
	}
	return c, conn
}

func boxJoin(t testing.TB, b *wschannels.ChannelBox, c *wschannels.Channel, group string, opts *wschannels.JoinOptions) wschannels.JoinResult {
	t.Helper()
	res, err := b.Join(t.Context(), c, group, opts)
	if err != nil {
		t.Fatalf("Join %q: %v", group, err)
	}
	return res
}

var boxSave = &wschannels.SendOptions{SaveHistory: true}

func boxSend(t testing.TB, b *wschannels.ChannelBox, group string, payload any, opts *wschannels.SendOptions) wschannels.SendResult {
	t.Helper()
	res, err := b.GroupSend(t.Context(), group, payload, opts)
	if err != nil {
		t.Fatalf("GroupSend %q %v: %v", group, payload, err)
	}
	return res
}

func boxSendUser(t testing.TB, b *wschannels.ChannelBox, user string, payload any) wschannels.SendResult {
	t.Helper()
	res, err := b.SendToUser(t.Context(), user, payload)
	if err != nil {
		t.Fatalf("SendToUser %q %v: %v", user, payload, err)
	}
	return res
}

func boxHistory(t testing.TB, b *wschannels.ChannelBox, group string, opts *wschannels.HistoryOptions) []string {
	t.Helper()
	ms, err := b.History(t.Context(), group, opts)
	if err != nil {
		t.Fatal(err)
	}
	return boxTexts(ms)
}

func boxTexts(ms []wschannels.Message) []string {
	texts := make([]string, len(ms))
	for i, m := range ms {
		texts[i] = m.Text()
	}
	return texts
}

// boxNext returns what the channel writes next.
func boxNext(t testing.TB, conn *wschannelstest.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), boxPatience)
	defer cancel()
	_, p, err := conn.Next(ctx)
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return string(p)
}

// boxWritten returns what has reached the peer and was not taken yet.
func boxWritten(conn *wschannelstest.Conn) []string {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	written := []string{}
	for {
		_, p, err := conn.Next(ended)
		if err != nil {
			return written
		}
		written = append(written, string(p))
	}
}

// boxFlushed is boxWritten after all that was queued on c.
func boxFlushed(t testing.TB, c *wschannels.Channel, conn *wschannelstest.Conn) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), boxPatience)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		t.Fatalf("Flush: %v", err)
	}
	return boxWritten(conn)
}

// boxWant compares what was read with what was sent.
func boxWant(t testing.TB, what string, got, want []string) {
	t.Helper()
	if len(want) == 0 && len(got) == 0 || slices.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	if len(got)+len(want) > 60 {
		t.Fatalf("%s: %d messages, want %d; the first difference is at %d: got %q, want %q",
			what, len(got), len(want), i, got[i:min(i+5, len(got))], want[i:min(i+5, len(want))])
	}
	t.Fatalf("%s: got %q, want %q", what, got, want)
}

func boxNumbers(from, to int) []string {
	var s []string
	for i := from; i <= to; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return s
}

// boxEnd waits until c's connection is gone and returns its close code.
func boxEnd(t testing.TB, c *wschannels.Channel) websocket.StatusCode {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(boxPatience):
		t.Fatal("the channel is open")
	}
	c.CloseNow() // waits for the teardown
	var end *wschannels.CloseError
	if !errors.As(c.Err(), &end) {
		t.Fatalf("Err() = %v, want a *CloseError", c.Err())
	}
	return end.Code
}

// boxEventually waits for what becomes true by goroutines that nothing else tells of.
func boxEventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(boxPatience); !ok(); <-again.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// boxNothingLeft checks that b holds no channel, group or message any more.
func boxNothingLeft(t testing.TB, b *wschannels.ChannelBox) {
	t.Helper()
	var s wschannels.Stats
	boxEventually(t, "everything that was accepted has gone", func() bool {
		s = b.Stats()
		return s.Disconnected == s.Accepted
	})
	if s.Channels != 0 || s.Groups != 0 || s.QueuedMessages != 0 || s.QueuedBytes != 0 {
		t.Errorf("left behind: %+v", s)
	}
	if n := len(b.Channels()); n != 0 {
		t.Errorf("%d channels left in the registry", n)
	}
	if g := b.Groups(); len(g) != 0 {
		t.Errorf("groups left: %v", g)
	}
	boxEventually(t, "the last timer has gone", func() bool { return wschannels.PendingAlarms(b) == 0 })
	if n := wschannels.Rooms(b); n != 0 {
		t.Errorf("%d empty groups left in the table", n)
	}
}

// boxGate is a fake that writes only as many messages as the test lets through.
type boxGate struct {
	*wschannelstest.Conn
	pass chan struct{}
}

func boxGated() *boxGate {
	return &boxGate{Conn: wschannelstest.NewConn(), pass: make(chan struct{})}
}

func (g *boxGate) Write(ctx context.Context, typ websocket.MessageType, p []byte) error {
	select {
	case <-g.pass:
		return g.Conn.Write(ctx, typ, p)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// let lets n writes through, and returns once they have begun.
func (g *boxGate) let(n int) {
	for range n {
		g.pass <- struct{}{}
	}
}

func boxIDs(cs ...*wschannels.Channel) []uuid.UUID {
	ids := make([]uuid.UUID, len(cs))
	for i, c := range cs {
		ids[i] = c.ID()
	}
	return ids
}

// boxGoroutines waits until no more goroutines run than before.
func boxGoroutines(t *testing.T, before int) {
	t.Helper()
	boxEventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before })
}
