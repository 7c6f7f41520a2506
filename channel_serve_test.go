package wschannels_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
)

func TestServeReturnsHowItEnded(t *testing.T) {
	failed := errors.New("failed")
	receive := func(ctx context.Context, c *wschannels.Channel) error { _, err := c.Receive(ctx); return err }
	for _, tt := range []struct {
		name    string
		handler wschannels.Handler
		hangup  websocket.StatusCode // 0: none
		want    func(error) bool
	}{
		{"nil", func(context.Context, *wschannels.Channel) error { return nil }, 0, func(err error) bool { return err == nil }},
		{"an error", func(context.Context, *wschannels.Channel) error { return failed }, 0, func(err error) bool { return errors.Is(err, failed) }},
		{"a panic", func(context.Context, *wschannels.Channel) error { panic(failed) }, 0, func(err error) bool {
			return errors.As(err, new(*wschannels.PanicError))
		}},
		{"the peer's 1000", receive, 1000, func(err error) bool { return err == nil }},
		{"the peer's 1001", receive, 1001, func(err error) bool { return err == nil }},
		{"the peer's 4321", receive, 4321, func(err error) bool { return websocket.CloseStatus(err) == 4321 }},
		{"event mode, 1000", nil, 1000, func(err error) bool { return err == nil }},
		{"event mode, 1006", nil, 1006, func(err error) bool { return websocket.CloseStatus(err) == 1006 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gone := false
				box := chanBox(t, &wschannels.Options{Events: wschannels.Events{
					OnDisconnect: func(*wschannels.Channel, error) { time.Sleep(time.Second); gone = true },
				}})
				_, conn, result := chanServe(t, box, nil, tt.handler)
				synctest.Wait()
				if tt.hangup != 0 {
					conn.Hangup(tt.hangup, "")
				}
				if err := result(); !tt.want(err) {
					t.Errorf("Serve = %v", err)
				}
				if !gone {
					t.Error("Serve returned before OnDisconnect")
				}
			})
		})
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	handler := func(ctx context.Context, c *wschannels.Channel) error {
		for _, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	for name, h := range map[string]wschannels.Handler{"handler": handler, "event mode": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var reported []error
				box := chanBox(t, &wschannels.Options{Events: wschannels.Events{
					OnError: func(_ *wschannels.Channel, err error) { reported = append(reported, err) },
				}})
				c, conn := chanOpen(t, nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := box.Serve(ctx, c, h); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Serve = %v, want the context's error", err)
				}
				chanSaw(t, conn, websocket.StatusGoingAway, "")
				if len(reported) != 0 {
					t.Errorf("OnError got %v", reported)
				}
			})
		})
	}
}

func TestServeRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box, other := chanBox(t, nil), chanBox(t, nil)
		if err := box.Serve(t.Context(), nil, nil); err == nil {
			t.Error("Serve of nil succeeded")
		}
		c, _, _ := chanServe(t, box, nil, nil)
		synctest.Wait()
		if err := box.Serve(t.Context(), c, nil); err == nil || errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("a second Serve = %v, want an error", err)
		}
		if err := other.Serve(t.Context(), c, nil); err == nil || errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("Serve in another box = %v, want an error", err)
		}
		chanIsOpen(t, c)
		c.CloseNow()
		synctest.Wait()
		if err := box.Serve(t.Context(), c, nil); !errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("Serve of a closed channel = %v, want ErrClosed", err)
		}
	})
}

// A channel that is made in one place and served in another loses nothing between.
func TestServeGetsWhatCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, nil)
		c, conn := chanOpen(t, nil)
		conn.PushJSON(1)
		chanSleep(time.Second)
		err := box.Serve(t.Context(), c, func(ctx context.Context, c *wschannels.Channel) error {
			m, err := c.Receive(ctx)
			if err == nil && m.Text() != "1" {
				t.Errorf("Receive = %q, want 1", m.Data)
			}
			return err
		})
		if err != nil {
			t.Errorf("Serve = %v", err)
		}
		chanSaw(t, conn, websocket.StatusNormalClosure, "")
	})
}

// Serve returns after the last event, also if the channel was closing already.
func TestServeOfAClosingChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := false
		box := chanBox(t, &wschannels.Options{Events: wschannels.Events{
			OnDisconnect: func(*wschannels.Channel, error) {
				time.Sleep(time.Second)
				done = true
			},
		}})
		c, _ := chanOpen(t, nil)
		if err := box.Add(c); err != nil {
			t.Fatal(err)
		}
		go func() { _ = c.Close(websocket.StatusNormalClosure, "") }()
		synctest.Wait()
		if err := box.Serve(t.Context(), c, nil); err != nil || !done {
			t.Errorf("Serve = %v, and the last event has returned: %v; want nil and true", err, done)
		}
	})
}
