package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// The library breaks such connections at random, or sends all the same.
func TestSendWithAnEndedContextIsAnErrorAndHarmless(t *testing.T) {
	cause := errors.New("the caller's own")
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	check := func(t *testing.T, c *Channel) {
		t.Helper()
		for range 200 {
			for name, err := range map[string]error{
				"Send":      c.Send(ended, "no"),
				"SendText":  c.SendText(ended, "no"),
				"SendBytes": c.SendBytes(ended, []byte("no")),
				"SendJSON":  c.SendJSON(ended, "no"),
			} {
				if !errors.Is(err, cause) {
					t.Fatalf("%s with an ended context: %v, want its cause", name, err)
				}
			}
		}
		if err := c.Err(); err != nil {
			t.Fatalf("the channel has ended: %v", err)
		}
		if err := c.Send(t.Context(), "yes"); err != nil {
			t.Fatalf("Send afterwards: %v", err)
		}
	}
	opts := &ChannelOptions{PayloadType: Text}
	t.Run("accepted", func(t *testing.T) {
		box := wireBox(t, &Options{Channel: *opts})
		channels := make(chan *Channel, 1)
		p := wireDial(t, wireServe(t, box.Handler(func(ctx context.Context, c *Channel) error {
			channels <- c
			<-ctx.Done()
			return nil
		}), box))
		check(t, <-channels)
		if op, data, err := p.next(); err != nil || op != wireText || string(data) != "yes" {
			t.Errorf("the peer got %d, %q, %v; want the one message that was sent", op, data, err)
		}
	})
	t.Run("bare", func(t *testing.T) {
		channels := make(chan *Channel, 1)
		p := wireDial(t, wireServe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
			}
			c, err := NewChannel(conn, opts)
			if err != nil {
				t.Error(err)
			}
			channels <- c
		}), nil))
		c := <-channels
		defer c.CloseNow()
		check(t, c)
		if op, data, err := p.next(); err != nil || op != wireText || string(data) != "yes" {
			t.Errorf("the peer got %d, %q, %v; want the one message that was sent", op, data, err)
		}
	})
	t.Run("fake", func(t *testing.T) {
		conn := wschannelstest.NewConn()
		c, err := NewChannel(conn, opts)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		check(t, c)
		if _, data, err := conn.Next(t.Context()); err != nil || string(data) != "yes" {
			t.Errorf("the peer got %q, %v; want the one message that was sent", data, err)
		}
	})
}

// A Send that gives up leaves nothing half-written, and its message never arrives.
func TestASendThatGivesUpLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1000
		c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text, QueueBytes: 2 * size, WriteTimeout: time.Hour})
		payload := func(i int) string { return fmt.Sprintf("%0*d", size, i) }
		accepted := []string{}
		for i := range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := c.Send(ctx, payload(i))
			cancel()
			switch {
			case err == nil:
				accepted = append(accepted, payload(i))
			case !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("Send: %v, want context.DeadlineExceeded", err)
			}
			synctest.Wait()
		}
		if len(accepted) != 3 { // one in the write, two in the queue
			t.Errorf("%d messages were accepted, want 3", len(accepted))
		}
		frames := p.frames()
		synctest.Wait()
		var got []string
		for range accepted {
			got = append(got, (<-frames).payload)
		}
		if !slices.Equal(got, accepted) {
			t.Error("what arrived is not what was accepted")
		}
		if err := c.Err(); err != nil {
			t.Errorf("the channel has ended: %v", err)
		}
		p.Close()
		wireShutdown(t, box)
	})
}

func TestReceiveWithAnEndedContextTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text})
		p.frames()
		p.send(t, wireString("here"))
		synctest.Wait()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			if m, err := c.Receive(ended); !errors.Is(err, context.Canceled) {
				t.Fatalf("Receive with an ended context: %q, %v; want context.Canceled", m.Text(), err)
			}
		}
		if m, err := c.Receive(t.Context()); err != nil || m.Text() != "here" {
			t.Errorf("Receive: %q, %v; want the message", m.Text(), err)
		}
		p.Close()
		wireShutdown(t, box)
	})
}

