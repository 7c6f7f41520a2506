package wschannels

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// FuzzHandshake gives a server bytes, and compares what becomes of them with RFC 6455,
// section 4.2, and, of what comes behind a handshake, section 5.
func FuzzHandshake(f *testing.F) {
	frames := fuzzSeeds()
	for i, s := range fuzzHandshakes() {
		f.Add([]byte(s), uint8(255), i%2 == 0)
		f.Add([]byte(s+string(frames[i%len(frames)])), uint8(i*7), i%3 == 0)
	}
	plain := fuzzHandshakes()[0]
	compressed := strings.TrimSuffix(plain, "\r\n") + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
	for i, p := range frames {
		f.Add([]byte(compressed+string(p)), uint8(i*7), true)
	}
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"+plain), uint8(255), false)
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8, compress bool) {
		if len(stream) > 64<<10 {
			t.Skip("longer ones find no more, and take long")
		}
		synctest.Test(t, func(t *testing.T) { newFuzzServer(t, compress).run(stream, piece) })
	})
}

// A fuzzServer is a box behind net/http; in a synctest bubble, which sees to it that
// no goroutine is left.
type fuzzServer struct {
	t        *testing.T
	box      *ChannelBox
	compress bool
	log      fuzzLog
	errors   bytes.Buffer // of net/http, which recovers panics
	heard    *fuzzHeard
	request  *http.Request // as the box got it, or nil
	deflate  bool          // was negotiated
}

var fuzzProtocols = []string{"v2", "chat"}

func newFuzzServer(t *testing.T, compress bool) *fuzzServer {
	s := &fuzzServer{t: t, compress: compress, heard: newFuzzHeard()}
	opts := &Options{
		Accept: websocket.AcceptOptions{Subprotocols: fuzzProtocols},
		Logger: slog.New(&s.log),
	}
	if compress {
		opts.Accept.CompressionMode = websocket.CompressionNoContextTakeover
	}
	var err error
	if s.box, err = New(opts); err != nil {
		t.Fatal(err)
	}
	return s
}

// run serves one connection, and one request on it, to the end.
func (s *fuzzServer) run(stream []byte, piece uint8) {
	t := s.t
	conn := &fuzzConn{in: bytes.Clone(stream), piece: 1 + int(piece)}
	handler := s.box.HandlerWith(s.heard.options(), nil)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.request = r.Clone(r.Context())
			handler.ServeHTTP(w, r)
		}),
		ErrorLog:                     log.New(&s.errors, "", 0),
		DisableGeneralOptionsHandler: true,
	}
	srv.SetKeepAlivesEnabled(false)
	one := make(fuzzListener, 1)
	one <- conn
	close(one)
	_ = srv.Serve(one) // until there are no more connections
	time.Sleep(time.Second)
	synctest.Wait()

	out, closed := conn.answers()
	if !closed {
		t.Error("the connection was left open")
	}
	status, frames := s.checkResponse(out)
	s.checkAccepted(status, stream)
	if status == http.StatusSwitchingProtocols {
		s.checkChannel(stream, frames)
	}
	if err := s.box.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if s.errors.Len() > 0 {
		t.Errorf("net/http logged %s", &s.errors)
	}
	for _, line := range s.log.lines {
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the log has bytes of the peer: %q", line)
		}
	}
}

// A fuzzLog keeps what is logged as it is, without the quotes of slog's own handlers.
type fuzzLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *fuzzLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *fuzzLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *fuzzLog) WithGroup(string) slog.Handler            { return l }

func (l *fuzzLog) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.Key + "=" + a.Value.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

// A fuzzListener is a listener of the connections in it.
type fuzzListener chan net.Conn

