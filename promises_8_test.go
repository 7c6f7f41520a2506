package wschannels_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// Promise 8: safe defaults: same-host origins, 64 KiB messages, compression off, no
// payloads or raw peer bytes in logs, authentication before registration.
//
// All over TCP, on a box of which no option is set that could matter.
func TestPromise8SafeDefaults(t *testing.T) {
	t.Run("same-host origins", testDefaultOrigins)
	t.Run("64 KiB messages", testDefaultReadLimit)
	t.Run("compression off", testDefaultCompression)
	t.Run("no payloads or raw peer bytes in logs", testLogsAreClean)
	t.Run("authentication before registration", testAuthenticationComesFirst)
}

func testDefaultOrigins(t *testing.T) {
	b := wireBox(t, nil)
	srv := wireServe(t, b, b)
	accepted := 0
	for origin, want := range map[string]int{
		"":                              http.StatusSwitchingProtocols, // no browser
		"Origin: http://wire.test":      http.StatusSwitchingProtocols, // the Host of the request
		"Origin: https://wire.test":     http.StatusSwitchingProtocols,
		"Origin: http://evil.test":      http.StatusForbidden,
		"Origin: http://wire.test:8080": http.StatusForbidden,
		"Origin: http://evilwire.test":  http.StatusForbidden,
		"Origin: http://wire.test.evil": http.StatusForbidden,
		"Origin: null":                  http.StatusForbidden,
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		p := wireUpgrade(t, conn)
		var headers []string
		if origin != "" {
			headers = append(headers, origin)
		}
		p.send(t, wireRequest(headers...))
		resp, err := http.ReadResponse(p.br, nil)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%q: %v, %v; want %d", origin, resp, err, want)
		}
		if want == http.StatusSwitchingProtocols {
			accepted++
		}
	}
	boxEventually(t, "who is accepted is in the box", func() bool { return b.Stats().Accepted == uint64(accepted) })
}

func testDefaultReadLimit(t *testing.T) {
	for over := range 2 {
		log := newWireLog()
		b := wireBox(t, &wschannels.Options{Events: log.events()})
		p := promiseDial(t, wireServe(t, b, b))
		message := `"` + strings.Repeat("x", 64<<10-2+over) + `"`
		p.send(t, wireString(message), wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
		p.wantClose(t, []websocket.StatusCode{1000, 1009}[over])
		p.Close()
		log.end(t)
		log.want(t, []string{message}[:1-over], over)
	}
}

// It is not agreed on, though offered; nothing leaves compressed (next would say so);
// and what comes compressed breaks the protocol.
func testDefaultCompression(t *testing.T) {
	b := wireEcho(t, &wschannels.Options{})
	srv := wireServe(t, b, b)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := wireUpgrade(t, conn)
	p.send(t, wireRequest(wireOfferDeflate))
	resp, err := http.ReadResponse(p.br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || len(resp.Header.Values("Sec-WebSocket-Extensions")) > 0 {
		t.Fatalf("the answer to an offer of compression: %v, %v", resp, err)
	}
	text := `"` + strings.Repeat("compressible ", 1000) + `"`
	p.send(t, wireString(text))
	if op, data, err := p.next(); err != nil || op != wireText || string(data) != text {
		t.Errorf("the echo: opcode %d, %d bytes, %v", op, len(data), err)
	}
	p.send(t, wireFrame(wireFin|0x40|wireText, wireDeflate(t, []byte(text))))
	p.wantClose(t, websocket.StatusProtocolError)
}

// A logger that takes everything, down to the level Debug, as text and as JSON, and
// clients that do whatever leads to a line in it. Everything they send says SECRET, and
// has a byte and a line break that a log must not get raw.
func testLogsAreClean(t *testing.T) {
	for name, handler := range map[string]func(*chanWriter) slog.Handler{
		"text": func(w *chanWriter) slog.Handler {
			return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug - 100})
		},
		"JSON": func(w *chanWriter) slog.Handler {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug - 100})
		},
		"bytes": func(w *chanWriter) slog.Handler { return promiseRawLog{slog.DiscardHandler, w} },
	} {
		t.Run(name, func(t *testing.T) {
			written := new(chanWriter)
			type form struct{ N int8 }
			var b *wschannels.ChannelBox
			b = wireBox(t, &wschannels.Options{
				Channel: wschannels.ChannelOptions{MessageLimit: 10, ReadTimeout: 100 * time.Millisecond, CloseTimeout: time.Second},
				Logger:  slog.New(handler(written)),
				Events: wschannels.Events{
					OnConnect: promiseJoins(&b),
					OnMessage: func(_ context.Context, _ *wschannels.Channel, m wschannels.Message) error {
						return m.Decode(new(form)) // with what is wrong, and where
					},
				},
			})
			handled := b.Handler(func(ctx context.Context, c *wschannels.Channel) error {
				_, err := wschannels.Receive[form](ctx, c)
				return err
			})
			refusing := b.Handler(nil, wschannels.Auth(func(_ context.Context, c *wschannels.Channel) error {
				return errors.New("no")
			}))
			events, handling, refused := wireServe(t, b, b), wireServe(t, handled, nil), wireServe(t, refusing, nil)
			const secret = "SECRET\xff\nlevel=ERROR"
			valid := strings.ReplaceAll(secret, "\xff", "")
			closes := wireFrame(wireFin|wireClose, wireCloseBody(4321, valid))
			for i, sends := range [][]byte{
				wireString(`"SECRET"`),                        // of the wrong type
				wireString(`{"N":"SECRET"}`),                  // the same, in a field
				wireString(`{"SECRET":`),                      // no JSON
				wireString(valid),                             // neither, with a line break
				wireFrame(wireFin|wireBinary, []byte(secret)), // no UTF-8, in a binary message
				wireString(secret),                            // no UTF-8
				wireFrame(wireFin|wirePing, []byte(secret)),
				bytes.Repeat(wireFrame(wireFin|wirePong, []byte(secret)), 200), // a flood
				bytes.Repeat(wireString(`"SECRET"`), 20),                       // over MessageLimit
				wireString(`"` + strings.Repeat("SECRET", 20_000) + `"`),       // over ReadLimit
				wireFrame(wireFin|0x5, []byte(secret)),                         // a reserved opcode
				wireFrame(wireText, []byte(secret)),                            // takes too long
				wireFrame(wireFin|wireClose, wireCloseBody(1000, secret)),      // a reason that is no UTF-8
				[]byte(secret),
			} {
				for _, srv := range []*wirePeer{promiseDial(t, events), promiseDial(t, handling), promiseDial(t, refused, "X: SECRET")} {
					srv.Write(append(sends, closes...)) // as far as it gets
					if i%2 == 0 {
						srv.Close()
					}
				}
				boxSend(t, b, "g", "SECRET", nil) // to whom it is too late, too
			}
			boxEventually(t, "all are gone", func() bool {
				s := b.Stats()
				return s.Accepted == 28 && s.Refused == 14 && s.Disconnected == 28
			})
			logged := written.String()
			if n := strings.Count(logged, "wschannels"); n < 30 {
				t.Errorf("%d lines were logged, want some for each of 42 clients:\n%s", n, logged)
			}
			for _, bad := range []string{"SECRET", "\xff", "\nlevel=ERROR", "U0VDUkVU", "534543524554"} {
				if strings.Contains(logged, bad) {
					t.Errorf("the log has %q:\n%.3000q", bad, logged)
				}
			}
		})
	}
}

