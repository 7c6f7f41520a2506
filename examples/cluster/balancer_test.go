package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// newBackend starts a server that says its name, over HTTP and to each socket.
func newBackend(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, name+" for "+r.Host)
			return
		}
		conn, err := websocket.Accept(w, r, nil) // refuses a foreign Origin
		if err != nil {
			return
		}
		defer conn.CloseNow()
		_ = conn.Write(r.Context(), websocket.MessageText, []byte(name))
		_, _, _ = conn.Read(r.Context()) // until it is closed
	}))
	t.Cleanup(s.Close)
	return s
}

// front is a balancer that listens.
type front struct {
	*balancer
	t   *testing.T
	url string
}

func newFront(t *testing.T) front {
	t.Helper()
	b := newBalancer(slog.New(slog.DiscardHandler))
	s := httptest.NewServer(b)
	t.Cleanup(func() {
		s.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := b.wait(ctx); err != nil {
			t.Errorf("sockets are left: %v", err)
		}
	})
	return front{b, t, s.URL}
}

// get returns what a page says.
func (f front) get() (code int, body string) {
	f.t.Helper()
	resp, err := http.Get(f.url)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, string(p)
}

// socket opens one, as a page of the balancer's address does, and returns which node it is on.
func (f front) socket() (node string, conn *websocket.Conn) {
	f.t.Helper()
	conn, _, err := websocket.Dial(f.t.Context(), f.url, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {f.url}}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.CloseNow() })
	_, name, err := conn.Read(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return string(name), conn
}

func addr(s *httptest.Server) string { return s.Listener.Addr().String() }

func TestSocketsAreSharedOutEvenly(t *testing.T) {
	f := newFront(t)
	f.add(addr(newBackend(t, "a")))
	f.add(addr(newBackend(t, "b")))
	count := map[string]int{}
	for range 4 {
		f.get() // a page, and then its socket
		node, _ := f.socket()
		count[node]++
	}
	if count["a"] != 2 || count["b"] != 2 {
		t.Errorf("got %v, want 2 each", count)
	}
}

func TestASocketGoesWhereOthersHaveLeft(t *testing.T) {
	f := newFront(t)
	f.add(addr(newBackend(t, "a")))
	f.add(addr(newBackend(t, "b")))
	conns := map[string]*websocket.Conn{}
	for range 2 {
		node, conn := f.socket()
		conns[node] = conn
	}
	for _, gone := range []string{"a", "a", "b"} {
		_ = conns[gone].Close(websocket.StatusNormalClosure, "")
		eventually(t, func() bool { return f.sockets() == 1 })
		node, conn := f.socket()
		if node != gone {
			t.Errorf("the socket is on %s, want %s, which has none", node, gone)
		}
		conns[node] = conn
	}
}

// sockets is how many are open.
func (f front) sockets() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.nodes {
		n += b.sockets
	}
	return n
}

func TestANodeThatIsDeadIsSkipped(t *testing.T) {
	f := newFront(t)
	dead, alive := newBackend(t, "dead"), newBackend(t, "alive")
	f.add(addr(dead)) // and nobody has noticed its end
	f.add(addr(alive))
	dead.Close()
	for range 4 {
		if node, _ := f.socket(); node != "alive" {
			t.Errorf("the socket is on %s", node)
		}
		if code, body := f.get(); code != http.StatusOK || !strings.HasPrefix(body, "alive") {
			t.Errorf("the page is %d %q", code, body)
		}
	}
}

func TestANodeThatIsNoMoreGetsNothing(t *testing.T) {
	f := newFront(t)
	remove := f.add(addr(newBackend(t, "old")))
	_, before := f.socket()
	remove()
	if code, _ := f.get(); code != http.StatusServiceUnavailable {
		t.Errorf("without a node: %d, want 503", code)
	}
	f.add(addr(newBackend(t, "new")))
	for range 3 {
		if node, _ := f.socket(); node != "new" {
			t.Errorf("the socket is on %s", node)
		}
	}
	if err := before.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("the socket that was there before did not live on: %v", err)
	}
}

func TestASocketEndsWithItsNodeWhateverThePageDoes(t *testing.T) {
	f := newFront(t)
	end := make(chan struct{})
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Write(r.Context(), websocket.MessageText, []byte("a"))
		<-end
		_ = conn.CloseNow()
	}))
	defer node.Close()
	f.add(addr(node))
	f.socket() // nobody reads from it again
	close(end)
	eventually(t, func() bool { return f.sockets() == 0 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.wait(ctx); err != nil {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestNodesSeeTheHostThatTheBrowserAskedFor(t *testing.T) {
	f := newFront(t)
	f.add(addr(newBackend(t, "a")))
	if _, body := f.get(); body != "a for "+strings.TrimPrefix(f.url, "http://") {
		t.Errorf("got %q", body)
	}
	_, resp, err := websocket.Dial(t.Context(), f.url, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://evil.example"}}})
	if err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a socket of a foreign page: %v", err)
	}
}

func TestANodeThatDoesNotAnswerIsNotWaitedForForEver(t *testing.T) {
	f := newFront(t)
	f.proxy.Transport.(*http.Transport).ResponseHeaderTimeout = time.Millisecond
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	f.add(mute.Addr().String())
	if code, _ := f.get(); code != http.StatusBadGateway {
		t.Errorf("got %d, want 502", code)
	}
}

// eventually waits until ok.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within a minute")
		}
		<-time.After(5 * time.Millisecond)
	}
}
