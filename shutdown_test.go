package wschannels_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// Everything that is queued goes out, then one close frame each, all at once.
func TestCloseAllClosesEverybodyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disconnects atomic.Int32
		b := boxOf(t, &wschannels.Options{Events: wschannels.Events{
			OnDisconnect: func(*wschannels.Channel, error) { disconnects.Add(1) },
		}})
		var conns []*wschannelstest.Conn
		for i := range 50 {
			_, conn := boxMember(t, b, nil, "a", "b") // in two groups, or in none
			if i%2 == 0 {
				_, conn = boxMember(t, b, nil)
			}
			conns = append(conns, conn)
		}
		outsider, _ := boxChannel(t, nil)
		closed, err := b.CloseAll(t.Context(), websocket.StatusCode(3005), "maintenance")
		if closed != 75 || err != nil {
			t.Errorf("CloseAll = %d, %v, want 75", closed, err)
		}
		if n := disconnects.Load(); n != 75 {
			t.Errorf("%d OnDisconnect when CloseAll returned, want 75", n)
		}
		for _, conn := range conns {
			if code, reason, ok := conn.Closed(); !ok || code != 3005 || reason != "maintenance" {
				t.Fatalf("closed with %v %q, %t", code, reason, ok)
			}
		}
		boxNothingLeft(t, b)
		if outsider.Err() != nil {
			t.Error("a channel outside the box was closed")
		}

		// The box is usable.
		if closed, err := b.CloseAll(t.Context(), websocket.StatusNormalClosure, ""); closed != 0 || err != nil {
			t.Errorf("CloseAll of none = %d, %v", closed, err)
		}
		c, conn := boxMember(t, b, nil, "a")
		boxSend(t, b, "a", "on", nil)
		boxWant(t, "received", boxFlushed(t, c, conn), []string{"on"})
		if code := boxRequest(b); code == http.StatusServiceUnavailable {
			t.Error("503 after CloseAll")
		}
		if closed, err := b.CloseAll(t.Context(), 1005, ""); closed != 1 || !errors.Is(err, wschannels.ErrInvalidCloseCode) {
			t.Errorf("CloseAll(1005) = %d, %v, want 1 and ErrInvalidCloseCode", closed, err)
		}
		if code, _, _ := conn.Closed(); code != websocket.StatusInternalError {
			t.Errorf("closed with %v, want 1011", code)
		}
	})
}

func TestShutdownDrainsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		var gates []*boxGate
		for range 5 {
			gate := boxGated()
			opts := boxText
			opts.CloseTimeout = time.Minute
			c, err := wschannels.NewChannel(gate, &opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Add(c); err != nil {
				t.Fatal(err)
			}
			boxJoin(t, b, c, "g", nil)
			gates = append(gates, gate)
		}
		for i := range 10 {
			boxSend(t, b, "g", fmt.Sprint(i+1), nil)
		}
		done := make(chan error)
		go func() { done <- b.Shutdown(t.Context()) }()
		synctest.Wait()
		if code := boxRequest(b); code != http.StatusServiceUnavailable {
			t.Errorf("status %d while shutting down, want 503", code)
		}
		late, _ := boxChannel(t, nil)
		if err := b.Add(late); !errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("Add while shutting down: %v, want ErrClosed", err)
		}
		for _, gate := range gates {
			gate.let(10)
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		for _, gate := range gates {
			boxWant(t, "received", boxWritten(gate.Conn), boxNumbers(1, 10))
			if code, _, ok := gate.Closed(); !ok || code != websocket.StatusGoingAway {
				t.Errorf("closed with %v, %t, want 1001", code, ok)
			}
		}
		if s := b.Stats(); s.Sent != 50 || s.Dropped != 0 {
			t.Errorf("Stats: %+v, want 50 sent", s)
		}
	})
}

