package wschannelstest

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// clientReadLimit is far over what tests send, so that it is the limits of the
// code under test that they meet.
const clientReadLimit = 64 << 20

// Dial returns a real client, connected to h through a real [http.Server] and a
// real handshake, over a pipe in memory: no port is opened. The path begins with
// a slash and may hold a query. If the handshake fails, so does the test, with
// the server's answer; for a request that is to be refused, use
// [net/http/httptest].
//
// Each call starts a server of its own; for more clients of one handler, call it
// again. The request comes from 192.0.2.1:1234 and has no Origin. What the server
// logs, a panic of h for example, is in the log of tb.
//
// A message of up to 64 MiB may be read from the connection. Some goroutine must
// read from it for pings and close frames to be answered. The pipe holds 64 KiB
// in each direction, so a client that does not read stalls the server early.
//
// When the test ends, the connection is closed without a close frame, the
// context of the request ends, and the cleanup waits until h has returned, for
// ever if h heeds neither. What h has left running is not waited for; it sees
// the end of its connection. Cleanups run in reverse order: one that needs the
// client is registered after Dial. Like tb.Fatal, Dial must be called from the
// goroutine of the test.
func Dial(tb testing.TB, h http.Handler, path string) *websocket.Conn {
	tb.Helper()
	if !strings.HasPrefix(path, "/") {
		tb.Fatalf("wschannelstest: Dial: path %q does not begin with a slash", path)
	}
	s := startServer(tb, h)
	tb.Cleanup(s.stop)

	transport := &http.Transport{DialContext: s.listener.dial}
	c, resp, err := websocket.Dial(tb.Context(), "ws://wschannels.test"+path, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		var body []byte
		if resp != nil {
			body, _ = io.ReadAll(resp.Body)
		}
		tb.Fatalf("wschannelstest: Dial %s: %v: %s", path, err, bytes.TrimSpace(body))
	}
	tb.Cleanup(func() {
		s.listener.Close() // first, as CloseNow waits for a Close that waits for the peer
		c.CloseNow()
	})
	c.SetReadLimit(clientReadLimit)
	return c
}

// A server runs one handler.
type server struct {
	http     http.Server
	listener *listener
	cancel   context.CancelFunc // ends the contexts of the requests
	log      *testLog
	served   chan struct{}  // closed when Serve has returned
	running  sync.WaitGroup // connections that the server holds, and calls of the handler
}

func startServer(tb testing.TB, h http.Handler) *server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{
		listener: newListener(),
		cancel:   cancel,
		log:      &testLog{tb: tb},
		served:   make(chan struct{}),
	}
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	s.http.ErrorLog = log.New(s.log, "", 0)
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.running.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.running.Done()
		}
	}
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.running.Add(1) // the connection's own is held until it is hijacked
		defer s.running.Done()
		h.ServeHTTP(w, r)
	})
	go func() { // ended by stop, which waits for it
		defer close(s.served)
		s.http.Serve(s.listener)
	}()
	return s
}

// stop waits until the server is gone and all calls of the handler have returned.
func (s *server) stop() {
	s.cancel()
	s.http.Close() // closes the listener
	<-s.served
	s.running.Wait()
	s.log.stop()
}

// A listener accepts what its dial has made.
type listener struct {
	accept chan net.Conn
	done   chan struct{}

	mu      sync.Mutex // guards all below
	closed  bool
	clients []net.Conn
}

func newListener() *listener {
	return &listener{accept: make(chan net.Conn), done: make(chan struct{})}
}

func (l *listener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := newPipe()
	select {
	case l.accept <- server:
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients = append(l.clients, client)
	if l.closed {
		client.Close()
	}
	return client, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close closes the client's ends, too: the server's ends are the server's.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	close(l.done)
	for _, c := range l.clients {
		c.Close()
	}
	return nil
}

func (l *listener) Addr() net.Addr { return serverAddr }

// A testLog writes to the log of a test until the test ends, after which that
// would panic.
type testLog struct {
	mu sync.Mutex // guards tb
	tb testing.TB // nil once stopped
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tb != nil {
		l.tb.Logf("%s", bytes.TrimSpace(p))
	}
	return len(p), nil
}

func (l *testLog) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tb = nil
}
