package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// Whatever ends a channel: connect, then the messages, then disconnect, once, and
// never two events at a time.
func TestEventOrderForEveryEnd(t *testing.T) {
	type conn = *wschannelstest.Conn
	type channel = *wschannels.Channel
	for _, tt := range []struct {
		name  string
		end   func(*testing.T, *wschannels.ChannelBox, channel, conn)
		code  websocket.StatusCode
		cause error
		errs  int // OnError
	}{
		{"the peer's close", func(_ *testing.T, _ *wschannels.ChannelBox, _ channel, conn conn) { conn.Hangup(4321, "") }, 4321, nil, 0},
		{"a lost connection", func(_ *testing.T, _ *wschannels.ChannelBox, _ channel, conn conn) { conn.Hangup(1006, "") }, 1006, nil, 0},
		{"a failed read", func(_ *testing.T, _ *wschannels.ChannelBox, _ channel, conn conn) { conn.FailReads(errChanPing) }, 1006, errChanPing, 0},
		{"a failed write", func(t *testing.T, _ *wschannels.ChannelBox, c channel, conn conn) {
			conn.FailWrites(errChanPing)
			_ = c.Send(t.Context(), 1)
		}, 1006, errChanPing, 1},
		{"a write that takes too long", func(t *testing.T, _ *wschannels.ChannelBox, c channel, conn conn) {
			conn.Stall()
			_ = c.Send(t.Context(), 1)
		}, 4004, wschannels.ErrSlowConsumer, 1},
		{"Close", func(_ *testing.T, _ *wschannels.ChannelBox, c channel, _ conn) { c.Close(4000, "") }, 4000, nil, 0},
		{"Close of a stalled peer", func(_ *testing.T, _ *wschannels.ChannelBox, c channel, conn conn) {
			conn.Stall()
			c.Close(4000, "")
		}, 4000, nil, 0},
		{"CloseNow", func(_ *testing.T, _ *wschannels.ChannelBox, c channel, _ conn) { c.CloseNow() }, 1006, nil, 0},
		{"CloseAll", func(t *testing.T, box *wschannels.ChannelBox, _ channel, _ conn) {
			if n, err := box.CloseAll(t.Context(), 4000, ""); n != 1 || err != nil {
				t.Errorf("CloseAll = %d, %v", n, err)
			}
		}, 4000, nil, 0},
		{"Shutdown", func(t *testing.T, box *wschannels.ChannelBox, _ channel, _ conn) {
			if err := box.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		}, 1001, nil, 0},
		{"MaxLifetime", func(*testing.T, *wschannels.ChannelBox, channel, conn) { time.Sleep(time.Hour) }, 4003, wschannels.ErrExpired, 0},
		{"a slow consumer", func(t *testing.T, box *wschannels.ChannelBox, c channel, conn conn) {
			conn.Stall()
			for range 3 {
				_, _ = box.GroupSend(t.Context(), "g", "0123456789", nil)
				synctest.Wait()
			}
		}, 4004, wschannels.ErrSlowConsumer, 0},
		{"text that is not UTF-8", func(_ *testing.T, _ *wschannels.ChannelBox, _ channel, conn conn) {
			conn.Push(websocket.MessageText, []byte("\xff"))
		}, 1007, nil, 1},
		{"a message over the limit", func(_ *testing.T, _ *wschannels.ChannelBox, _ channel, conn conn) {
			conn.Push(websocket.MessageText, make([]byte, 65<<10))
		}, 1009, wschannels.ErrTooLarge, 1},
		{"an event's CloseError", func(_ *testing.T, _ *wschannels.ChannelBox, _ channel, conn conn) { conn.PushJSON("close") }, 4321, nil, 0},
		{"a panic", func(_ *testing.T, _ *wschannels.ChannelBox, _ channel, conn conn) { conn.PushJSON("panic") }, 1011, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(chanTrace)
				var busy atomic.Int32
				event := func(what string) {
					if busy.Add(1) != 1 {
						t.Errorf("%s: two events at a time", what)
					}
					time.Sleep(time.Millisecond) // so that another has the time to come
					l.add(what)
					busy.Add(-1)
				}
				var box *wschannels.ChannelBox
				box = chanBox(t, &wschannels.Options{Events: wschannels.Events{
					OnConnect: func(ctx context.Context, c *wschannels.Channel) error {
						event("connect")
						_, err := box.Join(ctx, c, "g", nil)
						return err
					},
					OnMessage: func(_ context.Context, _ *wschannels.Channel, m wschannels.Message) error {
						switch m.Text() {
						case `"close"`:
							return &wschannels.CloseError{Code: 4321}
						case `"panic"`:
							panic("secret")
						}
						event("message " + m.Text())
						return nil
					},
					OnError: func(*wschannels.Channel, error) { event("error") },
					OnDisconnect: func(c *wschannels.Channel, err error) {
						event("disconnect")
						if err != c.Err() || websocket.CloseStatus(err) != tt.code || tt.cause != nil && !errors.Is(err, tt.cause) {
							t.Errorf("OnDisconnect got %v, want Err() of %d for %v", err, tt.code, tt.cause)
						}
						if got := c.Groups(); !slices.Equal(got, []string{"g"}) {
							t.Errorf("Groups() in OnDisconnect = %q, want what it was in", got)
						}
						if _, in := box.Channel(c.ID()); in || len(box.Members("g")) != 0 {
							t.Error("in OnDisconnect the channel is still in the box or in its group")
						}
					},
				}})
				c, conn, result := chanServe(t, box, &wschannels.ChannelOptions{QueueBytes: 12, MaxLifetime: time.Hour, Heartbeat: -1}, nil)
				conn.PushJSON(1)
				conn.PushJSON(2)
				chanSleep(time.Second)
				tt.end(t, box, c, conn)
				_ = result()
				chanSleep(time.Hour) // for what may come late
				want := []string{"connect", "message 1", "message 2"}
				for range tt.errs {
					want = append(want, "error")
				}
				want = append(want, "disconnect")
				if got := l.all(); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				if got := c.Groups(); len(got) != 0 {
					t.Errorf("Groups() after the end = %q, want none", got)
				}
			})
		})
	}
}

