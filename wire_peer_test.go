package wschannels_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

func TestReadLimitIsAlwaysOn(t *testing.T) {
	for _, limit := range []int64{-1, math.MinInt64, 1<<30 + 1, math.MaxInt64} {
		if _, err := New(&Options{Channel: ChannelOptions{ReadLimit: limit}}); !errors.Is(err, ErrInvalidOption) {
			t.Errorf("New with ReadLimit %d: %v, want ErrInvalidOption", limit, err)
		}
		if _, err := NewChannel(wschannelstest.NewConn(), &ChannelOptions{ReadLimit: limit}); !errors.Is(err, ErrInvalidOption) {
			t.Errorf("NewChannel with ReadLimit %d: %v, want ErrInvalidOption", limit, err)
		}
	}
	for _, tt := range []struct{ limit, size int64 }{{0, 64 << 10}, {1, 1}, {100_000, 100_000}} {
		for over := range int64(2) {
			log := newWireLog()
			box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text, ReadLimit: tt.limit}, Events: log.events()})
			p := wireDial(t, wireServe(t, box, box))
			message := bytes.Repeat([]byte("x"), int(tt.size+over))
			p.send(t, wireFrame(wireFin|wireText, message), wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
			want, messages := websocket.StatusCode(1000), []string{string(message)}
			if over > 0 {
				want, messages = 1009, nil
			}
			p.wantClose(t, want)
			p.Close()
			if end := log.end(t); end.Code != want || errors.Is(end, ErrTooLarge) != (over > 0) {
				t.Errorf("ReadLimit %d, %d bytes: the end is %v, want %d", tt.limit, len(message), end, want)
			}
			log.want(t, messages, int(over))
		}
	}
}

// What the network would tell, a fake cannot hide.
func TestReadsOfAFakeAreCheckedToo(t *testing.T) {
	for _, tt := range []struct {
		name string
		typ  websocket.MessageType
		data []byte
		code websocket.StatusCode
	}{
		{"text that is not UTF-8", websocket.MessageText, []byte("\xff\xfe"), 1007},
		{"a size over the limit", websocket.MessageBinary, make([]byte, wireLimit+1), 1009},
	} {
		conn := wschannelstest.NewConn()
		c, err := NewChannel(conn, &ChannelOptions{ReadLimit: wireLimit})
		if err != nil {
			t.Fatal(err)
		}
		conn.Push(tt.typ, tt.data)
		_, err = c.Receive(t.Context())
		var end *CloseError
		if !errors.As(err, &end) || end.Code != tt.code || end.Remote {
			t.Errorf("%s: Receive: %v, want an end with %d", tt.name, err, tt.code)
		}
		c.Close(1000, "") // waits for the end that is under way
		if code, _, _ := conn.Closed(); code != tt.code {
			t.Errorf("%s: closed with %d, want %d", tt.name, code, tt.code)
		}
	}
}

func TestJSONLeavesAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, box := wireChannel(t, nil)
		frames := p.frames()
		for payload, want := range map[any]string{"a": `"a"`, 1: "1", true: "true"} {
			if err := c.Send(t.Context(), payload); err != nil {
				t.Fatal(err)
			}
			if f := <-frames; f.op != wireText || f.payload != want {
				t.Errorf("%v went out as opcode %d, %q; want text, %q", payload, f.op, f.payload, want)
			}
		}
		p.Close()
		wireShutdown(t, box)
	})
}

// next checks the form of every frame: none may be torn by another.
func TestConcurrentSendsLeaveWholeAndInOrder(t *testing.T) {
	const senders, each = 8, 200
	box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}})
	p := wireDial(t, wireServe(t, box.Handler(func(ctx context.Context, c *Channel) error {
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					if err := c.Send(ctx, fmt.Sprintf("%d %0*d", s, 1+i*7, i)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return nil
	}), box))
	next := make([]int, senders)
	for range senders * each {
		op, data, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		var s, i int
		if _, err := fmt.Sscanf(string(data), "%d %d", &s, &i); op != wireText || err != nil || next[s] != i || len(data) != 2+max(1+i*7, len(fmt.Sprint(i))) {
			t.Fatalf("got opcode %d, %.40q; sender %d was to send %d", op, data, s, next[s])
		}
		next[s]++
	}
	p.wantClose(t, 1000)
	p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
	p.wantEOF(t)
}

// A peer that closes and does not read the answer.
func TestAPeerThatClosesAndDoesNotReadIsGoneInTime(t *testing.T) {
	for _, queued := range []int{0, 3} {
		synctest.Test(t, func(t *testing.T) {
			c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text, CloseTimeout: 2 * time.Second})
			for range queued {
				if err := c.Send(t.Context(), "never read"); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(4001, "")))
			<-c.Done()
			if d := time.Since(start); d != 0 {
				t.Errorf("closing began after %v, want at once", d)
			}
			if err := c.Close(1000, ""); err != nil {
				t.Errorf("Close of a channel that has ended: %v", err)
			}
			if d := time.Since(start); d != 2*time.Second {
				t.Errorf("it was gone after %v, want CloseTimeout, 2 s", d)
			}
			var end *CloseError
			if err := c.Err(); !errors.As(err, &end) || end.Code != 4001 || !end.Remote {
				t.Errorf("Err() = %v, want 4001 by the peer", err)
			}
			wireShutdown(t, box)
		})
	}
}

