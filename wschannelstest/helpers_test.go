package wschannelstest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels/wschannelstest"
)

var errTest = errors.New("test")

// over is a context that has ended, for Next not to wait.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// soon is a context for what should not have to wait.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wantRead(t *testing.T, c *wschannelstest.Conn, typ websocket.MessageType, data string) {
	t.Helper()
	gotTyp, got, err := c.Read(soon(t))
	if err != nil || gotTyp != typ || string(got) != data {
		t.Fatalf("Read: %v, %q, %v; want %v, %q", gotTyp, got, err, typ, data)
	}
}

func wantNext(t *testing.T, c *wschannelstest.Conn, typ websocket.MessageType, data string) {
	t.Helper()
	gotTyp, got, err := c.Next(over())
	if err != nil || gotTyp != typ || string(got) != data {
		t.Fatalf("Next: %v, %q, %v; want %v, %q", gotTyp, got, err, typ, data)
	}
}

// wantNothing fails if a message has reached the peer.
func wantNothing(t *testing.T, c *wschannelstest.Conn) {
	t.Helper()
	if _, data, err := c.Next(over()); !errors.Is(err, context.Canceled) {
		t.Fatalf("Next: %q, %v; want nothing", data, err)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func wantPings(t *testing.T, c *wschannelstest.Conn, want int) {
	t.Helper()
	if got := c.Pings(); got != want {
		t.Errorf("Pings() = %d, want %d", got, want)
	}
}

func write(c *wschannelstest.Conn, data string) error {
	return c.Write(context.Background(), websocket.MessageText, []byte(data))
}

func wantClosed(t *testing.T, c *wschannelstest.Conn, code websocket.StatusCode, reason string) {
	t.Helper()
	if gotCode, gotReason, ok := c.Closed(); !ok || gotCode != code || gotReason != reason {
		t.Errorf("Closed() = %d, %q, %v; want %d, %q, true", gotCode, gotReason, ok, code, reason)
	}
}

// wantEnd checks what Read and Next return after their last messages, twice.
func wantEnd(t *testing.T, c *wschannelstest.Conn, read, next error) {
	t.Helper()
	for range 2 {
		_, _, err := c.Read(soon(t))
		wantError(t, "Read", err, read)
		_, _, err = c.Next(soon(t))
		wantError(t, "Next", err, next)
	}
}

// readError returns where the error of c's next Read will be found.
func readError(c conn) <-chan error {
	got := make(chan error, 1)
	go func() {
		_, _, err := c.Read(context.Background())
		got <- err
	}()
	return got
}

// nextError reads as the peer until the connection ends.
func nextError(p peer) <-chan error {
	got := make(chan error, 1)
	go func() {
		for {
			if _, _, err := p.Next(context.Background()); err != nil {
				got <- err
				return
			}
		}
	}()
	return got
}

func closeErrorOf(err error) (ce websocket.CloseError) {
	ce.Code = websocket.StatusAbnormalClosure
	errors.As(err, &ce)
	return ce
}
