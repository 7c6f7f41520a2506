package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// chanFull returns a Text channel with a queue of 10 bytes, full of "0123456789",
// while "first" is being written.
func chanFull(t *testing.T) (*wschannels.Channel, *wschannelstest.Conn) {
	t.Helper()
	c, conn := chanOpen(t, &wschannels.ChannelOptions{
		PayloadType: wschannels.Text, QueueBytes: 10, WriteTimeout: time.Hour, Heartbeat: -1,
	})
	conn.Stall()
	for _, s := range []string{"first", "0123456789"} {
		if err := c.Send(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
	return c, conn
}

// chanSending sends s on a goroutine of its own; the result comes when Send returns.
func chanSending(ctx context.Context, c *wschannels.Channel, s string) <-chan error {
	sent := make(chan error, 1)
	go func() { sent <- c.Send(ctx, s) }()
	synctest.Wait()
	return sent
}

func chanWaits(t *testing.T, sent <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-sent:
		t.Fatalf("the call returned %v, want it to wait", err)
	default:
	}
}

func TestSendOverQueueBytesIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 10})
		if err := c.Send(t.Context(), "0123456789"); err != nil {
			t.Errorf("Send of QueueBytes: %v", err)
		}
		if err := c.Send(t.Context(), "0123456789a"); !errors.Is(err, wschannels.ErrTooLarge) {
			t.Errorf("Send of QueueBytes+1 = %v, want ErrTooLarge", err)
		}
		chanIsOpen(t, c)
		chanWants(t, conn, "0123456789")
	})
}

func TestSendWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanFull(t)
		sent := chanSending(t.Context(), c, "!")
		time.Sleep(time.Minute)
		chanWaits(t, sent)
		conn.Resume()
		if err := <-sent; err != nil {
			t.Errorf("Send = %v once there was room", err)
		}
		chanWants(t, conn, "first", "0123456789", "!")
	})
}

func TestSendGivesUpWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanFull(t)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		sent := chanSending(ctx, c, "!")
		cancel(cause)
		if err := <-sent; !errors.Is(err, cause) {
			t.Errorf("Send = %v, want its context's cause", err)
		}
		chanIsOpen(t, c)
		conn.Resume()
		chanWants(t, conn, "first", "0123456789") // and what was given up is not sent
	})
}

func TestSendWithAnEndedContextSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			if err := c.Send(ctx, 1); !errors.Is(err, context.Canceled) {
				t.Fatalf("Send = %v, want context.Canceled", err)
			}
		}
		chanIsOpen(t, c)
		chanWants(t, conn)
	})
}

func TestSendsWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanFull(t)
		ctx, cancel := context.WithCancel(t.Context())
		given := chanSending(ctx, c, "given up")
		large := chanSending(t.Context(), c, "ABCDEFGHIJ")
		small := chanSending(t.Context(), c, "!") // must not overtake
		cancel()
		if err := <-given; err == nil {
			t.Error("the Send that gave up succeeded")
		}
		chanWaits(t, large)
		chanWaits(t, small)
		conn.Resume()
		chanWants(t, conn, "first", "0123456789", "ABCDEFGHIJ", "!")
	})
}

func TestSendsBehindOneThatGaveUpGetItsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 10})
		conn.Stall()
		for _, s := range []string{"first", "12345"} {
			if err := c.Send(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		large := chanSending(ctx, c, "1234567890")
		small := chanSending(t.Context(), c, "!")
		chanWaits(t, small)
		cancel()
		<-large
		synctest.Wait()
		select {
		case err := <-small:
			if err != nil {
				t.Errorf("Send = %v", err)
			}
		default:
			t.Error("Send waits though there is room and nobody is before it")
		}
	})
}

// An empty message counts as 1 byte, so no number of messages is free.
func TestEmptyMessagesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 2})
		conn.Stall()
		for range 3 { // one is being written
			if err := c.Send(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		sent := chanSending(t.Context(), c, "")
		chanWaits(t, sent)
		conn.Resume()
		chanWants(t, conn, "", "", "", "")
	})
}

func TestSendWaitingWhenTheChannelCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanFull(t)
		sent := chanSending(t.Context(), c, "!")
		c.CloseNow()
		if err := <-sent; err == nil || err != c.Err() {
			t.Errorf("Send = %v, want the channel's Err(), %v", err, c.Err())
		}
	})
}

func TestConcurrentSendsKeepEachCallersOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const senders, each = 8, 200
		c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 64})
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					if err := c.Send(t.Context(), fmt.Sprintf("%d %d", s, i)); err != nil {
						t.Errorf("Send: %v", err)
						return
					}
				}
			})
		}
		var next [senders]int
		for range senders * each {
			_, got := chanNext(t, conn)
			var s, i int
			if _, err := fmt.Sscanf(got, "%d %d", &s, &i); err != nil || i != next[s] {
				t.Fatalf("the peer got %q, want number %d of that sender, %v", got, next[s], err)
			}
			next[s]++
		}
		wg.Wait()
		chanWants(t, conn)
	})
}