// Of each event, the box's comes before the channel's own.
func TestBoxEventsComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(chanTrace)
		named := func(name string) wschannels.Events {
			return wschannels.Events{
				OnConnect:    func(context.Context, *wschannels.Channel) error { l.add("connect " + name); return nil },
				OnDisconnect: func(*wschannels.Channel, error) { l.add("disconnect " + name) },
				OnMessage: func(context.Context, *wschannels.Channel, wschannels.Message) error {
					l.add("message " + name)
					return nil
				},
				OnError: func(*wschannels.Channel, error) { l.add("error " + name) },
			}
		}
		box := chanBox(t, &wschannels.Options{Events: named("box")})
		_, conn, result := chanServe(t, box, &wschannels.ChannelOptions{Events: named("own")}, nil)
		conn.PushJSON(1)
		conn.Push(websocket.MessageText, []byte("{"))
		conn.Hangup(websocket.StatusNormalClosure, "")
		if err := result(); err != nil {
			t.Errorf("Serve = %v, want nil after a normal end", err)
		}
		want := []string{
			"connect box", "connect own", "message box", "message own", "error box", "error own", "disconnect box", "disconnect own",
		}
		if got := l.all(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestOnConnectThatRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		code   websocket.StatusCode
		reason string
		errs   int
	}{
		{"with an error", errors.New("secret"), 1011, "", 1},
		{"with a code", &wschannels.CloseError{Code: 4321, Reason: "why"}, 4321, "why", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(chanTrace)
				events := chanTraced(l)
				events.OnConnect = func(context.Context, *wschannels.Channel) error { l.add("connect"); return tt.err }
				box := chanBox(t, &wschannels.Options{Events: events})
				h := func(context.Context, *wschannels.Channel) error { l.add("handler"); return nil }
				code, reason := chanEnd(t, wschannelstest.Dial(t, box.Handler(h), "/"))
				if code != tt.code || reason != tt.reason {
					t.Errorf("the peer saw %d %q, want %d %q", code, reason, tt.code, tt.reason)
				}
				want := []string{"connect", "error", "disconnect"}
				if tt.errs == 0 {
					want = []string{"connect", "disconnect"}
				}
				if got := l.all(); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				if s := box.Stats(); s.Refused != 1 || s.Accepted != 1 || s.Disconnected != 1 || s.Channels != 0 {
					t.Errorf("Stats: %+v; want it refused, and gone", s)
				}
			})
		})
	}
}