func (l fuzzListener) Close() error   { return nil }
func (l fuzzListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l fuzzListener) Accept() (net.Conn, error) {
	if conn, ok := <-l; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

// checkResponse returns the status of the response, 0 if there is none, and what is
// behind one that upgrades.
func (s *fuzzServer) checkResponse(out []byte) (status int, frames []byte) {
	if len(out) == 0 && s.request == nil {
		return 0, nil // the request was not all there
	}
	br := bufio.NewReader(bytes.NewReader(out))
	resp, err := http.ReadResponse(br, s.request)
	if err != nil {
		s.t.Fatalf("the response is %q: %v", out, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		_, err := io.Copy(io.Discard, resp.Body)
		if rest, _ := io.ReadAll(br); err != nil || len(rest) > 0 && s.request != nil {
			s.t.Errorf("the response is %q, %v, and %q is behind it", out, err, rest)
		}
		if s.request != nil && onlyVersionIsWrong(s.request) && resp.Header.Get("Sec-WebSocket-Version") != "13" {
			s.t.Errorf("a version was refused with %q, which does not say what would be accepted", out)
		}
		return resp.StatusCode, nil
	}
	if s.request == nil {
		s.t.Fatalf("no request, and %q", out)
	}
	s.checkUpgrade(resp)
	frames, _ = io.ReadAll(br)
	return resp.StatusCode, frames
}

// checkUpgrade checks a 101 (RFC 6455 section 4.2.2).
func (s *fuzzServer) checkUpgrade(resp *http.Response) {
	t, in, out := s.t, s.request.Header, resp.Header
	sum := sha1.Sum([]byte(in.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	for name, want := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": base64.StdEncoding.EncodeToString(sum[:]),
	} {
		if got := out.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	offered := refTokens(in["Sec-Websocket-Protocol"])
	if got, ok := out["Sec-Websocket-Protocol"]; ok &&
		(len(got) != 1 || !slices.Contains(offered, asciiLower(got[0])) || !slices.Contains(fuzzProtocols, asciiLower(got[0]))) {
		t.Errorf("subprotocols %q of %q, and %q are offered", got, fuzzProtocols, offered)
	}
	var got []string
	if got, s.deflate = out["Sec-Websocket-Extensions"]; s.deflate && (!s.compress || len(got) != 1 ||
		!strings.HasPrefix(got[0], "permessage-deflate;") || !strings.Contains(got[0], "client_no_context_takeover") ||
		!strings.Contains(strings.Join(in["Sec-Websocket-Extensions"], ","), "permessage-deflate")) {
		t.Errorf("extensions %q, and %q are offered", got, in["Sec-Websocket-Extensions"])
	}
}

// checkAccepted compares the status with the rules, and the box with the status.
func (s *fuzzServer) checkAccepted(status int, stream []byte) {
	t := s.t
	var accepted uint64
	if s.request == nil {
		switch status { // net/http's to refuse
		case 0, 400, 417, 431, 501, 505:
		default:
			t.Errorf("status %d for what is no request: %q", status, stream)
		}
	} else if want := refHandshake(s.request); !slices.Contains(want, status) {
		t.Errorf("status %d, want one of %d for\n%q", status, want, stream)
	} else if status == http.StatusSwitchingProtocols {
		accepted = 1
	}
	if n := s.box.Stats(); n.Channels != 0 || n.Accepted != accepted || n.Disconnected != accepted {
		t.Errorf("status %d, and Stats %+v; want %d channels that have come and gone", status, n, accepted)
	}
}

// checkChannel compares the channel with the bytes behind the handshake.
func (s *fuzzServer) checkChannel(stream, out []byte) {
	t := s.t
	select {
	case <-s.heard.ended:
	default:
		t.Fatal("the channel has not ended")
	}
	br := bufio.NewReader(bytes.NewReader(stream))
	if _, err := http.ReadRequest(br); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(br)
	s.heard.check(t, rest, s.deflate, out)

	got, want := s.heard.request, s.request
	for name := range want.Header {
		if ofHandshake(name) {
			delete(want.Header, name)
		}
	}
	if got.Method != want.Method || got.RequestURI != want.RequestURI || got.Host != want.Host || got.URL.String() != want.URL.String() ||
		got.RemoteAddr != want.RemoteAddr || !reflect.DeepEqual(got.Header, want.Header) {
		t.Errorf("Request:\n%+v, want\n%+v", got, want)
	}
}
