package wschannelstest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels/wschannelstest"
)

func TestClosedOfAnOpenConnection(t *testing.T) {
	c := wschannelstest.NewConn()
	c.Hangup(1000, "")
	c.Read(soon(t))
	if code, reason, ok := c.Closed(); ok || code != 0 || reason != "" {
		t.Errorf("Closed() = %d, %q, %v; want zeros", code, reason, ok)
	}
}

func TestClose(t *testing.T) {
	c := wschannelstest.NewConn()
	c.Push(websocket.MessageText, []byte("never read"))
	write(c, "a")
	wantError(t, "Close", c.Close(4000, "bye"), nil)
	c.Push(websocket.MessageText, []byte("too late"))
	wantError(t, "Write", write(c, ""), net.ErrClosed)
	wantNext(t, c, websocket.MessageText, "a")
	_, _, err := c.Read(over())
	wantError(t, "Read", err, context.Canceled)
	end := websocket.CloseError{Code: 4000, Reason: "bye"}
	wantEnd(t, c, end, end)
	wantError(t, "second Close", c.Close(1000, ""), net.ErrClosed)
	wantError(t, "CloseNow", c.CloseNow(), net.ErrClosed)
	c.Hangup(1001, "")
	wantEnd(t, c, end, end)
	wantClosed(t, c, 4000, "bye")
}

func TestCloseWithWhatMayNotBeSent(t *testing.T) {
	for _, end := range []websocket.CloseError{
		{Code: 1006},
		{Code: 1000, Reason: strings.Repeat("r", 124)},
	} {
		c := wschannelstest.NewConn()
		if err := c.Close(end.Code, end.Reason); err == nil {
			t.Errorf("Close(%d) = nil, want an error", end.Code)
		}
		wantEnd(t, c, net.ErrClosed, io.EOF)
		wantClosed(t, c, websocket.StatusAbnormalClosure, "")
	}
}

func TestCloseNow(t *testing.T) {
	c := wschannelstest.NewConn()
	c.Push(websocket.MessageText, []byte("never read"))
	write(c, "a")
	wantError(t, "CloseNow", c.CloseNow(), nil)
	wantNext(t, c, websocket.MessageText, "a")
	wantEnd(t, c, net.ErrClosed, io.EOF)
	wantError(t, "Close", c.Close(1000, ""), net.ErrClosed)
	wantClosed(t, c, websocket.StatusAbnormalClosure, "")
}

func TestHangup(t *testing.T) {
	c := wschannelstest.NewConn()
	c.Push(websocket.MessageText, []byte("a"))
	c.Hangup(1001, "bye")
	c.Hangup(1000, "too late")
	c.Push(websocket.MessageText, []byte("too late"))
	wantRead(t, c, websocket.MessageText, "a")
	wantError(t, "Write before the close frame is read", write(c, "b"), nil)
	wantNext(t, c, websocket.MessageText, "b")
	wantNothing(t, c)
	end := websocket.CloseError{Code: 1001, Reason: "bye"}
	wantEnd(t, c, end, end)
	wantError(t, "Write", write(c, "c"), net.ErrClosed)
	wantError(t, "Close", c.Close(4000, ""), nil)
	wantClosed(t, c, 4000, "")
	wantEnd(t, c, end, end)
}

func TestHangupNotYetRead(t *testing.T) {
	c := wschannelstest.NewConn()
	c.Hangup(1001, "bye")
	wantError(t, "Close", c.Close(4000, "mine"), nil)
	wantEnd(t, c, websocket.CloseError{Code: 1001, Reason: "bye"},
		websocket.CloseError{Code: 4000, Reason: "mine"})
}

func TestHangupWithoutCode(t *testing.T) {
	c := wschannelstest.NewConn()
	c.Hangup(websocket.StatusNoStatusRcvd, "ignored")
	end := websocket.CloseError{Code: websocket.StatusNoStatusRcvd}
	wantEnd(t, c, end, end)
}

func TestLostConnection(t *testing.T) {
	for _, code := range []websocket.StatusCode{-1, websocket.StatusAbnormalClosure} {
		c := wschannelstest.NewConn()
		c.Push(websocket.MessageText, []byte("a"))
		c.Hangup(code, "ignored")
		wantRead(t, c, websocket.MessageText, "a")
		wantEnd(t, c, io.EOF, io.EOF)
		wantError(t, "Close", c.Close(1000, ""), io.EOF)
		wantClosed(t, c, 1000, "")

		c = wschannelstest.NewConn()
		c.Hangup(code, "")
		wantError(t, "Close before Read", c.Close(1000, ""), io.EOF)
		wantEnd(t, c, io.EOF, io.EOF)
	}
}

func TestHangupEndsWaitingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		read := readError(c)
		synctest.Wait()
		c.Hangup(1013, "")
		wantError(t, "Read", <-read, websocket.CloseError{Code: 1013})
	})
}

func TestHangupWithWhatFitsInNoCloseFrame(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Hangup(999) did not panic")
		}
	}()
	wschannelstest.NewConn().Hangup(999, "")
}

func TestStalledCloseWaitsForResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		c.Push(websocket.MessageText, []byte("never read"))
		c.Stall()
		var read <-chan error
		go func() {
			synctest.Wait()
			c.Push(websocket.MessageText, []byte("too late"))
			read = readError(c)
			time.Sleep(time.Hour)
			c.Resume()
		}()
		start := time.Now()
		wantError(t, "Close", c.Close(1000, "bye"), nil)
		if d := time.Since(start); d != time.Hour {
			t.Errorf("Close took %v, want 1h", d)
		}
		end := websocket.CloseError{Code: 1000, Reason: "bye"}
		wantError(t, "waiting Read", <-read, end)
		wantEnd(t, c, end, end)
	})
}

func TestStalledCloseIsEndedByCloseNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		c.Stall()
		closed := make(chan error, 1)
		go func() { closed <- c.Close(4000, "bye") }()
		synctest.Wait()
		wantError(t, "Write during Close", write(c, ""), net.ErrClosed)
		wantError(t, "second Close", c.Close(1000, ""), net.ErrClosed)
		select {
		case err := <-closed:
			t.Fatalf("Close: %v, want it to wait", err)
		default:
		}
		wantError(t, "CloseNow", c.CloseNow(), nil)
		wantError(t, "Close", <-closed, net.ErrClosed)
		wantClosed(t, c, 4000, "bye")
		c.Resume()
		wantEnd(t, c, net.ErrClosed, io.EOF)
	})
}

func TestStalledCloseIsEndedByHangup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for code, want := range map[websocket.StatusCode]error{1001: nil, -1: io.EOF} {
			c := wschannelstest.NewConn()
			c.Stall()
			closed := make(chan error, 1)
			go func() { closed <- c.Close(4000, "") }()
			synctest.Wait()
			c.Hangup(code, "")
			wantError(t, "Close", <-closed, want)
			_, _, err := c.Read(soon(t))
			if got := websocket.CloseStatus(err); got != code {
				t.Errorf("Read: %v, want %d", err, code)
			}
			_, _, err = c.Next(soon(t))
			wantError(t, "Next", err, io.EOF)
		}
	})
}

func TestStalledCloseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		c.Stall()
		closed := make(chan error, 1)
		go func() { closed <- c.Close(4000, "") }()
		synctest.Wait()
		c.FailWrites(errTest)
		err := <-closed
		wantError(t, "Close", err, errTest)
		if errors.Is(err, net.ErrClosed) {
			t.Errorf("Close: %v, want the error of FailWrites alone", err)
		}
		wantEnd(t, c, net.ErrClosed, io.EOF)
	})
}
