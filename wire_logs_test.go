package wschannels_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

// A wireRawLog is a log that escapes nothing, as some do: what gets into a record gets
// into the file.
type wireRawLog struct {
	chanWriter
	records atomic.Int64
}

func (l *wireRawLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *wireRawLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *wireRawLog) WithGroup(string) slog.Handler            { return l }

func (l *wireRawLog) Handle(_ context.Context, r slog.Record) error {
	l.records.Add(1)
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { line += fmt.Sprintf(" %s=%v", a.Key, a.Value); return true })
	_, err := io.WriteString(l, line+"\n")
	return err
}

// want expects at least least lines that are printable and hold no secret.
func (l *wireRawLog) want(t *testing.T, least int64, secret string) {
	t.Helper()
	text := l.String()
	if !utf8.ValidString(text) {
		t.Errorf("the log is not UTF-8:\n%q", text)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("the log has %q:\n%q", text[i:min(i+10, len(text))], text)
	}
	if n := int64(strings.Count(text, "\n")); n < least || n != l.records.Load() {
		t.Errorf("%d lines and %d records, want the same, and at least %d:\n%s", n, l.records.Load(), least, text)
	}
	if secret != "" && strings.Contains(text, secret) {
		t.Errorf("the log has %q:\n%s", secret, text)
	}
}

// wireEvil is text that would end a line, begin one, and talk to a terminal.
const wireEvil = "SECRET\r\nlevel=ERROR \x00\x07\x1b[31m\x7f\u009b2J\u2028\u202eSECRET"

// wireEvilFrames are its ways in, for one connection each.
func wireEvilFrames() [][]byte {
	odd := []byte(wireEvil + "\xff\xfe")
	frames := [][]byte{
		wireString(wireEvil), wireFrame(wireFin|wireText, odd), wireFrame(wireFin|wireBinary, odd),
		wireString(`{"` + wireEvil), wireString(`{"SECRET\u001b\n":"SECRET"}`), wireString(`{"A":"SECRET\u001b\n"}`), wireString(`{"M":{"SECRET\u001b\n":"SECRET"}}`),
		wireString(`"SECRET\u001b\n"`), wireString("[1] " + wireEvil),
		wireFrame(wireFin|wireClose, wireCloseBody(1000, wireEvil)), wireFrame(wireFin|wireClose, wireCloseBody(4321, wireEvil)),
		wireFrame(wireFin|wireClose, wireCloseBody(1016, wireEvil)), wireFrame(wireFin|wireClose, wireCloseBody(1000, string(odd))),
		bytes.Repeat(wireFrame(wireFin|wirePing, odd), 101), bytes.Repeat(wireFrame(wireFin|wirePong, odd), 101),
		wireFrame(wireFin|wirePing, bytes.Repeat([]byte("SECRET\n"), 20)), wireFrame(wirePing, odd), wireFrame(wireFin|wireCont, odd),
		wireFrame(0x83, odd), wireFrame(0xB1, odd), append([]byte{0x81, byte(len(odd))}, odd...),
		wireFrame(0xC1, odd), wireFrame(0xC1, []byte{0xFF, 0xFF, 0xFF, 0xFF}), wireFrame(0xC1, bytes.Repeat([]byte{0}, 100)),
		wireFrame(wireFin|wireText, bytes.Repeat([]byte(wireEvil), 100)), wireString("SECRET"), wireString(""),
	}
	for i := range frames { // and then an end, if that was none
		frames[i] = slices.Concat(frames[i], wireFrame(wireFin|wireClose, wireCloseBody(4000, wireEvil)))
	}
	return frames
}

// wireEvilHandlers are what applications do with it, all of which log something.
func wireEvilHandlers(box *ChannelBox) map[string]Handler {
	type payload struct {
		A int8
		T time.Time
		M map[string]int
	}
	each := func(f func(ctx context.Context, c *Channel, m Message) error) Handler {
		return func(ctx context.Context, c *Channel) error {
			m, err := c.Receive(ctx)
			if err == nil {
				err = f(ctx, c, m)
			}
			return err
		}
	}
	return map[string]Handler{
		"/events":  nil,
		"/receive": each(func(context.Context, *Channel, Message) error { return nil }),
		"/json":    func(ctx context.Context, c *Channel) error { return c.ReceiveJSON(ctx, new(payload)) },
		"/typed":   func(ctx context.Context, c *Channel) error { _, err := Receive[wireStrictText](ctx, c); return err },
		"/wrapped": each(func(_ context.Context, _ *Channel, m Message) error {
			return fmt.Errorf("x: %w", m.Decode(new(payload)))
		}),
		"/join": each(func(ctx context.Context, c *Channel, m Message) error {
			_, err := box.Join(ctx, c, m.Text(), nil)
			return err
		}),
		"/user":   each(func(_ context.Context, c *Channel, m Message) error { return c.SetUser(m.Text()) }),
		"/send":   each(func(ctx context.Context, c *Channel, m Message) error { return c.Send(ctx, string(m.Data)) }),
		"/reason": each(func(_ context.Context, _ *Channel, m Message) error { return &CloseError{Code: 4000, Reason: m.Text()} }),
		"/after": func(ctx context.Context, c *Channel) error {
			_, err := c.Receive(ctx)
			return errors.Join(err, errors.New("x"))
		},
		"/path%1B%0A": func(ctx context.Context, c *Channel) error {
			_, err := box.Join(ctx, c, c.Request().URL.Path, nil)
			return err
		},
	}
}

