package wschannels_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// chanOpen returns a channel on a fake connection; the end of the test closes it.
func chanOpen(t *testing.T, opts *wschannels.ChannelOptions) (*wschannels.Channel, *wschannelstest.Conn) {
	t.Helper()
	conn := wschannelstest.NewConn()
	c, err := wschannels.NewChannel(conn, opts)
	if err != nil {
		t.Fatalf("NewChannel: %v", err)
	}
	t.Cleanup(func() { c.CloseNow() })
	return c, conn
}

// chanBox returns a box that the end of the test shuts down.
func chanBox(t *testing.T, opts *wschannels.Options) *wschannels.ChannelBox {
	t.Helper()
	box, err := wschannels.New(opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := box.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return box
}

// chanServe runs h on a new channel in box; result returns what Serve did.
func chanServe(t *testing.T, box *wschannels.ChannelBox, opts *wschannels.ChannelOptions, h wschannels.Handler) (
	c *wschannels.Channel, conn *wschannelstest.Conn, result func() error,
) {
	t.Helper()
	c, conn = chanOpen(t, opts)
	served := make(chan error, 1)
	go func() { served <- box.Serve(context.Background(), c, h) }()
	return c, conn, func() error {
		err := <-served
		served <- err
		return err
	}
}

// chanNext returns the next frame that reached the peer.
func chanNext(t *testing.T, conn *wschannelstest.Conn) (websocket.MessageType, string) {
	t.Helper()
	typ, p, err := conn.Next(t.Context())
	if err != nil {
		t.Fatalf("nothing reached the peer: %v", err)
	}
	return typ, string(p)
}

// chanWants fails unless exactly these payloads have reached the peer so far.
func chanWants(t *testing.T, conn *wschannelstest.Conn, want ...string) {
	t.Helper()
	synctest.Wait()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, w := range want {
		if _, p, err := conn.Next(ended); err != nil || string(p) != w {
			t.Fatalf("the peer got %.200q, %v; want %.200q", p, err, w)
		}
	}
	if _, p, err := conn.Next(ended); err == nil {
		t.Fatalf("the peer got %.200q; want nothing more", p)
	}
}

// chanClosedBy fails unless c has closed with code and, if not nil, for cause.
func chanClosedBy(t *testing.T, c *wschannels.Channel, code websocket.StatusCode, cause error) {
	t.Helper()
	synctest.Wait()
	err := c.Err()
	var end *wschannels.CloseError
	if !errors.As(err, &end) || end.Code != code {
		t.Fatalf("Err() = %v, want a CloseError of code %d", err, code)
	}
	if cause != nil && !errors.Is(err, cause) {
		t.Fatalf("Err() = %v, want it to match %v", err, cause)
	}
}

// chanIsOpen fails if c has closed.
func chanIsOpen(t *testing.T, c *wschannels.Channel) {
	t.Helper()
	synctest.Wait()
	if err := c.Err(); err != nil {
		t.Fatalf("Err() = %v, want an open channel", err)
	}
}

// chanSaw fails unless the peer was closed on with code and reason.
func chanSaw(t *testing.T, conn *wschannelstest.Conn, code websocket.StatusCode, reason string) {
	t.Helper()
	synctest.Wait()
	if c, r, ok := conn.Closed(); !ok || c != code || r != reason {
		t.Fatalf("the connection was closed with %d %q, %v; want %d %q", c, r, ok, code, reason)
	}
}

// chanSleep lets d pass and everything that is due then happen.
func chanSleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A chanTrace is a list of what happened, in order.
type chanTrace struct {
	mu    sync.Mutex // guards what
	whats []string
}

func (l *chanTrace) add(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whats = append(l.whats, what)
}

func (l *chanTrace) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.whats...)
}

// chanLogger returns a logger and what it has written.
func chanLogger() (*slog.Logger, func() string) {
	w := new(chanWriter)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})), w.String
}

type chanWriter struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (w *chanWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

func (w *chanWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