// A connection that is closed with bytes unread is reset, which may destroy the close
// frame on its way.
func TestAfterABreachWhatThePeerStillSendsIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text})
		frames := p.frames()
		p.send(t, []byte{0x81, 0x00})
		if f := <-frames; f.op != wireClose || wireCode([]byte(f.payload)) != 1002 {
			t.Errorf("got opcode %d, %q; want a close frame with 1002", f.op, f.payload)
		}
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			p.send(t, bytes.Repeat(wireString("still talking"), 1000))
		}
		start := time.Now()
		p.Close()
		c.Close(1000, "") // waits for the end
		if d := time.Since(start); d != 0 {
			t.Errorf("the channel was gone %v after its peer, want at once", d)
		}
		wireShutdown(t, box)
	})
}

// An old version of the library panicked on the second pong to one ping.
func TestTwoPongsToOnePing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text})
		go func() {
			for f := range p.frames() {
				if f.op == wirePing {
					p.Write(bytes.Repeat(wireFrame(wireFin|wirePong, []byte(f.payload)), 2))
				}
			}
		}()
		for range 3 {
			if err := c.Conn().Ping(t.Context()); err != nil {
				t.Errorf("Ping: %v", err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Conn().Ping(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Ping with an ended context: %v, want context.Canceled", err)
		}
		if err := c.Err(); err != nil {
			t.Errorf("the channel has ended: %v", err)
		}
		p.Close()
		wireShutdown(t, box)
	})
}

// Over TCP, where the kernel takes megabytes before a write waits.
func TestAPeerThatNeverReadsEndsAtWriteTimeout(t *testing.T) {
	log := newWireLog()
	box := wireBox(t, &Options{
		Channel: ChannelOptions{PayloadType: Bytes, WriteTimeout: 100 * time.Millisecond, QueueBytes: 64 << 20},
		Events:  log.events(),
	})
	sent := make(chan error, 1)
	p := wireDial(t, wireServe(t, box.Handler(func(ctx context.Context, c *Channel) error {
		for range 16 {
			if err := c.Send(ctx, make([]byte, 2<<20)); err != nil {
				sent <- err
				return err
			}
		}
		sent <- c.Flush(ctx)
		return nil
	}), box))
	if err := <-sent; !errors.Is(err, ErrSlowConsumer) {
		t.Errorf("Send or Flush: %v, want ErrSlowConsumer", err)
	}
	if end := log.end(t); end.Code != StatusSlowConsumer || end.Remote {
		t.Errorf("the end is %v, want %d", end, StatusSlowConsumer)
	}
	p.Close()
}

// Whatever has happened, Err and Receive go on saying the same.
func TestAnEndIsFinal(t *testing.T) {
	for name, send := range map[string][]byte{
		"close":  wireFrame(wireFin|wireClose, wireCloseBody(4000, "x")),
		"breach": {0x81, 0x00},
		"lost":   nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p, box := wireChannel(t, nil)
				go func() {
					for f := range p.frames() {
						if f.op == wireClose {
							p.Close()
						}
					}
				}()
				if send == nil {
					p.Close()
				} else {
					p.send(t, send)
				}
				<-c.Done()
				first := c.Err()
				var errs []error
				for range 1000 {
					_, err := c.Receive(t.Context())
					errs = append(errs, err, c.Err(), c.Send(t.Context(), 1))
				}
				if i := slices.IndexFunc(errs, func(err error) bool { return err != first }); i >= 0 {
					t.Errorf("first %v, later %v", first, errs[i])
				}
				if got := context.Cause(c.Context()); got != first {
					t.Errorf("the cause of Context is %v, want Err", got)
				}
				if n := len(box.Channels()); n != 0 {
					t.Errorf("%d channels are in the box, want none", n)
				}
				wireShutdown(t, box)
			})
		})
	}
}

// A connection that is reset while the channel writes ends it like any other loss.
func TestAResetWhileWritingEndsTheChannelOnce(t *testing.T) {
	log := newWireLog()
	box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}, Events: log.events()})
	started := make(chan struct{})
	p := wireDial(t, wireServe(t, box.Handler(func(ctx context.Context, c *Channel) error {
		var once sync.Once
		for {
			if err := c.Send(ctx, "again and again"); err != nil {
				return err
			}
			once.Do(func() { close(started) })
		}
	}), box))
	<-started
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	p.Close()
	wireWantEnd(t, log.end(t), 1006, true)
	log.mu.Lock()
	defer log.mu.Unlock()
	if len(log.ends) != 1 || len(log.errs) > 1 {
		t.Errorf("OnDisconnect %d times, OnError %v; want once, and at most once", len(log.ends), log.errs)
	}
}