func TestLogsHoldNothingOfThePeers(t *testing.T) {
	logged := new(wireRawLog)
	std := log.Writer() // the library's own warnings go there
	log.SetOutput(logged)
	defer log.SetOutput(std)
	ended, served := newWireLog(), make(chan struct{}, 1)
	box := wireBox(t, &Options{
		Channel: ChannelOptions{ReadLimit: wireLimit},
		Accept:  websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover, Subprotocols: []string{"chat"}},
		Logger:  slog.New(logged),
		Events: Events{
			OnMessage:    func(_ context.Context, _ *Channel, m Message) error { return m.Decode(new(int8)) },
			OnDisconnect: ended.events().OnDisconnect,
		},
	})
	handlers := wireEvilHandlers(box)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bare" {
			conn, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			c, err := NewChannel(conn, &ChannelOptions{ReadLimit: wireLimit})
			if err != nil {
				t.Error(err)
				return
			}
			_ = box.Serve(context.Background(), c, handlers["/json"])
			served <- struct{}{}
			return
		}
		h, known := handlers[r.URL.EscapedPath()]
		if !known {
			h = handlers["/receive"]
		}
		box.Handler(h).ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(logged, "", 0)
	srv.Start()
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close(); wireShutdown(t, box) })

	paths := []string{"/" + url.PathEscape(wireEvil) + "?SECRET=" + url.QueryEscape(wireEvil)}
	for path := range handlers {
		paths = append(paths, path)
	}
	for _, path := range append(paths, "/bare") {
		for _, frames := range wireEvilFrames() {
			p := wireDialRaw(t, srv)
			p.send(t, bytes.Replace(wireRequest(
				"Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat, SECRET\xff", "User-Agent: SECRET\xff\xfe", "Cookie: SECRET=\x80",
			), []byte("/chat"), []byte(path), 1))
			p.upgraded(t)
			p.send(t, frames)
			for first, err := byte(0), error(nil); err == nil && first != wireFin|wireClose; {
				first, _, err = p.frame()
			}
			p.Close()
			if path == "/bare" {
				<-served // one that ended before it was in the box fires no event
			} else {
				ended.end(t)
			}
		}
	}
	for _, tt := range wireHandshakes() {
		if tt.status == 0 {
			continue
		}
		p := wireDialRaw(t, srv)
		_, _ = p.Write([]byte(strings.Replace(tt.request, "/chat", "/SECRET", 1)))
		_, _ = http.ReadResponse(p.br, nil)
		p.Close()
	}
	boxNothingLeft(t, box)
	logged.want(t, 100, "SECRET")
}

type wireStrictText string

func (s wireStrictText) Validate() error { return fmt.Errorf("bad text %s", string(s)) }

// What an application says of what a peer has sent is its own affair, but one line, and
// printable.
func TestErrorsOfTheApplicationAreLoggedOnOneLine(t *testing.T) {
	logged := new(wireRawLog)
	box := wireBox(t, &Options{Channel: ChannelOptions{
		PayloadType:   Text,
		Authenticator: func(_ context.Context, _ *Channel, token string) error { return errors.New("no such token: " + token) },
	}, Logger: slog.New(logged), Events: Events{
		OnMessage: func(_ context.Context, _ *Channel, m Message) error { panic(m.Text()) },
	}})
	srv := wireServe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		box.Handler([]Handler{
			nil,
			func(ctx context.Context, c *Channel) error {
				m, _ := c.Receive(ctx)
				return fmt.Errorf("unknown command %s", m.Text())
			},
			func(ctx context.Context, c *Channel) error {
				m, _ := c.Receive(ctx)
				return errors.Join(errors.New("two lines"), c.Authenticate(ctx, m.Text()))
			},
		}[len(r.Header.Get("X"))]).ServeHTTP(w, r)
	}), box)
	for i := range 3 {
		p := wireDial(t, srv, "X: "+strings.Repeat("x", i))
		p.send(t, wireString(wireEvil))
		p.untilClose(t)
		p.Close()
	}
	boxNothingLeft(t, box)
	logged.want(t, 3, "")
	if want := `unknown command SECRET\r\nlevel=ERROR`; !strings.Contains(logged.String(), want) {
		t.Errorf("the log has no %s:\n%s", want, logged.String())
	}
}
