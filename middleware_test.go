package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// chanEnd reads until the connection ends and returns how.
func chanEnd(t *testing.T, client *websocket.Conn) (websocket.StatusCode, string) {
	t.Helper()
	for {
		if _, _, err := client.Read(t.Context()); err != nil {
			var ce websocket.CloseError
			if !errors.As(err, &ce) {
				t.Fatalf("the connection ended without a close frame: %v", err)
			}
			synctest.Wait()
			return ce.Code, ce.Reason
		}
	}
}

// chanTracing returns a middleware that notes when it is passed, each way.
func chanTracing(l *chanTrace, name string) wschannels.Middleware {
	return func(next wschannels.Handler) wschannels.Handler {
		return func(ctx context.Context, c *wschannels.Channel) error {
			l.add(name)
			defer l.add("/" + name)
			return next(ctx, c)
		}
	}
}

func TestChainOrder(t *testing.T) {
	l := new(chanTrace)
	h := func(context.Context, *wschannels.Channel) error { l.add("h"); return nil }
	chain := wschannels.Chain(chanTracing(l, "a"), nil, wschannels.Chain(chanTracing(l, "b"), chanTracing(l, "c")))
	if err := chain(h)(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(l.all()), "[a b c h /c /b /a]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := wschannels.Chain()(h)(t.Context(), nil); err != nil || len(l.all()) != 8 {
		t.Errorf("an empty Chain does not call the handler: %v, %v", l.all(), err)
	}
}

func TestHandlerOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(chanTrace)
		var box *wschannels.ChannelBox
		box = chanBox(t, &wschannels.Options{Events: wschannels.Events{
			OnConnect: func(_ context.Context, c *wschannels.Channel) error {
				_, in := box.Channel(c.ID())
				l.add(fmt.Sprint("connect, in the box: ", in))
				return nil
			},
			OnDisconnect: func(*wschannels.Channel, error) { l.add("disconnect") },
		}})
		outside := func(next wschannels.Handler) wschannels.Handler {
			return func(ctx context.Context, c *wschannels.Channel) error {
				_, in := box.Channel(c.ID())
				l.add(fmt.Sprint("middleware, in the box: ", in))
				return next(ctx, c)
			}
		}
		h := func(context.Context, *wschannels.Channel) error { l.add("handler"); return nil }
		client := wschannelstest.Dial(t, box.Handler(h, chanTracing(l, "a"), nil, chanTracing(l, "b"), outside), "/")
		chanEnd(t, client)
		want := []string{"a", "b", "middleware, in the box: false", "connect, in the box: true", "handler", "/b", "/a", "disconnect"}
		if got := l.all(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestMiddlewareThatRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		code   websocket.StatusCode
		reason string
	}{
		{"without a word", nil, 1000, ""},
		{"with an error", errors.New("secret"), 1011, ""},
		{"with a code", &wschannels.CloseError{Code: 4321, Reason: "why", Err: errors.New("secret")}, 4321, "why"},
		{"with a code that may not be sent", &wschannels.CloseError{Code: 1005, Reason: "secret"}, 1011, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(chanTrace)
				box := chanBox(t, &wschannels.Options{Events: chanTraced(l)})
				refuse := func(wschannels.Handler) wschannels.Handler {
					return func(context.Context, *wschannels.Channel) error { return tt.err }
				}
				h := func(context.Context, *wschannels.Channel) error { l.add("handler"); return nil }
				code, reason := chanEnd(t, wschannelstest.Dial(t, box.Handler(h, refuse), "/"))
				if code != tt.code || reason != tt.reason {
					t.Errorf("the peer saw %d %q, want %d %q", code, reason, tt.code, tt.reason)
				}
				if got := l.all(); len(got) != 0 {
					t.Errorf("%q happened, want no event and no handler", got)
				}
				if s := box.Stats(); s.Refused != 1 || s.Accepted != 0 || s.Disconnected != 0 {
					t.Errorf("Stats: %d refused, %d accepted, %d disconnected; want 1, 0, 0", s.Refused, s.Accepted, s.Disconnected)
				}
			})
		})
	}
}

// chanTraced returns events that note themselves.
func chanTraced(l *chanTrace) wschannels.Events {
	return wschannels.Events{
		OnConnect:    func(context.Context, *wschannels.Channel) error { l.add("connect"); return nil },
		OnDisconnect: func(*wschannels.Channel, error) { l.add("disconnect") },
		OnMessage: func(_ context.Context, _ *wschannels.Channel, m wschannels.Message) error {
			l.add("message " + m.Text())
			return nil
		},
		OnError: func(_ *wschannels.Channel, err error) { l.add("error") },
	}
}

func TestMiddlewareThatCallsNextTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(chanTrace)
		box := chanBox(t, &wschannels.Options{Events: chanTraced(l)})
		twice := func(next wschannels.Handler) wschannels.Handler {
			return func(ctx context.Context, c *wschannels.Channel) error {
				if err := next(ctx, c); err != nil {
					return err
				}
				return next(ctx, c)
			}
		}
		h := func(context.Context, *wschannels.Channel) error { l.add("handler"); return nil }
		if code, _ := chanEnd(t, wschannelstest.Dial(t, box.Handler(h, twice), "/")); code != websocket.StatusInternalError {
			t.Errorf("the peer saw %d, want 1011", code)
		}
		if got, want := l.all(), []string{"connect", "handler", "error", "disconnect"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if s := box.Stats(); s.Accepted != 1 || s.Refused != 0 {
			t.Errorf("Stats: %d accepted, %d refused; want 1, 0", s.Accepted, s.Refused)
		}
	})
}

// A middleware sees how the rest ended, and may change it.
func TestMiddlewareSeesTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		box := chanBox(t, nil)
		translate := func(next wschannels.Handler) wschannels.Handler {
			return func(ctx context.Context, c *wschannels.Channel) error {
				if err := next(ctx, c); err != failed {
					t.Errorf("next returned %v, want the handler's error", err)
				}
				return &wschannels.CloseError{Code: 4321, Reason: "translated"}
			}
		}
		h := func(context.Context, *wschannels.Channel) error { return failed }
		code, reason := chanEnd(t, wschannelstest.Dial(t, box.Handler(h, translate), "/"))
		if code != 4321 || reason != "translated" {
			t.Errorf("the peer saw %d %q, want 4321", code, reason)
		}
	})
}

func TestAuth(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		reason string
	}{
		{"an error", errors.New("secret"), "unauthorized"},
		{"a CloseError", &wschannels.CloseError{Code: 4999, Reason: "token expired"}, "token expired"},
		{"a CloseError without a reason", &wschannels.CloseError{Code: 4999, Err: errors.New("secret")}, "unauthorized"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(chanTrace)
				box := chanBox(t, &wschannels.Options{Events: chanTraced(l)})
				auth := wschannels.Auth(func(_ context.Context, c *wschannels.Channel) error {
					if c.Request().URL.Query().Get("token") == "sesame" {
						return c.SetUser("ann")
					}
					return tt.err
				})
				h := func(ctx context.Context, c *wschannels.Channel) error {
					l.add("handler " + c.User())
					return nil
				}
				code, reason := chanEnd(t, wschannelstest.Dial(t, box.Handler(h, auth), "/?token=guess"))
				if code != wschannels.StatusUnauthorized || reason != tt.reason {
					t.Errorf("the peer saw %d %q, want 4001 %q", code, reason, tt.reason)
				}
				if got := l.all(); len(got) != 0 {
					t.Errorf("%q happened to the refused channel", got)
				}
				if code, _ := chanEnd(t, wschannelstest.Dial(t, box.Handler(h, auth), "/?token=sesame")); code != 1000 {
					t.Errorf("with the right token the peer saw %d, want 1000", code)
				}
				if got, want := l.all(), []string{"connect", "handler ann", "disconnect"}; !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		})
	}
}

// The cause is there for whoever looks, in the process.
func TestAuthKeepsTheCause(t *testing.T) {
	refused := errors.New("no such token")
	auth := wschannels.Auth(func(context.Context, *wschannels.Channel) error { return refused })
	err := auth(func(context.Context, *wschannels.Channel) error { return nil })(t.Context(), nil)
	if !errors.Is(err, wschannels.ErrUnauthorized) || !errors.Is(err, refused) {
		t.Errorf("Auth = %v, want ErrUnauthorized and the cause", err)
	}
}

// A token that comes as the first message.
func TestAuthMayReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(chanTrace)
		box := chanBox(t, &wschannels.Options{Events: chanTraced(l)})
		auth := wschannels.Auth(func(ctx context.Context, c *wschannels.Channel) error {
			token, err := wschannels.Receive[string](ctx, c)
			if err == nil && token != "sesame" {
				err = errChanToken
			}
			return err
		})
		client := wschannelstest.Dial(t, box.Handler(nil, auth), "/")
		for _, m := range []string{`"sesame"`, `1`, `2`} {
			if err := client.Write(t.Context(), websocket.MessageText, []byte(m)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got, want := l.all(), []string{"connect", "message 1", "message 2"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		gone := wschannelstest.Dial(t, box.Handler(nil, auth), "/")
		gone.Close(websocket.StatusNormalClosure, "") // before it has said who it is
		synctest.Wait()
		if s := box.Stats(); s.Accepted != 1 || s.Refused != 1 {
			t.Errorf("Stats: %d accepted, %d refused; want 1, 1", s.Accepted, s.Refused)
		}
	})
}