// Peers that never read or answer cost no more than the context allows, and no more
// than CloseTimeout, however many there are.
func TestShutdownIsBoundedWithHostilePeers(t *testing.T) {
	const few = 1000
	many := 10_000
	if testing.Short() || boxRace {
		many = few
	}
	closeAll := func(ctx context.Context, b *wschannels.ChannelBox) error {
		closed, err := b.CloseAll(ctx, websocket.StatusGoingAway, "")
		if closed != few {
			return fmt.Errorf("closed %d, want %d", closed, few)
		}
		return err
	}
	shutdown := func(ctx context.Context, b *wschannels.ChannelBox) error { return b.Shutdown(ctx) }
	cause := errors.New("out of patience")
	for _, tt := range []struct {
		name    string
		peers   int           // half of them hostile
		limit   time.Duration // of the context
		want    time.Duration // within which it returns
		closing func(context.Context, *wschannels.ChannelBox) error
		err     error
	}{
		{"Shutdown by ctx", many, 2 * time.Second, 2 * time.Second, shutdown, cause},
		{"Shutdown by CloseTimeout", few, time.Hour, 7 * time.Second, shutdown, nil},
		{"CloseAll by ctx", few, 2 * time.Second, 2 * time.Second, closeAll, cause},
		{"CloseAll by CloseTimeout", few, time.Hour, 7 * time.Second, closeAll, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := boxOf(t, nil)
				var healthy, stalled []*wschannelstest.Conn
				for i := range tt.peers {
					_, conn := boxMember(t, b, nil, "g")
					if i%2 == 0 {
						conn.Stall()
						stalled = append(stalled, conn)
					} else {
						healthy = append(healthy, conn)
					}
				}
				boxSend(t, b, "g", "x", nil)
				ctx, cancel := context.WithTimeoutCause(t.Context(), tt.limit, cause)
				defer cancel()
				start := time.Now()
				err := tt.closing(ctx, b)
				if took := time.Since(start); took > tt.want {
					t.Errorf("it took %v, want at most %v", took, tt.want)
				}
				if !errors.Is(err, tt.err) {
					t.Errorf("got %v, want %v", err, tt.err)
				}
				for _, conn := range healthy {
					if code, _, ok := conn.Closed(); !ok || code != websocket.StatusGoingAway {
						t.Fatalf("a healthy peer was closed with %v, %t, want 1001", code, ok)
					}
					boxWant(t, "a healthy peer", boxWritten(conn), []string{"x"})
				}
				time.Sleep(2 * time.Second) // by then nothing may be left
				synctest.Wait()
				for _, conn := range stalled {
					if _, _, ok := conn.Closed(); !ok {
						t.Fatal("a stalled peer's connection is open")
					}
				}
				boxNothingLeft(t, b)
				if s := b.Stats(); int(s.Sent) != tt.peers/2 || int(s.Dropped) != tt.peers/2 || int(s.Accepted) != tt.peers {
					t.Errorf("Stats: %+v, want half sent and half dropped of %d", s, tt.peers)
				}
			})
		})
	}
}

func TestShutdownIsErrClosedEverywhere(t *testing.T) {
	b := boxOf(t, nil)
	c, _ := boxMember(t, b, nil, "g")
	boxSend(t, b, "g", "x", boxSave)
	boxSendUser(t, b, "ann", "x")
	g, _ := b.Group("g")
	if err := b.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh, _ := boxChannel(t, nil)
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Add":          func() error { return b.Add(fresh) },
		"Serve":        func() error { return b.Serve(ctx, fresh, nil) },
		"Join":         func() error { _, err := b.Join(ctx, fresh, "g", nil); return err },
		"Leave":        func() error { _, err := b.Leave(ctx, c, "g"); return err },
		"GroupSend":    func() error { _, err := b.GroupSend(ctx, "g", "x", nil); return err },
		"SendTo":       func() error { return b.SendTo(ctx, uuid.New(), "x") },
		"SendToUser":   func() error { _, err := b.SendToUser(ctx, "ann", "x"); return err },
		"History":      func() error { _, err := b.History(ctx, "g", nil); return err },
		"Position":     func() error { _, err := b.Position(ctx, "g"); return err },
		"FlushHistory": func() error { return b.FlushHistory(ctx) },
		"FlushGroups":  func() error { return b.FlushGroups(ctx) },
		"CloseAll":     func() error { _, err := b.CloseAll(ctx, 1000, ""); return err },
		"Group.Add":    func() error { _, err := g.Add(fresh); return err },
		"Group.Send":   func() error { _, err := g.Send(ctx, "x", nil); return err },
		"Group.SendJSON": func() error {
			_, err := g.SendJSON(ctx, "x", nil)
			return err
		},
	} {
		if err := call(); !errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
	if g.Len() != 0 || len(g.Channels()) != 0 || g.Has(c) || g.Remove(c) != wschannels.NoSuchGroup || len(g.History(nil)) != 0 || g.Name() != "g" {
		t.Errorf("the handle: Len %d, Channels %v, Has %t, Remove %v, History %v", g.Len(), g.Channels(), g.Has(c), g.Remove(c), g.History(nil))
	}
	if len(b.Groups()) != 0 || len(b.Members("g")) != 0 || len(b.Channels()) != 0 {
		t.Errorf("left: %v, %v, %v", b.Groups(), b.Members("g"), b.Channels())
	}
	if fresh.Err() != nil {
		t.Error("a refused Add closed the caller's channel")
	}
	for name, h := range map[string]http.Handler{"box": b, "Handler": b.Handler(nil)} {
		if code := boxRequest(h); code != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d, want 503", name, code)
		}
	}
	if err := b.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown again: %v", err)
	}
	if s := b.Stats(); s.Accepted != 1 || s.Disconnected != 1 || s.Refused != 2 {
		t.Errorf("Stats: %+v, want 1 accepted, 1 disconnected, 2 refused", s)
	}
}

