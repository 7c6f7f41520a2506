package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
)

func TestCloseCodes(t *testing.T) {
	for code, sendable := range map[websocket.StatusCode]bool{
		0: false, 999: false, 1000: true, 1001: true, 1003: true, 1004: false, 1005: false, 1006: false, 1007: true,
		1011: true, 1014: true, 1015: false, 2999: false, 3000: true, 4000: true, 4999: true, 5000: false, -1: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			c, conn := chanOpen(t, nil)
			err := c.Close(code, "why")
			if sendable {
				if err != nil {
					t.Errorf("Close(%d) = %v, want nil", code, err)
				}
				chanSaw(t, conn, code, "why")
				chanClosedBy(t, c, code, wschannels.ErrClosed)
				return
			}
			if !errors.Is(err, wschannels.ErrInvalidCloseCode) {
				t.Errorf("Close(%d) = %v, want ErrInvalidCloseCode", code, err)
			}
			chanSaw(t, conn, websocket.StatusInternalError, "")
			chanClosedBy(t, c, websocket.StatusInternalError, nil)
		})
	}
}

func TestCloseReasons(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct{ name, reason, want string }{
		{"none", "", ""},
		{"123 bytes", x(123), x(123)},
		{"124 bytes", x(124), x(123)},
		{"10,000 bytes", x(10_000), x(123)},
		{"a rune that ends at the limit", x(121) + "é", x(121) + "é"},
		{"a rune of 2 across the limit", x(122) + "é", x(122)},
		{"a rune of 4 across the limit", x(120) + "😀x", x(120)},
		{"not UTF-8", "a\xffb", "a\uFFFDb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, conn := chanOpen(t, nil)
				if err := c.Close(4000, tt.reason); err != nil {
					t.Errorf("Close = %v", err)
				}
				chanSaw(t, conn, 4000, tt.want)
				var end *wschannels.CloseError
				if errors.As(c.Err(), &end); end.Reason != tt.want {
					t.Errorf("Err() has reason %q, want %q", end.Reason, tt.want)
				}
			})
		})
	}
}

func TestCloseSendsWhatIsQueuedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.Stall()
		for i := range 10 {
			if err := c.Send(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		closed := make(chan error, 1)
		go func() { closed <- c.Close(4000, "bye") }()
		time.Sleep(time.Second)
		chanWaits(t, closed)
		conn.Resume()
		if err := <-closed; err != nil {
			t.Errorf("Close = %v", err)
		}
		for i := range 10 {
			if _, got := chanNext(t, conn); got != fmt.Sprint(i) {
				t.Errorf("the peer got %s, want %d", got, i)
			}
		}
		if _, _, err := conn.Next(t.Context()); websocket.CloseStatus(err) != 4000 {
			t.Errorf("after the messages the peer got %v, want the close frame", err)
		}
	})
}

// Against a peer that does not read, Close takes CloseTimeout and tells.
func TestCloseOfAStalledPeerTakesCloseTimeout(t *testing.T) {
	for queued := range 3 {
		for _, timeout := range []time.Duration{0, 700 * time.Millisecond, time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				c, conn := chanOpen(t, &wschannels.ChannelOptions{CloseTimeout: timeout, WriteTimeout: time.Hour})
				conn.Stall()
				for range queued {
					if err := c.Send(t.Context(), 1); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				err := c.Close(4000, "bye")
				want := timeout
				if want == 0 {
					want = 5 * time.Second
				}
				if took := time.Since(began); took != want {
					t.Errorf("%d queued: Close took %v, want %v", queued, took, want)
				}
				if err == nil {
					t.Errorf("%d queued: Close = nil though the peer never answered", queued)
				}
				if _, _, err := conn.Next(t.Context()); !errors.Is(err, io.EOF) {
					t.Errorf("%d queued: the peer sees %v, want a lost connection", queued, err)
				}
				chanClosedBy(t, c, 4000, nil)
			})
		}
	}
}

// A write that fails, or takes too long, while the channel closes.
func TestCloseOfABrokenConnectionTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.FailWrites(errors.New("broken pipe"))
		if err := c.Close(4000, ""); err == nil {
			t.Error("Close = nil though no close frame could be sent")
		}
		c, conn = chanOpen(t, &wschannels.ChannelOptions{WriteTimeout: time.Second})
		conn.Stall()
		if err := c.Send(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := c.Close(4000, ""); err == nil {
			t.Error("Close = nil though the peer never read")
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Close took %v, more than CloseTimeout", took)
		}
	})
}

func TestCloseTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.Stall()
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- c.Close(4000, "one") }()
		synctest.Wait()
		go func() { second <- c.Close(4001, "two") }()
		time.Sleep(time.Second)
		chanWaits(t, second) // for the first
		conn.Resume()
		if err := <-first; err != nil {
			t.Errorf("the first Close = %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("the second Close = %v, want nil", err)
		}
		if err := c.Close(4002, "three"); err != nil {
			t.Errorf("a Close afterwards = %v, want nil", err)
		}
		if err := c.CloseNow(); err != nil {
			t.Errorf("a CloseNow afterwards = %v, want nil", err)
		}
		chanSaw(t, conn, 4000, "one")
		chanClosedBy(t, c, 4000, nil)
	})
}

func TestCloseAfterThePeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.Hangup(4321, "bye")
		synctest.Wait()
		if err := c.Close(4000, ""); err != nil {
			t.Errorf("Close = %v, want nil: it was closed before", err)
		}
		chanClosedBy(t, c, 4321, nil)
	})
}

// Whatever Send accepted before Close began arrives before the close frame.
func TestCloseConcurrentWithSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 256})
		var mu sync.Mutex
		accepted := make(map[string]bool)
		var wg sync.WaitGroup
		for s := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					m := fmt.Sprintf("%d %d", s, i)
					err := c.Send(t.Context(), m)
					if err != nil {
						if err != c.Err() {
							t.Errorf("Send = %v, want the channel's Err()", err)
						}
						return
					}
					mu.Lock()
					accepted[m] = true
					mu.Unlock()
				}
			})
		}
		for range 100 {
			chanNext(t, conn)
		}
		closed := make(chan error, 1)
		go func() { closed <- c.Close(4000, "") }()
		got := 100
		for {
			_, _, err := conn.Next(t.Context())
			if err != nil {
				if websocket.CloseStatus(err) != 4000 {
					t.Errorf("the peer sees %v, want the close frame", err)
				}
				break
			}
			got++
		}
		wg.Wait()
		if err := <-closed; err != nil {
			t.Errorf("Close = %v", err)
		}
		if got != len(accepted) {
			t.Errorf("%d messages were accepted, %d arrived", len(accepted), got)
		}
	})
}

func TestCloseNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.Stall()
		for range 3 {
			if err := c.Send(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		if err := c.CloseNow(); err != nil {
			t.Errorf("CloseNow = %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("CloseNow waited %v", took)
		}
		chanClosedBy(t, c, websocket.StatusAbnormalClosure, wschannels.ErrClosed)
		if _, _, err := conn.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("the peer sees %v, want neither message nor close frame", err)
		}
	})
}

func TestCloseNowEndsAClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.Stall()
		closed := make(chan error, 1)
		go func() { closed <- c.Close(4000, "") }()
		time.Sleep(time.Second)
		began := time.Now()
		if err := c.CloseNow(); err != nil {
			t.Errorf("CloseNow = %v", err)
		}
		if err := <-closed; err == nil {
			t.Error("Close = nil though it was cut short")
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("CloseNow and Close waited %v", took)
		}
	})
}

// The messages that nobody has received do not keep a channel from closing.
func TestCloseWithUnreceivedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		for i := range 10 {
			conn.PushJSON(i)
		}
		synctest.Wait()
		began := time.Now()
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil || time.Since(began) != 0 {
			t.Errorf("Close = %v after %v, want nil at once", err, time.Since(began))
		}
		if m, err := c.Receive(t.Context()); err != c.Err() {
			t.Errorf("Receive = %q, %v; want the channel's Err()", m.Data, err)
		}
	})
}

// A Conn that breaks its contract, and never returns, does not hang Close.
func TestCloseOfAConnThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		c, err := wschannels.NewChannel(chanHung{hung}, &wschannels.ChannelOptions{CloseTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := c.Close(4000, ""); err == nil {
			t.Error("Close = nil, want an error")
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Close took %v", took)
		}
		close(hung)
	})
}

// A chanHung connection heeds neither contexts nor CloseNow.
type chanHung struct{ until chan struct{} }

func (c chanHung) Read(context.Context) (websocket.MessageType, []byte, error) {
	<-c.until
	return 0, nil, io.EOF
}
func (c chanHung) Write(context.Context, websocket.MessageType, []byte) error {
	<-c.until
	return io.EOF
}
func (c chanHung) Ping(context.Context) error               { <-c.until; return io.EOF }
func (c chanHung) Close(websocket.StatusCode, string) error { <-c.until; return io.EOF }
func (c chanHung) CloseNow() error                          { return nil }
