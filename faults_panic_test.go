package wschannels_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A faultsNilError is the error of many a bug report: its methods do not expect nil.
type faultsNilError struct{ cause error }

func (e *faultsNilError) Error() string { return e.cause.Error() }
func (e *faultsNilError) Unwrap() error { return e.cause }

// A faultsEvil panics whatever is asked of it, with itself, so that fmt gives up, too.
type faultsEvil struct{}

func (e faultsEvil) Error() string                { panic(e) }
func (e faultsEvil) String() string               { panic(e) }
func (e faultsEvil) GoString() string             { panic(e) }
func (e faultsEvil) Format(fmt.State, rune)       { panic(e) }
func (e faultsEvil) Unwrap() error                { panic(e) }
func (e faultsEvil) Is(error) bool                { panic(e) }
func (e faultsEvil) As(any) bool                  { panic(e) }
func (e faultsEvil) LogValue() slog.Value         { panic(e) }
func (e faultsEvil) MarshalText() ([]byte, error) { panic(e) }

// faultsValues are what panics panic with.
var faultsValues = map[string]any{
	"a string":               "text",
	"an error":               errors.New("an error"),
	"an end":                 &CloseError{Code: 4321, Reason: "secret"},
	"nil":                    nil,
	"a nil pointer's error":  (*faultsNilError)(nil),
	"something worse":        faultsEvil{},
	"an error of that":       fmt.Errorf("wrapped: %w", &faultsNilError{}),
	"a panic that was given": &PanicError{Value: faultsEvil{}},
}

// faultsPlaces are where the application's code is called, and what a panic there must do
// to the channel: 0 leaves it open. told says that OnError hears of it.
var faultsPlaces = []struct {
	name string
	code websocket.StatusCode
	told bool
	set  func(w *faultsWorld)
}{
	{"OnConnect", 1011, true, func(w *faultsWorld) {
		w.opts.Events.OnConnect = func(context.Context, *Channel) error { w.boom(); return nil }
	}},
	{"OnMessage", 1011, true, func(w *faultsWorld) {
		w.opts.Events.OnMessage = func(context.Context, *Channel, Message) error { w.boom(); return nil }
	}},
	{"OnDisconnect", 0, true, func(w *faultsWorld) {
		w.opts.Events.OnDisconnect = func(*Channel, error) { w.boom() }
	}},
	{"OnError", 1011, false, func(w *faultsWorld) {
		w.channel.Events.OnError = func(*Channel, error) { w.boom() }
	}},
	{"a handler", 1011, true, func(w *faultsWorld) {
		w.handler = func(context.Context, *Channel) error { w.boom(); return nil }
	}},
	{"a middleware", 1011, true, func(w *faultsWorld) {
		w.mw = func(Handler) Handler { return func(context.Context, *Channel) error { w.boom(); return nil } }
	}},
	{"the making of a middleware", 1011, true, func(w *faultsWorld) {
		w.mw = func(Handler) Handler { w.boom(); return nil }
	}},
	{"a middleware on the way back", 0, true, func(w *faultsWorld) {
		w.mw = func(next Handler) Handler {
			return func(ctx context.Context, c *Channel) error { next(ctx, c); w.boom(); return nil }
		}
	}},
	{"Auth", 1011, true, func(w *faultsWorld) {
		w.mw = Auth(func(context.Context, *Channel) error { w.boom(); return nil })
	}},
	{"the key of a RateLimiter", 1011, true, func(w *faultsWorld) {
		l, err := NewRateLimiter(1, time.Hour, &RateLimitOptions{Key: func(*http.Request) string { w.boom(); return "" }})
		if err != nil {
			w.t.Fatal(err)
		}
		w.mw = l.Middleware()
	}},
	{"an Authenticator", 1011, true, func(w *faultsWorld) {
		w.channel.Authenticator = func(context.Context, *Channel, string) error { w.boom(); return nil }
		w.handler = func(ctx context.Context, c *Channel) error { return c.Authenticate(ctx, "") }
	}},
	{"a Codec's Marshal", 1003, true, func(w *faultsWorld) {
		w.channel.Codec = faultsCodec{w, nil}
		w.handler = func(ctx context.Context, c *Channel) error { return c.Send(ctx, 1) }
	}},
	{"a Codec's Unmarshal", 1003, true, func(w *faultsWorld) {
		w.channel.Codec = faultsCodec{nil, w}
		w.handler = func(ctx context.Context, c *Channel) error { return c.ReceiveJSON(ctx, new(int)) }
	}},
	{"the MarshalJSON of a group's payload", 1003, true, func(w *faultsWorld) {
		w.handler = func(ctx context.Context, c *Channel) error {
			_, err := w.box.GroupSend(ctx, "g", faultsPayload{w}, nil)
			return err
		}
	}},
	{"the String of a payload to a user", 1003, true, func(w *faultsWorld) {
		w.channel.PayloadType = Text
		w.handler = func(ctx context.Context, c *Channel) error {
			if err := c.SetUser("ann"); err != nil {
				return err
			}
			_, err := w.box.SendToUser(ctx, "ann", faultsStringer{w})
			return err
		}
	}},
	{"MarshalBinary", 1003, true, func(w *faultsWorld) {
		w.channel.PayloadType = Bytes
		w.handler = func(ctx context.Context, c *Channel) error { return c.Send(ctx, faultsPayload{w}) }
	}},
	{"Validate", 1003, true, func(w *faultsWorld) {
		w.handler = func(ctx context.Context, c *Channel) error {
			faultsValidating = w.boom
			_, err := Receive[faultsValidated](ctx, c)
			return err
		}
	}},
	{"OnPingReceived", 0, false, func(w *faultsWorld) {
		w.opts.Accept.OnPingReceived = func(context.Context, []byte) bool { w.boom(); return false }
	}},
	{"OnPongReceived", 0, false, func(w *faultsWorld) {
		w.opts.Accept.OnPongReceived = func(context.Context, []byte) { w.boom() }
	}},
	{"a log's handler", 0, false, func(w *faultsWorld) {
		w.opts.Logger = slog.New(faultsLog{w: w})
	}},
}

