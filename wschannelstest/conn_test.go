package wschannelstest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels/wschannelstest"
)

func TestMessagesArriveInOrder(t *testing.T) {
	c := wschannelstest.NewConn()
	c.Push(websocket.MessageText, []byte("a"))
	c.Push(websocket.MessageBinary, nil)
	c.PushJSON(map[string]int{"n": 1})
	wantRead(t, c, websocket.MessageText, "a")
	wantRead(t, c, websocket.MessageBinary, "")
	wantRead(t, c, websocket.MessageText, `{"n":1}`)

	wantNothing(t, c)
	if err := c.Write(t.Context(), websocket.MessageBinary, []byte("b")); err != nil {
		t.Fatal(err)
	}
	if err := write(c, "c"); err != nil {
		t.Fatal(err)
	}
	wantNext(t, c, websocket.MessageBinary, "b")
	wantNext(t, c, websocket.MessageText, "c")
	wantNothing(t, c)
}

func TestDataIsCopied(t *testing.T) {
	c := wschannelstest.NewConn()
	data := []byte("abc")
	c.Push(websocket.MessageText, data)
	if err := c.Write(t.Context(), websocket.MessageText, data); err != nil {
		t.Fatal(err)
	}
	clear(data)
	wantRead(t, c, websocket.MessageText, "abc")
	wantNext(t, c, websocket.MessageText, "abc")
}

func TestReadAndNextWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		go func() {
			time.Sleep(time.Hour)
			c.Push(websocket.MessageText, []byte("in"))
			time.Sleep(time.Hour)
			write(c, "out")
		}()
		start := time.Now()
		if _, data, err := c.Read(t.Context()); err != nil || string(data) != "in" {
			t.Errorf("Read: %q, %v", data, err)
		}
		if d := time.Since(start); d != time.Hour {
			t.Errorf("Read took %v, want 1h", d)
		}
		if _, data, err := c.Next(t.Context()); err != nil || string(data) != "out" {
			t.Errorf("Next: %q, %v", data, err)
		}
		if d := time.Since(start); d != 2*time.Hour {
			t.Errorf("Next took until %v, want 2h", d)
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errTest)
		defer cancel()
		_, _, err := c.Next(ctx)
		wantError(t, "Next", err, errTest)
		wantError(t, "Write afterwards", write(c, "still open"), nil)
		wantNext(t, c, websocket.MessageText, "still open")
	})
}

func TestContextThatHasEnded(t *testing.T) {
	for name, call := range map[string]func(c *wschannelstest.Conn) error{
		"Read": func(c *wschannelstest.Conn) error {
			_, _, err := c.Read(over())
			return err
		},
		"Write": func(c *wschannelstest.Conn) error { return c.Write(over(), websocket.MessageText, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			c := wschannelstest.NewConn()
			c.Push(websocket.MessageText, nil)
			wantError(t, name, call(c), context.Canceled)
			wantError(t, "Write afterwards", write(c, ""), net.ErrClosed)
			_, _, err := c.Next(soon(t))
			wantError(t, "Next", err, io.EOF)
			if _, _, ok := c.Closed(); ok {
				t.Error("Closed: true, but nobody has closed it")
			}
			wantError(t, "Close", c.Close(1000, ""), net.ErrClosed)
		})
	}
}

func TestPing(t *testing.T) {
	c := wschannelstest.NewConn()
	wantError(t, "Ping", c.Ping(t.Context()), nil)
	wantError(t, "Ping", c.Ping(t.Context()), nil)
	wantError(t, "Ping with a context that has ended", c.Ping(over()), context.Canceled)
	wantPings(t, c, 2)
	wantError(t, "Write afterwards", write(c, ""), nil)
	c.CloseNow()
	wantError(t, "Ping after the end", c.Ping(t.Context()), net.ErrClosed)
}

func TestFailReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.NewConn()
		read := readError(c)
		synctest.Wait()
		c.FailReads(errTest)
		wantError(t, "waiting Read", <-read, errTest)

		c.Push(websocket.MessageText, []byte("a"))
		wantRead(t, c, websocket.MessageText, "a")
		for range 2 {
			_, _, err := c.Read(soon(t))
			wantError(t, "Read", err, errTest)
		}
		wantError(t, "Write", write(c, ""), nil)

		c.FailReads(nil)
		c.Push(websocket.MessageText, []byte("b"))
		wantRead(t, c, websocket.MessageText, "b")
	})
}

func TestFailWrites(t *testing.T) {
	c := wschannelstest.NewConn()
	c.FailWrites(errTest)
	wantError(t, "Write", write(c, "lost"), errTest)
	wantError(t, "Ping", c.Ping(t.Context()), errTest)
	c.Push(websocket.MessageText, []byte("in"))
	wantRead(t, c, websocket.MessageText, "in")

	c.FailWrites(nil)
	wantError(t, "Write", write(c, "a"), nil)
	wantNext(t, c, websocket.MessageText, "a")

	c.FailWrites(errTest)
	wantError(t, "Close", c.Close(1000, ""), errTest)
	_, _, err := c.Read(soon(t))
	wantError(t, "Read", err, net.ErrClosed)
	_, _, err = c.Next(soon(t))
	wantError(t, "Next", err, io.EOF)
}

func TestPushJSONOfWhatHasNone(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("PushJSON(NaN) did not panic")
		}
	}()
	wschannelstest.NewConn().PushJSON(math.NaN())
}

func TestConcurrentUse(t *testing.T) {
	const n = 50
	c := wschannelstest.NewConn()
	var wg sync.WaitGroup
	got := make(chan []byte, 2*n)
	for i := range n {
		wg.Go(func() { c.Push(websocket.MessageText, fmt.Appendf(nil, "in%d", i)) })
		wg.Go(func() { c.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, "out%d", i)) })
		wg.Go(func() { c.Ping(context.Background()) })
		wg.Go(func() { c.Stall(); c.Closed(); c.Resume() })
		wg.Go(func() { c.FailReads(nil); c.FailWrites(nil) })
		wg.Go(func() {
			_, data, _ := c.Read(context.Background())
			got <- bytes.TrimPrefix(data, []byte("in"))
		})
		wg.Go(func() {
			_, data, _ := c.Next(context.Background())
			got <- bytes.TrimPrefix(data, []byte("out"))
		})
	}
	wg.Wait()
	close(got)
	count := map[string]int{}
	for data := range got {
		count[string(data)]++
	}
	for i := range n {
		if count[fmt.Sprint(i)] != 2 {
			t.Errorf("message %d arrived %d times, want once each way", i, count[fmt.Sprint(i)])
		}
	}
	wantPings(t, c, n)
}
