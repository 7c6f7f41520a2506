package wschannelstest_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels/wschannelstest"
)

// writeLater starts a Write and returns where its error will be found, once the
// Write waits.
func writeLater(ctx context.Context, c *wschannelstest.Conn, data string) <-chan error {
	done := make(chan error, 1)
	go func() { done <- c.Write(ctx, websocket.MessageText, []byte(data)) }()
	synctest.Wait()
	return done
}

func TestStalledWritesWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		write(c, "before")
		c.Stall()
		c.Push(websocket.MessageText, []byte("still sent"))
		wantRead(t, c, websocket.MessageText, "still sent")

		a := writeLater(t.Context(), c, "a")
		b := writeLater(t.Context(), c, "b")
		wantNext(t, c, websocket.MessageText, "before")
		wantNothing(t, c)
		time.Sleep(time.Hour)
		select {
		case err := <-a:
			t.Fatalf("Write to a stalled peer: %v, want it to wait", err)
		default:
		}

		c.Resume()
		c.Stall() // does not take back what was read in between
		wantError(t, "Write", <-a, nil)
		wantError(t, "Write", <-b, nil)
		wantNext(t, c, websocket.MessageText, "a")
		wantNext(t, c, websocket.MessageText, "b")
	})
}

func TestStalledWriteEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		c.Stall()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		first := writeLater(ctx, c, "a")
		other := writeLater(t.Context(), c, "b")
		start := time.Now()
		wantError(t, "Write", <-first, context.DeadlineExceeded)
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("Write took %v, want 10s", d)
		}
		wantError(t, "Write on the connection that is gone", <-other, net.ErrClosed)
		c.Resume()
		_, data, err := c.Next(soon(t))
		if data != nil {
			t.Errorf("Next: %q, want nothing delivered", data)
		}
		wantError(t, "Next", err, io.EOF)
	})
}

func TestStalledWriteIsEndedByCloseNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		c.Stall()
		blocked := writeLater(t.Context(), c, "a")
		wantError(t, "CloseNow", c.CloseNow(), nil)
		c.Resume() // too late
		wantError(t, "Write", <-blocked, net.ErrClosed)
		wantEnd(t, c, net.ErrClosed, io.EOF)
	})
}

func TestStalledWriteIsEndedByFailWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		c.Stall()
		blocked := writeLater(t.Context(), c, "lost")
		c.FailWrites(errTest)
		wantError(t, "Write", <-blocked, errTest)
		c.FailWrites(nil)
		blocked = writeLater(t.Context(), c, "a")
		c.Resume()
		wantError(t, "Write", <-blocked, nil)
		wantNext(t, c, websocket.MessageText, "a")
		wantNothing(t, c)
	})
}

func TestStalledPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		c.Stall()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		wantError(t, "Ping", c.Ping(ctx), context.DeadlineExceeded)
		wantPings(t, c, 0)

		pinged := make(chan error, 1)
		go func() { pinged <- c.Ping(t.Context()) }()
		synctest.Wait()
		wantPings(t, c, 0)
		c.Resume()
		wantError(t, "Ping", <-pinged, nil)
		wantPings(t, c, 1)
	})
}

func TestCloseAfterStalledWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		c.Stall()
		blocked := writeLater(t.Context(), c, "a")
		closed := make(chan error, 1)
		go func() { closed <- c.Close(1000, "") }()
		synctest.Wait()
		c.Resume()
		wantError(t, "Write", <-blocked, nil)
		wantError(t, "Close", <-closed, nil)
		wantNext(t, c, websocket.MessageText, "a")
		end := websocket.CloseError{Code: 1000}
		wantEnd(t, c, end, end)
	})
}

func TestHangupOfStalledPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		c.Stall()
		blocked := writeLater(t.Context(), c, "a")
		c.Hangup(1001, "")
		// The close frame is read, but its answer is not.
		wantEnd(t, c, websocket.CloseError{Code: 1001}, io.EOF)
		wantError(t, "Write", <-blocked, net.ErrClosed)
	})
}