// An error of OnMessage is for OnError; the peer hears nothing, and goes on.
func TestOnMessageErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []error
		secret := errors.New("secret")
		box := chanBox(t, &wschannels.Options{Events: wschannels.Events{
			OnMessage: func(_ context.Context, _ *wschannels.Channel, m wschannels.Message) error {
				if m.Text() == "9" {
					return fmt.Errorf("secret: %w", &wschannels.CloseError{Code: 4321, Reason: "why"})
				}
				return secret
			},
			OnError: func(_ *wschannels.Channel, err error) { reported = append(reported, err) },
		}})
		c, conn, result := chanServe(t, box, nil, nil)
		for range 3 {
			conn.PushJSON(1)
		}
		chanIsOpen(t, c)
		chanWants(t, conn)
		if len(reported) != 3 || !errors.Is(reported[0], secret) {
			t.Errorf("OnError got %v, want the error three times", reported)
		}
		conn.PushJSON(9)
		if err := result(); websocket.CloseStatus(err) != 4321 {
			t.Errorf("Serve = %v, want the CloseError", err)
		}
		chanSaw(t, conn, 4321, "why")
		if len(reported) != 3 {
			t.Errorf("OnError got %v for a CloseError, want nothing", reported[3:])
		}
	})
}

func TestOnErrorGetsBadAndLimitedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []error
		var got []string
		box := chanBox(t, &wschannels.Options{Events: wschannels.Events{
			OnMessage: func(_ context.Context, _ *wschannels.Channel, m wschannels.Message) error {
				got = append(got, m.Text())
				return nil
			},
			OnError: func(_ *wschannels.Channel, err error) { reported = append(reported, err) },
		}})
		c, conn, _ := chanServe(t, box, &wschannels.ChannelOptions{MessageLimit: 3}, nil)
		conn.PushJSON(1)
		conn.Push(websocket.MessageText, []byte(`{"bad`))
		conn.PushJSON(2)
		conn.PushJSON(3)
		chanIsOpen(t, c)
		var bad *wschannels.PayloadError
		if len(reported) != 2 || !errors.As(reported[0], &bad) || string(bad.Data) != `{"bad` || !errors.Is(reported[1], wschannels.ErrRateLimited) {
			t.Errorf("OnError got %v, want the bad message and ErrRateLimited", reported)
		}
		if !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("OnMessage got %q, want 1 and 2", got)
		}
		if s := box.Stats(); s.Invalid != 1 || s.RateLimited != 1 || s.Received != 4 {
			t.Errorf("Stats: %d invalid, %d limited, %d received; want 1, 1, 4", s.Invalid, s.RateLimited, s.Received)
		}
	})
}

// Channels that were added have no OnConnect, but one OnDisconnect.
func TestEventsOfAnAddedChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(chanTrace)
		box := chanBox(t, &wschannels.Options{Events: chanTraced(l)})
		c, conn := chanOpen(t, nil)
		for range 2 {
			if err := box.Add(c); err != nil {
				t.Fatal(err)
			}
		}
		conn.PushJSON(1)
		if _, err := c.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := l.all(), []string{"disconnect"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// A channel in no box has its own events.
func TestEventsWithoutABox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(chanTrace)
		_, conn := chanOpen(t, &wschannels.ChannelOptions{Events: chanTraced(l)})
		conn.Push(websocket.MessageText, []byte("\xff"))
		synctest.Wait()
		if got, want := l.all(), []string{"error", "disconnect"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
