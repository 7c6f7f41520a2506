package wschannels_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// Promise 6: a cancelled context never breaks a connection, and never leaves half a
// message on the wire.
//
// (The contexts of Serve, CloseAll and Shutdown are there to close channels. That of
// Serve does it in good order, as shown here; for the other two see promise 5.)
func TestPromise6ContextsOnlyBoundWaits(t *testing.T) {
	t.Run("one that has ended already", testEndedContexts)
	t.Run("one that ends while a peer does not read", testContextsThatEndInAStall)
	t.Run("those that end at any moment of a Send", testContextsThatEndInSends)
	t.Run("those that end at any moment of a Receive", testContextsThatEndInReceives)
	t.Run("the request's", testRequestContext)
	t.Run("that of Serve", testServeContext)
}

// promiseAccepted returns a channel in b over TCP, and its peer.
func promiseAccepted(t *testing.T, b *wschannels.ChannelBox, opts *wschannels.ChannelOptions) (*wschannels.Channel, *wirePeer) {
	t.Helper()
	accepted := make(chan *wschannels.Channel, 1)
	p := promiseDial(t, wireServe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := b.Accept(w, r, opts)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}), b))
	return <-accepted, p
}

// promiseTalks fails unless what is next in both directions is what is sent now.
func promiseTalks(t *testing.T, c *wschannels.Channel, p *wirePeer) {
	t.Helper()
	p.send(t, wireString("up"))
	if text, err := c.ReceiveText(t.Context()); err != nil || text != "up" {
		t.Errorf("from the peer: %q, %v", text, err)
	}
	if err := c.Send(t.Context(), "down"); err != nil {
		t.Error(err)
	}
	if op, data, err := p.next(); err != nil || op != wireText || string(data) != "down" {
		t.Errorf("to the peer: opcode %d, %.50q, %v", op, data, err)
	}
}

// Everything that takes a context says why it ended, and does nothing.
func testEndedContexts(t *testing.T) {
	b := wireBox(t, nil)
	c, p := promiseAccepted(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Text})
	boxJoin(t, b, c, "g", nil)
	boxSetUser(t, c, "ann")
	group, err := b.Group("g")
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("the caller's own")
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	for range 50 {
		for name, call := range map[string]func() error{
			"Send":       func() error { return c.Send(ended, "no") },
			"SendText":   func() error { return c.SendText(ended, "no") },
			"SendJSON":   func() error { return c.SendJSON(ended, "no") },
			"SendBytes":  func() error { return c.SendBytes(ended, []byte("no")) },
			"SendTo":     func() error { return b.SendTo(ended, c.ID(), "no") },
			"GroupSend":  func() error { _, err := b.GroupSend(ended, "g", "no", boxSave); return err },
			"Group.Send": func() error { _, err := group.Send(ended, "no", boxSave); return err },
			"SendToUser": func() error { _, err := b.SendToUser(ended, "ann", "no"); return err },
			"Conn.Write": func() error { return c.Conn().Write(ended, websocket.MessageText, []byte("no")) },
			"Join":       func() error { _, err := b.Join(ended, c, "h", nil); return err },
			"Receive":    func() error { _, err := c.Receive(ended); return err },
			"Conn.Read":  func() error { _, _, err := c.Conn().Read(ended); return err },
			"History":    func() error { _, err := b.History(ended, "g", nil); return err },
		} {
			if err := call(); !errors.Is(err, cause) {
				t.Fatalf("%s with an ended context: %v, want its cause", name, err)
			}
		}
	}
	if got := boxHistory(t, b, "g", nil); len(got) > 0 || len(c.Groups()) != 1 {
		t.Errorf("history %q, groups %q: something was done", got, c.Groups())
	}
	promiseTalks(t, c, p)
}

// Megabytes wait for a peer that does not read, and the first of them is half sent. Send,
// Flush and Join give up; then the peer reads, and gets what was accepted, whole.
func testContextsThatEndInAStall(t *testing.T) {
	const size = 1 << 20
	b := wireBox(t, nil)
	c, p := promiseAccepted(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 2 * size, WriteTimeout: time.Hour, Heartbeat: -1})
	briefly := func(call func(context.Context) error) (ok bool) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := call(ctx)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want context.DeadlineExceeded", err)
		}
		return err == nil
	}
	payload := func(i int) string { return fmt.Sprintf("%08d", i) + strings.Repeat("x", size-8) }
	var accepted []string
	for i, gaveUp, sent := 0, 0, uint64(0); gaveUp < 10 && !t.Failed(); i++ { // with nothing leaving any more
		if briefly(func(ctx context.Context) error { return c.Send(ctx, payload(i)) }) {
			accepted = append(accepted, payload(i))
		}
		s := b.Stats()
		if gaveUp++; s.Sent != sent || s.QueuedBytes < 2*size {
			gaveUp, sent = 0, s.Sent
		}
	}
	if briefly(c.Flush) {
		t.Error("Flush: nil, and nothing was read")
	}
	for range 3 {
		boxSend(t, b, "g", strings.Repeat("replayed ", size/30), boxSave)
	}
	if briefly(func(ctx context.Context) error {
		_, err := b.Join(ctx, c, "g", &wschannels.JoinOptions{ReplayLast: 3})
		return err
	}) || len(c.Groups()) > 0 {
		t.Errorf("Join: its replay cannot have been queued, and the channel is in %q", c.Groups())
	}
	for i, want := range accepted {
		if op, data, err := p.next(); err != nil || op != wireText || string(data) != want {
			t.Fatalf("message %d of %d: opcode %d, %d bytes that begin with %.50q, %v", i, len(accepted), op, len(data), data, err)
		}
	}
	promiseTalks(t, c, p)
}