// A context that ends in mid-message ends the wait and nothing else.
func TestAReceiveThatGivesUpLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text, Heartbeat: -1})
		p.frames()
		var want, got []string
		var sent []byte
		for i := range 20 {
			want = append(want, fmt.Sprint("message ", i))
			sent = append(sent, wireString(want[i])...)
		}
		sent = append(sent, wireFrame(wireFin|wireClose, nil)...)
		go func() {
			for len(sent) > 0 {
				n := min(3, len(sent))
				p.Write(sent[:n])
				sent = sent[n:]
				time.Sleep(time.Second)
			}
		}()
		gaveUp := 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			m, err := c.Receive(ctx)
			cancel()
			if errors.Is(err, ErrClosed) {
				break
			}
			switch {
			case err == nil:
				got = append(got, m.Text())
			case errors.Is(err, context.DeadlineExceeded):
				gaveUp++
			default:
				t.Fatalf("Receive: %v", err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("received %q, want %q", got, want)
		}
		if gaveUp < 20 {
			t.Errorf("Receive gave up %d times: the test proves little", gaveUp)
		}
		time.Sleep(time.Minute)
		wireShutdown(t, box)
	})
}

func TestConcurrentReceivesShareTheMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text})
		p.frames()
		var mu sync.Mutex
		var got, want []string
		var receivers sync.WaitGroup
		for range 8 {
			receivers.Go(func() {
				for {
					m, err := c.Receive(t.Context())
					if err != nil {
						return
					}
					mu.Lock()
					got = append(got, m.Text())
					mu.Unlock()
				}
			})
		}
		for i := range 500 {
			want = append(want, fmt.Sprintf("%03d", i))
			p.send(t, wireString(want[i]))
		}
		p.send(t, wireFrame(wireFin|wireClose, nil))
		receivers.Wait()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%d messages were received, want each of %d once", len(got), len(want))
		}
		wireShutdown(t, box)
	})
}

// A channel that only sends answers pings and sees the peer go (E9).
func TestAChannelThatOnlySendsSeesItsPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := wireBox(t, nil)
		ended := make(chan error, 1)
		p := wirePipe(t, box.Handler(func(ctx context.Context, c *Channel) error {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil
		}))
		frames := p.frames()
		p.send(t, wireFrame(wireFin|wirePing, []byte("p")))
		if f := <-frames; f.op != wirePong || f.payload != "p" {
			t.Errorf("got opcode %d, %q; want a pong", f.op, f.payload)
		}
		p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(1001, "")))
		var end *CloseError
		if err := <-ended; !errors.As(err, &end) || end.Code != 1001 || !end.Remote {
			t.Errorf("the handler's context ended with %v, want 1001 by the peer", err)
		}
		wireShutdown(t, box)
	})
}

// net/http ends the request's context when the HTTP handler returns, and not when a
// hijacked connection is gone: the channel's must do neither.
func TestTheRequestsContextGivesValuesAndNoEnd(t *testing.T) {
	type key struct{}
	box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}})
	type seen struct {
		value, requestValue any
		err, requestErr     error
	}
	got := make(chan seen, 1)
	inner := box.Handler(func(ctx context.Context, c *Channel) error {
		if _, err := c.Receive(ctx); err != nil {
			return err
		}
		r := c.Request()
		got <- seen{ctx.Value(key{}), r.Context().Value(key{}), ctx.Err(), r.Context().Err()}
		<-ctx.Done()
		return nil
	})
	returned := make(chan struct{}, 1)
	srv := wireServe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(context.WithValue(r.Context(), key{}, "kept"))
		inner.ServeHTTP(w, r.WithContext(ctx))
		cancel()
		returned <- struct{}{}
	}), box)
	p := wireDial(t, srv)
	<-returned
	p.send(t, wireString("go"))
	s := <-got
	if s.value != "kept" || s.requestValue != "kept" || s.err != nil || s.requestErr != nil {
		t.Errorf("after the HTTP handler's return: %+v, want the values and no errors", s)
	}
	p.Close() // the context ends with the connection: Shutdown waits for the handler
}