// A channel that is still in its middleware is the box's to close, too.
func TestShutdownEndsChannelsInTheMiddleware(t *testing.T) {
	for name, closing := range map[string]func(context.Context, *wschannels.ChannelBox) error{
		"Shutdown": func(ctx context.Context, b *wschannels.ChannelBox) error { return b.Shutdown(ctx) },
		"CloseAll": func(ctx context.Context, b *wschannels.ChannelBox) error {
			closed, err := b.CloseAll(ctx, websocket.StatusGoingAway, "")
			if closed != 1 {
				return fmt.Errorf("closed %d, want 1", closed)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := boxOf(t, nil)
			inside := make(chan bool)
			var after atomic.Bool
			h := b.Handler(func(context.Context, *wschannels.Channel) error {
				t.Error("the handler ran")
				return nil
			}, func(next wschannels.Handler) wschannels.Handler {
				return func(ctx context.Context, c *wschannels.Channel) error {
					inside <- true
					<-ctx.Done()
					after.Store(true)
					return next(ctx, c)
				}
			})
			client := wschannelstest.Dial(t, h, "/")
			<-inside
			read := make(chan error)
			go func() {
				_, _, err := client.Read(context.Background())
				read <- err
			}()
			if err := closing(t.Context(), b); err != nil {
				t.Error(err)
			}
			if !after.Load() {
				t.Error("it returned before the middleware had")
			}
			if err := <-read; websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("the client: %v, want 1001", err)
			}
			if s := b.Stats(); s.Accepted != 0 || s.Refused != 1 {
				t.Errorf("Stats: %+v, want 1 refused", s)
			}
		})
	}
}

// Shutdown waits for handlers and for the last event.
func TestShutdownWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events atomic.Int32
		b := boxOf(t, &wschannels.Options{Events: wschannels.Events{
			OnDisconnect: func(*wschannels.Channel, error) {
				time.Sleep(time.Second)
				events.Add(1)
			},
		}})
		c, _ := boxChannel(t, nil)
		served := make(chan error, 1)
		var returned atomic.Bool
		go func() {
			served <- b.Serve(context.Background(), c, func(ctx context.Context, c *wschannels.Channel) error {
				<-ctx.Done()
				time.Sleep(time.Second)
				returned.Store(true)
				return nil
			})
		}()
		synctest.Wait()
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if !returned.Load() || events.Load() != 1 {
			t.Errorf("Shutdown returned before the handler (%t) and the event (%d)", returned.Load(), events.Load())
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v, want nil after 1001", err)
		}
	})
}

// Two at once, and requests, joins and sends all the while: all of it ends.
func TestShutdownRacesWithEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		var busy atomic.Int32
		for range 4 {
			busy.Add(1)
			go func() { // until the box is closed
				defer busy.Add(-1)
				for {
					conn := wschannelstest.NewConn()
					c, err := wschannels.NewChannel(conn, nil)
					if err != nil {
						t.Error(err)
						return
					}
					if b.Add(c) != nil {
						c.CloseNow()
						return
					}
					b.Join(context.Background(), c, "g", nil)
					b.GroupSend(context.Background(), "g", 1, boxSave)
					time.Sleep(time.Millisecond)
				}
			}()
		}
		time.Sleep(50 * time.Millisecond)
		done := make(chan error)
		for range 2 {
			go func() { done <- b.Shutdown(context.Background()) }()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := busy.Load(); n != 0 {
			t.Errorf("%d goroutines do not know that the box is closed", n)
		}
		boxNothingLeft(t, b)
	})
}

// boxHijacks calls before when the connection is about to be taken over.
type boxHijacks struct {
	http.ResponseWriter
	before func()
}

func (h boxHijacks) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.before()
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

// A channel that Shutdown overtakes during its upgrade was never in the box.
func TestShutdownDuringAnUpgrade(t *testing.T) {
	var events atomic.Int32
	b := boxOf(t, &wschannels.Options{Channel: wschannels.ChannelOptions{Events: wschannels.Events{
		OnConnect:    func(context.Context, *wschannels.Channel) error { events.Add(1); return nil },
		OnDisconnect: func(*wschannels.Channel, error) { events.Add(1) },
		OnError:      func(*wschannels.Channel, error) { events.Add(1) },
	}}})
	h := b.Handler(nil)
	client := wschannelstest.Dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(boxHijacks{w, func() {
			if err := b.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}}, r)
	}), "/")
	_, _, err := client.Read(t.Context())
	if code := websocket.CloseStatus(err); code != websocket.StatusGoingAway {
		t.Errorf("the peer saw %v, want 1001", err)
	}
	if s := b.Stats(); s.Refused != 1 || s.Accepted != 0 || events.Load() != 0 {
		t.Errorf("%d events, %+v; want one refusal and no event", events.Load(), s)
	}
}