// promiseRawLog writes what attributes are, without escaping anything.
type promiseRawLog struct {
	slog.Handler
	w *chanWriter
}

func (promiseRawLog) Enabled(context.Context, slog.Level) bool { return true }
func (l promiseRawLog) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l promiseRawLog) Handle(_ context.Context, r slog.Record) error {
	l.w.Write([]byte(r.Message))
	r.Attrs(func(a slog.Attr) bool {
		l.w.Write([]byte(" " + a.Key + "=" + a.Value.String()))
		return true
	})
	l.w.Write([]byte("\n"))
	return nil
}

// While Auth makes up its mind, and after it has refused, the channel is nowhere: not
// in the registry, in no group, nobody's, and no event has heard of it.
func testAuthenticationComesFirst(t *testing.T) {
	log := newWireLog()
	events := log.events()
	events.OnConnect = func(_ context.Context, c *wschannels.Channel) error {
		t.Error("OnConnect of a channel that was refused")
		return nil
	}
	b := wireBox(t, &wschannels.Options{Events: events})
	boxSendUser(t, b, "ann", "mail")
	checking, decide := make(chan *wschannels.Channel), make(chan bool)
	p := promiseDial(t, wireServe(t, b.Handler(nil, wschannels.Auth(func(ctx context.Context, c *wschannels.Channel) error {
		if err := c.SetUser("ann"); err != nil {
			t.Error(err)
		}
		checking <- c
		<-decide
		return errors.New("wrong password: hunter2")
	})), b))
	p.send(t, wireString(`"let me in"`)) // a client need not wait
	c := <-checking
	nowhere := func(when string) {
		t.Helper()
		if _, err := b.Join(t.Context(), c, "g", nil); err == nil {
			t.Errorf("%s: it could join a group", when)
		}
		if err := b.SendTo(t.Context(), c.ID(), "x"); !errors.Is(err, wschannels.ErrNoSuchChannel) {
			t.Errorf("%s: SendTo: %v, want ErrNoSuchChannel", when, err)
		}
		if res := boxSendUser(t, b, "ann", "mail"); res.Queued != 0 || res.Waiting != 1 {
			t.Errorf("%s: SendToUser: %+v, want it to wait", when, res)
		}
		_, found := b.Channel(c.ID())
		if s := b.Stats(); found || len(b.Channels()) != 0 || len(b.Groups()) != 0 || s.Accepted != 0 || s.Channels != 0 || s.Sent != 0 {
			t.Errorf("%s: found %v in %v, groups %v, %+v; want nothing of it", when, found, b.Channels(), b.Groups(), s)
		}
	}
	nowhere("while it is checked")
	decide <- false
	body, data := p.untilClose(t)
	if wireCode(body) != wschannels.StatusUnauthorized || string(body[2:]) != "unauthorized" || len(data) > 0 {
		t.Errorf("the peer got %q and %d %q, want 4001, and neither mail nor why", data, wireCode(body), body[2:])
	}
	p.Close()
	boxEventually(t, "the refusal is counted", func() bool { return b.Stats().Refused == 1 })
	nowhere("after it was refused")
	log.mu.Lock()
	defer log.mu.Unlock()
	if len(log.messages)+len(log.errs)+len(log.ends) > 0 {
		t.Errorf("events: messages %q, errors %v, ends %v; want none", log.messages, log.errs, log.ends)
	}
}