// A faultsWorld is a box with an endpoint, somewhere in which there is a panic.
type faultsWorld struct {
	t       *testing.T
	box     *ChannelBox
	opts    Options
	channel ChannelOptions
	handler Handler
	mw      Middleware

	value any
	booms atomic.Uint64
}

func (w *faultsWorld) boom() {
	if w != nil {
		w.booms.Add(1)
		panic(w.value)
	}
}

type faultsCodec struct{ marshal, unmarshal *faultsWorld }

func (c faultsCodec) Marshal(v any) ([]byte, error) { c.marshal.boom(); return json.Marshal(v) }
func (c faultsCodec) Unmarshal(p []byte, v any) error {
	c.unmarshal.boom()
	return json.Unmarshal(p, v)
}

type faultsPayload struct{ w *faultsWorld }

func (p faultsPayload) MarshalJSON() ([]byte, error)   { p.w.boom(); return nil, nil }
func (p faultsPayload) MarshalBinary() ([]byte, error) { p.w.boom(); return nil, nil }

type faultsStringer struct{ w *faultsWorld }

func (s faultsStringer) MarshalJSON() ([]byte, error) { return []byte("1"), nil }
func (s faultsStringer) String() string               { s.w.boom(); return "" }

type faultsValidated struct{}

var faultsValidating func()

func (faultsValidated) Validate() error { faultsValidating(); return nil }

type faultsLog struct {
	slog.Handler
	w *faultsWorld
}

func (faultsLog) Enabled(context.Context, slog.Level) bool    { return true }
func (l faultsLog) Handle(context.Context, slog.Record) error { l.w.boom(); return nil }

// A panic of the application's code, with whatever value, ends the one channel at most. It
// is counted, told where that is promised, and nothing of its text reaches the peer.
func TestAPanicAnywhereEndsOneChannelAtMost(t *testing.T) {
	for _, place := range faultsPlaces {
		t.Run(place.name, func(t *testing.T) {
			for name, value := range faultsValues {
				synctest.Test(t, func(t *testing.T) {
					w := &faultsWorld{t: t, value: value}
					w.opts.Logger, _ = chanLogger()
					log := newWireLog()
					w.channel.Events = log.events()
					place.set(w)
					w.box = wireBox(t, &w.opts)
					bystander, conn := boxMember(t, w.box, nil, "g")

					code, reason := w.visit()
					if place.code != code || reason != "" && reason != "invalid message" {
						t.Errorf("with %s: the peer saw %d %q, want %d and no text", name, code, reason, place.code)
					}
					boxSend(t, w.box, "g", "still here", nil)
					boxWant(t, "the bystander", boxFlushed(t, bystander, conn), []string{"still here"})
					bystander.Close(1000, "")
					wireShutdown(t, w.box)
					boxNothingLeft(t, w.box)

					s := w.box.Stats()
					if booms := w.booms.Load(); booms == 0 || s.Panics != booms {
						t.Errorf("with %s: %d panics were counted, and there were %d", name, s.Panics, booms)
					}
					told := slices.ContainsFunc(log.errs, func(err error) bool { return errors.As(err, new(*PanicError)) })
					if told != place.told {
						t.Errorf("with %s: OnError was told of a panic: %v, want %v", name, told, place.told)
					}
					if s.Accepted != s.Disconnected {
						t.Errorf("with %s: %d channels came, and %d went", name, s.Accepted, s.Disconnected)
					}
				})
			}
		})
	}
}

// visit is one client that comes, does a little of everything, and goes. It returns how
// the channel ended before it went, 0 if it did not.
func (w *faultsWorld) visit() (code websocket.StatusCode, reason string) {
	c := wschannelstest.Dial(w.t, w.box.HandlerWith(&w.channel, w.handler, w.mw), "/")
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := c.Read(w.t.Context()); err != nil {
				ended <- err
				return
			}
		}
	}()
	typ := websocket.MessageText
	if w.channel.PayloadType == Bytes {
		typ = websocket.MessageBinary
	}
	ping, cancel := context.WithTimeout(w.t.Context(), time.Second) // may be left unanswered
	defer cancel()
	for _, act := range []func() error{
		func() error { return c.Write(w.t.Context(), typ, []byte("{}")) },
		func() error { return c.Write(w.t.Context(), typ, []byte("{")) }, // OnError hears of it
		func() error { return c.Ping(ping) },
		func() error { time.Sleep(30 * time.Second); return nil }, // the server pings
	} {
		_ = act() // the channel may have ended
		synctest.Wait()
	}
	select {
	case err := <-ended:
		var end websocket.CloseError
		errors.As(err, &end)
		return end.Code, end.Reason
	default:
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
	var end websocket.CloseError
	if errors.As(<-ended, &end) && end.Code != websocket.StatusNormalClosure {
		w.t.Errorf("the channel ended with %v once the peer had closed it", end)
	}
	return 0, ""
}
