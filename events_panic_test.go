package wschannels_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A panic in the box's event is recovered, reported, and closes the channel; every
// other event still comes.
func TestPanicsInEvents(t *testing.T) {
	for _, tt := range []struct {
		where  string
		code   websocket.StatusCode
		want   []string
		panics uint64
	}{
		{"connect", 1011, []string{"box connect", "box error", "own error", "box disconnect", "own disconnect"}, 1},
		{"message", 1011, []string{"box connect", "own connect", "box message", "box error", "own error", "box disconnect", "own disconnect"}, 1},
		{"disconnect", 1000, []string{
			"box connect", "own connect", "box message", "own message", "box disconnect", "box error", "own error", "own disconnect",
		}, 1},
		{"error", 1011, []string{"box connect", "own connect", "box error", "own error", "box disconnect", "own disconnect"}, 1},
	} {
		t.Run(tt.where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(chanTrace)
				var reported []error
				events := func(name, where string) wschannels.Events {
					event := func(what string) {
						l.add(name + " " + what)
						if what == where {
							panic("secret " + what)
						}
					}
					return wschannels.Events{
						OnConnect:    func(context.Context, *wschannels.Channel) error { event("connect"); return nil },
						OnMessage:    func(context.Context, *wschannels.Channel, wschannels.Message) error { event("message"); return nil },
						OnDisconnect: func(*wschannels.Channel, error) { event("disconnect") },
						OnError: func(_ *wschannels.Channel, err error) {
							reported = append(reported, err)
							event("error")
						},
					}
				}
				box := chanBox(t, &wschannels.Options{Events: events("box", tt.where)})
				_, conn, result := chanServe(t, box, &wschannels.ChannelOptions{Events: events("own", "")}, nil)
				if tt.where == "error" {
					conn.Push(websocket.MessageText, []byte("{"))
				} else {
					conn.PushJSON(1)
				}
				synctest.Wait()
				conn.Hangup(websocket.StatusNormalClosure, "")
				err := result()
				if tt.code != 1000 && websocket.CloseStatus(err) == 1000 {
					t.Errorf("Serve = %v, want the panic's end", err)
				}
				if got := l.all(); !slices.Equal(got, tt.want) {
					t.Errorf("got  %q\nwant %q", got, tt.want)
				}
				code, reason, _ := conn.Closed()
				if tt.code == 1011 && (code != 1011 || reason != "") {
					t.Errorf("the peer saw %d %q, want 1011 and no text", code, reason)
				}
				var p *wschannels.PanicError
				if tt.where != "error" && (len(reported) == 0 || !errors.As(reported[0], &p) || p.Value != "secret "+tt.where) {
					t.Errorf("OnError got %v, want the panic", reported)
				}
				if s := box.Stats(); s.Panics != tt.panics || s.Channels != 0 {
					t.Errorf("Stats: %d panics, %d channels; want %d, 0", s.Panics, s.Channels, tt.panics)
				}
			})
		})
	}
}

// Events, handlers and codecs may close their own channel, and call nearly anything.
func TestNothingDeadlocksFromInside(t *testing.T) {
	type channel = *wschannels.Channel
	for _, where := range []string{"middleware", "connect", "handler", "message", "error", "disconnect", "authenticator", "codec", "validate"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var box *wschannels.ChannelBox
				done := 0
				meddle := func(at string, c channel) {
					if at != where || done > 0 {
						return
					}
					done++
					ctx := context.Background()
					_, _ = box.Join(ctx, c, "g", &wschannels.JoinOptions{ReplayLast: 1})
					_, _ = box.GroupSend(ctx, "g", "hello", &wschannels.SendOptions{SaveHistory: true})
					_ = c.Send(ctx, 1)
					_ = c.Flush(ctx)
					_ = c.SetUser("ann")
					_, _ = box.SendToUser(ctx, "ann", 1)
					_ = box.SendTo(ctx, c.ID(), 1)
					_, _, _, _, _ = box.Stats(), box.Groups(), box.Members("g"), box.Channels(), c.Groups()
					_, _ = box.History(ctx, "g", nil)
					_, _ = box.Leave(ctx, c, "g")
					_ = box.FlushGroups(ctx)
					_ = box.FlushHistory(ctx)
					_ = c.Close(4000, "from inside")
					_ = c.CloseNow()
					_, _ = c.Receive(ctx)
				}
				meddler := chanMeddler{func() { meddle("codec", box.Channels()[0]) }}
				box = chanBox(t, &wschannels.Options{
					Channel: wschannels.ChannelOptions{
						Authenticator: func(_ context.Context, c channel, _ string) error { meddle("authenticator", c); return nil },
					},
					Events: wschannels.Events{
						OnConnect: func(ctx context.Context, c channel) error {
							_ = c.Authenticate(ctx, "")
							meddle("connect", c)
							return nil
						},
						OnMessage:    func(_ context.Context, c channel, _ wschannels.Message) error { meddle("message", c); return nil },
						OnError:      func(c channel, _ error) { meddle("error", c) },
						OnDisconnect: func(c channel, _ error) { meddle("disconnect", c) },
					},
				})
				mw := func(next wschannels.Handler) wschannels.Handler {
					return func(ctx context.Context, c channel) error { meddle("middleware", c); return next(ctx, c) }
				}
				var h wschannels.Handler
				if where == "handler" || where == "codec" || where == "validate" {
					h = func(ctx context.Context, c channel) error {
						meddle("handler", c)
						_ = c.Send(ctx, meddler)
						chanValidating = func() { meddle("validate", c) }
						_, err := wschannels.Receive[chanValidated](ctx, c)
						return err
					}
				}
				client := wschannelstest.Dial(t, box.Handler(h, mw), "/")
				_ = client.Write(t.Context(), websocket.MessageText, []byte(`{}`))
				_ = client.Write(t.Context(), websocket.MessageText, []byte(`{`))
				if where == "disconnect" {
					go client.Close(websocket.StatusNormalClosure, "")
				}
				for {
					if _, _, err := client.Read(t.Context()); err != nil {
						break
					}
				}
				synctest.Wait()
				if done != 1 {
					t.Errorf("%s was not called", where)
				}
				if s := box.Stats(); s.Channels != 0 || s.Groups != 0 || s.QueuedMessages != 0 {
					t.Errorf("left behind: %+v", s)
				}
			})
		})
	}
}

type chanMeddler struct{ meddle func() }

func (m chanMeddler) MarshalJSON() ([]byte, error) { m.meddle(); return []byte("1"), nil }

type chanValidated struct{}

var chanValidating func()

func (chanValidated) Validate() error { chanValidating(); return nil }

// A panic is one whatever its value: the channel's own end, too.
func TestPanicWithTheChannelsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []error
		box := chanBox(t, &wschannels.Options{Events: wschannels.Events{
			OnError: func(_ *wschannels.Channel, err error) { reported = append(reported, err) },
		}})
		_, conn, result := chanServe(t, box, nil, func(ctx context.Context, c *wschannels.Channel) error {
			<-ctx.Done()
			panic(c.Err())
		})
		synctest.Wait()
		conn.Hangup(websocket.StatusGoingAway, "")
		var panicked *wschannels.PanicError
		if err := result(); !errors.As(err, &panicked) {
			t.Errorf("Serve = %v, want the panic", err)
		}
		if len(reported) != 1 || !errors.As(reported[0], &panicked) || box.Stats().Panics != 1 {
			t.Errorf("OnError got %v, and %d panics were counted; want one", reported, box.Stats().Panics)
		}
	})
}