// Eight senders, each of whose contexts may end before, in or after the call.
func testContextsThatEndInSends(t *testing.T) {
	const senders = 8
	b := wireBox(t, nil)
	c, p := promiseAccepted(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 64 << 10})
	client := promiseHealthy(p)
	var sending sync.WaitGroup
	accepted := make([][]string, senders)
	for s := range senders {
		sending.Go(func() {
			rnd := rand.New(rand.NewPCG(6, uint64(s)))
			until := time.Now().Add(boxPatience)
			for i, gaveUp := 0, 0; (i < 200 || gaveUp < 20 || len(accepted[s]) < 20) && time.Now().Before(until); i++ {
				text := fmt.Sprintf("%d %d %0*d", s, i, rnd.IntN(30_000), 0)
				ctx, cancel := context.WithCancel(t.Context())
				go func() { // at some moment
					for range rnd.IntN(3) {
						bytes.Count(make([]byte, 10_000), nil)
					}
					cancel()
				}()
				switch err := c.Send(ctx, text); {
				case err == nil:
					accepted[s] = append(accepted[s], text)
				case errors.Is(err, context.Canceled):
					gaveUp++
				default:
					t.Errorf("Send: %v", err)
				}
				<-ctx.Done()
			}
		})
	}
	sending.Wait()
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	<-client.done
	got := make([][]string, senders)
	for _, text := range client.data {
		s := int(text[0] - '0')
		got[s] = append(got[s], text)
	}
	for s := range senders {
		boxWant(t, fmt.Sprint("of sender ", s), got[s], accepted[s])
	}
}

// A message that comes in pieces, to someone who keeps losing patience.
func testContextsThatEndInReceives(t *testing.T) {
	b := wireBox(t, nil)
	c, p := promiseAccepted(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Text})
	want := boxNumbers(1, 300)
	more := make(chan struct{}, 1)
	defer close(more)
	go func() { // ends behind the last byte
		for _, text := range want {
			frame := wireString(text)
			for _, piece := range [][]byte{frame[:1], frame[1:6], frame[6:]} {
				p.Write(piece)
				<-more
			}
		}
	}()
	var got []string
	for gaveUp := 0; len(got) < len(want); {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
		m, err := c.Receive(ctx)
		cancel()
		switch {
		case err == nil:
			got = append(got, m.Text())
		case errors.Is(err, context.DeadlineExceeded):
			gaveUp++
			select {
			case more <- struct{}{}:
			default:
			}
		default:
			t.Fatalf("Receive: %v", err)
		}
	}
	boxWant(t, "received", got, want)
	promiseTalks(t, c, p)
}

// It ends when ServeHTTP returns, which is long before the channel does.
func testRequestContext(t *testing.T) {
	b := wireEcho(t, &wschannels.Options{Channel: wschannels.ChannelOptions{PayloadType: wschannels.Text}})
	returned := make(chan struct{})
	p := promiseDial(t, wireServe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		b.ServeHTTP(w, r.WithContext(ctx))
		cancel()
		close(returned)
	}), b))
	<-returned
	wireWantEcho(t, p)
}

// What was queued goes out, whole, and then a close frame with 1001.
func testServeContext(t *testing.T) {
	const size = 1 << 20
	b := wireBox(t, nil)
	c, p := promiseAccepted(t, b, &wschannels.ChannelOptions{
		PayloadType: wschannels.Text, QueueBytes: 20 * size, WriteTimeout: time.Hour, CloseTimeout: time.Hour,
	})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- b.Serve(ctx, c, nil) }()
	text := strings.Repeat("x", size)
	for range 16 {
		if err := c.Send(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	<-c.Done()
	client := promiseHealthy(p)
	client.wants(t, slices.Repeat([]string{text}, 16), websocket.StatusGoingAway)
	<-served
}
