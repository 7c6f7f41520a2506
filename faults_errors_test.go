package wschannels_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// faultsPoison are errors that nobody may touch.
var faultsPoison = map[string]error{
	"a nil pointer":     (*faultsNilError)(nil),
	"something worse":   faultsEvil{},
	"one that wraps it": &CloseError{Code: 4321, Err: faultsEvil{}},
}

// An error whose methods panic is a panic of whoever returned it: typed nil pointers are
// returned by mistake every day.
func TestAnErrorThatPanicsIsAPanic(t *testing.T) {
	for place, set := range map[string]func(w *faultsWorld, err error){
		"a handler": func(w *faultsWorld, err error) { w.handler = func(context.Context, *Channel) error { return err } },
		"OnConnect": func(w *faultsWorld, err error) {
			w.opts.Events.OnConnect = func(context.Context, *Channel) error { return err }
		},
		"OnMessage": func(w *faultsWorld, err error) {
			w.opts.Events.OnMessage = func(context.Context, *Channel, Message) error { return err }
		},
		"a middleware": func(w *faultsWorld, err error) {
			w.mw = func(Handler) Handler { return func(context.Context, *Channel) error { return err } }
		},
		"Auth": func(w *faultsWorld, err error) { w.mw = Auth(func(context.Context, *Channel) error { return err }) },
		"an Authenticator": func(w *faultsWorld, err error) {
			w.channel.Authenticator = func(context.Context, *Channel, string) error { return err }
			w.handler = func(ctx context.Context, c *Channel) error { return c.Authenticate(ctx, "") }
		},
		"a payload": func(w *faultsWorld, err error) {
			w.handler = func(ctx context.Context, c *Channel) error {
				if err := c.Send(ctx, faultsFails{err}); !errors.As(err, new(*PayloadError)) {
					w.t.Errorf("Send: %v, want a *PayloadError", err)
				}
				return &CloseError{Code: 1011}
			}
		},
		"the cause of a handler's context": func(w *faultsWorld, err error) {
			w.handler = func(_ context.Context, c *Channel) error {
				ctx, cancel := context.WithCancelCause(context.Background())
				cancel(err)
				return c.Send(ctx, 1)
			}
		},
	} {
		t.Run(place, func(t *testing.T) {
			for name, poison := range faultsPoison {
				synctest.Test(t, func(t *testing.T) {
					w := &faultsWorld{t: t}
					w.opts.Logger, _ = chanLogger()
					log := newWireLog()
					w.channel.Events.OnDisconnect = log.events().OnDisconnect
					set(w, poison)
					w.box = wireBox(t, &w.opts)
					if code, reason := w.visit(); code != 1011 || reason != "" {
						t.Errorf("%s: the peer saw %d %q, want 1011", name, code, reason)
					}
					wireShutdown(t, w.box)
					boxNothingLeft(t, w.box)
					if s := w.box.Stats(); s.Panics == 0 {
						t.Errorf("%s: no panic was counted", name)
					}
					if n := w.box.Stats().Accepted; uint64(len(log.ends)) != n {
						t.Errorf("%s: OnDisconnect %d times, want %d", name, len(log.ends), n)
					}
				})
			}
		})
	}
}

type faultsFails struct{ err error }

func (f faultsFails) MarshalJSON() ([]byte, error) { return nil, f.err }

// The context of Serve may end with any cause.
func TestServeEndsWithACauseThatPanics(t *testing.T) {
	for name, poison := range faultsPoison {
		synctest.Test(t, func(t *testing.T) {
			b := boxOf(t, nil)
			c, _ := boxChannel(t, nil)
			ctx, cancel := context.WithCancelCause(t.Context())
			served := make(chan error, 1)
			go func() { served <- b.Serve(ctx, c, nil) }()
			synctest.Wait()
			cancel(poison)
			if err := <-served; websocket.CloseStatus(err) != websocket.StatusGoingAway || !errors.As(err, new(*PanicError)) {
				t.Errorf("%s: Serve = %v, want 1001 with a panic as its cause", name, err)
			}
			boxNothingLeft(t, b)
		})
	}
}

// A faultsConn is a fake whose methods do what they should not.
type faultsConn struct {
	*wschannelstest.Conn
	where string
	do    func() error
}

func (f faultsConn) at(where string, err error) error {
	if where == f.where {
		return f.do()
	}
	return err
}

func (f faultsConn) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	typ, p, err := f.Conn.Read(ctx)
	return typ, p, f.at("Read", err)
}

func (f faultsConn) Write(ctx context.Context, typ websocket.MessageType, p []byte) error {
	return f.at("Write", f.Conn.Write(ctx, typ, p))
}
func (f faultsConn) Ping(ctx context.Context) error { return f.at("Ping", f.Conn.Ping(ctx)) }
func (f faultsConn) Close(code websocket.StatusCode, reason string) error {
	return f.at("Close", f.Conn.Close(code, reason))
}
func (f faultsConn) CloseNow() error { return f.at("CloseNow", f.Conn.CloseNow()) }

// A Conn of the application's that panics, or fails with an error that does, is a fault of
// its channel.
func TestAPanicOfAConnEndsItsChannel(t *testing.T) {
	does := map[string]func() error{}
	for name, value := range faultsValues {
		does["panics with "+name] = func() error { panic(value) }
	}
	for name, err := range faultsPoison {
		does["returns "+name] = func() error { return err }
	}
	for _, where := range []string{"Read", "Write", "Ping", "Close", "CloseNow"} {
		for name, do := range does {
			t.Run(where+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					logger, _ := chanLogger()
					log := newWireLog()
					b := boxOf(t, &Options{Logger: logger, Events: log.events()})
					bystander, conn := boxMember(t, b, &ChannelOptions{PayloadType: Text, Heartbeat: -1}, "g")
					c, err := NewChannel(faultsConn{wschannelstest.NewConn(), where, do}, &ChannelOptions{PayloadType: Text})
					if err != nil {
						t.Fatal(err)
					}
					if err := b.Add(c); err != nil {
						t.Fatal(err)
					}
					boxJoin(t, b, c, "g", nil)
					c.Conn().(faultsConn).Push(websocket.MessageText, []byte("received"))
					boxSend(t, b, "g", "to both", nil)
					time.Sleep(30 * time.Second) // it is pinged
					synctest.Wait()
					code := websocket.StatusInternalError
					if where == "Close" || where == "CloseNow" {
						code = websocket.StatusNormalClosure
						c.Close(code, "")
					}
					if got := boxEnd(t, c); got != code {
						t.Errorf("the end is %v, want %d", c.Err(), code)
					}
					boxSend(t, b, "g", "to the other", nil)
					boxWant(t, "the bystander", boxFlushed(t, bystander, conn), []string{"to both", "to the other"})
					bystander.Close(1000, "")
					boxNothingLeft(t, b)
					if s := b.Stats(); s.Panics == 0 || s.Violations != 0 || len(log.ends) != 2 {
						t.Errorf("%d panics were counted, %d violations, OnDisconnect %d times; want at least 1, none, and 2", s.Panics, s.Violations, len(log.ends))
					}
					told := 0
					for _, err := range log.errs {
						if errors.As(err, new(*PanicError)) {
							told++
						}
					}
					if want := 1; code == 1011 && told != want || code != 1011 && told != 0 {
						t.Errorf("OnError: %v; want the panic where it ended the channel", log.errs)
					}
				})
			})
		}
	}
}