func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{WriteTimeout: 3 * time.Second})
		conn.Stall()
		if err := c.Send(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		chanSleep(3*time.Second - 1)
		chanIsOpen(t, c)
		chanSleep(1)
		chanClosedBy(t, c, wschannels.StatusSlowConsumer, wschannels.ErrSlowConsumer)
	})
}

// Each write has its own time, however many there are.
func TestWriteTimeoutIsForOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{WriteTimeout: 3 * time.Second})
		for range 5 {
			conn.Stall()
			if err := c.Send(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			chanSleep(2 * time.Second)
			conn.Resume()
			synctest.Wait()
		}
		chanSleep(time.Minute)
		chanIsOpen(t, c)
	})
}

func TestFailedWriteClosesTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		broken := errors.New("broken pipe")
		conn.FailWrites(broken)
		if err := c.Send(t.Context(), 1); err != nil {
			t.Fatalf("Send = %v, want nil: it was queued", err)
		}
		chanClosedBy(t, c, websocket.StatusAbnormalClosure, broken)
	})
}

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanFull(t)
		flushed := make(chan error, 1)
		go func() { flushed <- c.Flush(t.Context()) }()
		chanWaits(t, flushed)
		conn.Resume()
		if err := <-flushed; err != nil {
			t.Errorf("Flush = %v", err)
		}
		if err := c.Flush(t.Context()); err != nil {
			t.Errorf("Flush of nothing = %v", err)
		}
		chanWants(t, conn, "first", "0123456789")
	})
}

func TestFlushGivesUpWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanFull(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush = %v, want context.DeadlineExceeded", err)
		}
		chanIsOpen(t, c)
		conn.Resume()
		chanWants(t, conn, "first", "0123456789")
	})
}

// What was queued after the call does not keep Flush waiting.
func TestFlushIgnoresWhatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		c, err := wschannels.NewChannel(chanGated{wschannelstest.NewConn(), gate}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		if err := c.Send(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		flushed := make(chan error, 1)
		go func() { flushed <- c.Flush(t.Context()) }()
		synctest.Wait()
		if err := c.Send(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		chanWaits(t, flushed)
		gate <- struct{}{} // lets the first be written
		synctest.Wait()
		select {
		case err := <-flushed:
			if err != nil {
				t.Errorf("Flush = %v", err)
			}
		default:
			t.Error("Flush waits for what was queued after it was called")
		}
	})
}

// A chanGated connection writes one message for each value from gate.
type chanGated struct {
	*wschannelstest.Conn
	gate chan struct{}
}

func (g chanGated) Write(ctx context.Context, typ websocket.MessageType, p []byte) error {
	select {
	case <-g.gate:
		return g.Conn.Write(ctx, typ, p)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestFlushOfAChannelThatCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanFull(t)
		flushed := make(chan error, 1)
		go func() { flushed <- c.Flush(t.Context()) }()
		synctest.Wait()
		c.CloseNow()
		if err := <-flushed; err == nil || err != c.Err() {
			t.Errorf("Flush = %v, want the channel's Err(), %v", err, c.Err())
		}
		if err := c.Flush(t.Context()); err != c.Err() {
			t.Errorf("Flush afterwards = %v, want the channel's Err()", err)
		}
	})
}

func TestQueueStaysWithinItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, nil)
		c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 10})
		if err := box.Add(c); err != nil {
			t.Fatal(err)
		}
		conn.Stall()
		for n := 1; n <= 4; n++ {
			chanSending(t.Context(), c, strings.Repeat("x", n))
		}
		chanSending(t.Context(), c, "yy")
		s := box.Stats()
		if s.QueuedBytes != 2+3+4 || s.QueuedMessages != 3 {
			t.Errorf("%d bytes, %d messages are queued; want 9, 3: one is being written, one waits outside", s.QueuedBytes, s.QueuedMessages)
		}
	})
}

// Flush with a context that has ended says whether there is something to wait for.
func TestFlushWithAnEndedContext(t *testing.T) {
	c, conn := chanOpen(t, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if err := c.Flush(ended); err != nil {
			t.Fatalf("nothing queued: %v", err)
		}
	}
	conn.Stall()
	if err := c.Send(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := c.Flush(ended); !errors.Is(err, context.Canceled) {
			t.Fatalf("one queued: %v, want the context's error", err)
		}
	}
	conn.Resume()
}

// Who waits for room gets what an eviction frees.
func TestSendGetsTheRoomOfAnEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Bytes, QueueBytes: 100, Slow: wschannels.SlowDropOldest})
		g, err := wschannels.NewGroup("g", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Add(c); err != nil {
			t.Fatal(err)
		}
		conn.Stall()
		for _, n := range []int{1, 100} { // being written; filling the queue
			if err := c.Send(t.Context(), make([]byte, n)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		sent := chanSending(t.Context(), c, "waits")
		chanWaits(t, sent)
		if res, err := g.Send(t.Context(), make([]byte, 10), nil); err != nil || res.Evicted != 1 {
			t.Fatalf("group send: %+v, %v", res, err)
		}
		synctest.Wait()
		select {
		case err := <-sent:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("Send waits, though there is room")
		}
		conn.Resume()
	})
}