// What a handler returns decides how its channel ends.
func TestHandlerResults(t *testing.T) {
	secret := errors.New("secret")
	for _, tt := range []struct {
		name    string
		handler wschannels.Handler
		code    websocket.StatusCode
		reason  string
		onError error // nil: none
		panics  uint64
	}{
		{"nil", func(context.Context, *wschannels.Channel) error { return nil }, 1000, "", nil, 0},
		{"an error", func(context.Context, *wschannels.Channel) error { return secret }, 1011, "", secret, 0},
		{"a CloseError", func(context.Context, *wschannels.Channel) error {
			return &wschannels.CloseError{Code: 4321, Reason: "why", Err: secret}
		}, 4321, "why", nil, 0},
		{"a wrapped CloseError", func(context.Context, *wschannels.Channel) error {
			return fmt.Errorf("secret: %w", &wschannels.CloseError{Code: 1008, Reason: "why"})
		}, 1008, "why", nil, 0},
		{"a CloseError that cannot be sent", func(context.Context, *wschannels.Channel) error {
			return &wschannels.CloseError{Code: 1006, Reason: "secret", Err: secret}
		}, 1011, "", secret, 0},
		{"a PayloadError", func(context.Context, *wschannels.Channel) error {
			return fmt.Errorf("secret: %w", &wschannels.PayloadError{Op: "decode", Err: secret})
		}, 1003, "invalid message", secret, 0},
		{"a panic", func(context.Context, *wschannels.Channel) error { panic(secret) }, 1011, "", secret, 1},
		{"a panic with a CloseError", func(context.Context, *wschannels.Channel) error {
			panic(&wschannels.CloseError{Code: 4321, Reason: "secret", Err: secret})
		}, 1011, "", secret, 1},
		{"its own Close", func(_ context.Context, c *wschannels.Channel) error {
			c.Close(4000, "own")
			return c.Err()
		}, 4000, "own", nil, 0},
		{"an error after its own Close", func(_ context.Context, c *wschannels.Channel) error {
			c.Close(4000, "own")
			return secret
		}, 4000, "own", secret, 0},
		{"its context's end", func(ctx context.Context, c *wschannels.Channel) error {
			c.Close(4000, "own")
			<-ctx.Done()
			return ctx.Err()
		}, 4000, "own", nil, 0},
		{"a panic after its own Close", func(_ context.Context, c *wschannels.Channel) error {
			c.Close(4000, "own")
			panic(secret)
		}, 4000, "own", secret, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var reported []error
				disconnected := 0
				box := chanBox(t, &wschannels.Options{Events: wschannels.Events{
					OnError: func(_ *wschannels.Channel, err error) { reported = append(reported, err) },
					OnDisconnect: func(c *wschannels.Channel, err error) {
						disconnected++
						if err != c.Err() || websocket.CloseStatus(err) != tt.code {
							t.Errorf("OnDisconnect got %v, want the channel's Err() of code %d", err, tt.code)
						}
					},
				}})
				var c *wschannels.Channel
				h := func(ctx context.Context, ch *wschannels.Channel) error {
					c = ch
					if _, err := box.Join(ctx, c, "g", nil); err != nil {
						t.Errorf("Join: %v", err)
					}
					return tt.handler(ctx, c)
				}
				code, reason := chanEnd(t, wschannelstest.Dial(t, box.Handler(h), "/"))
				if code != tt.code || reason != tt.reason {
					t.Errorf("the peer saw %d %q, want %d %q", code, reason, tt.code, tt.reason)
				}
				switch {
				case tt.onError == nil && len(reported) != 0:
					t.Errorf("OnError got %v, want nothing", reported)
				case tt.onError != nil && (len(reported) != 1 || !errors.Is(reported[0], tt.onError)):
					t.Errorf("OnError got %v, want %v once", reported, tt.onError)
				}
				if isPanic := len(reported) == 1 && errors.As(reported[0], new(*wschannels.PanicError)); isPanic != (tt.panics > 0) {
					t.Errorf("OnError got %T", reported)
				}
				s := box.Stats()
				if s.Panics != tt.panics || s.Channels != 0 || s.Groups != 0 || s.Disconnected != 1 || disconnected != 1 {
					t.Errorf("Stats %+v, %d OnDisconnect; want %d panics, nothing left, one disconnected", s, disconnected, tt.panics)
				}
			})
		})
	}
}

// A panic that a call returned, and then the handler, is one.
func TestPanicsAreCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, nil)
		h := func(ctx context.Context, c *wschannels.Channel) error { return c.Send(ctx, chanBad{}) }
		for n := range uint64(3) {
			chanEnd(t, wschannelstest.Dial(t, box.Handler(h), "/"))
			if s := box.Stats(); s.Panics != n+1 {
				t.Errorf("Stats: %d panics, want %d", s.Panics, n+1)
			}
		}
	})
}

func TestHandlerContextEndsWithTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, nil)
		cause := make(chan error, 1)
		type key struct{}
		h := box.Handler(func(ctx context.Context, c *wschannels.Channel) error {
			if ctx.Value(key{}) != "value" {
				t.Error("the handler's context has no values of the request's")
			}
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return nil
		})
		client := wschannelstest.Dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(context.WithValue(r.Context(), key{}, "value"))
			defer cancel() // which ends the request's, but not the channel's
			h.ServeHTTP(w, r.WithContext(ctx))
		}), "/")
		time.Sleep(time.Second)
		if n := len(cause); n != 0 {
			t.Fatal("the handler's context ended with the request's")
		}
		client.Close(4321, "bye")
		if err := <-cause; websocket.CloseStatus(err) != 4321 {
			t.Errorf("the cause is %v, want the peer's 4321", err)
		}
	})
}
