package wschannelstest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels/wschannelstest"
)

// conn is what the root package needs of a connection, spelled out.
type conn interface {
	Read(ctx context.Context) (websocket.MessageType, []byte, error)
	Write(ctx context.Context, typ websocket.MessageType, p []byte) error
	Ping(ctx context.Context) error
	Close(code websocket.StatusCode, reason string) error
	CloseNow() error
}

var (
	_ conn = (*wschannelstest.Conn)(nil)
	_ conn = (*websocket.Conn)(nil)
)

// A peer is the other side of a conn, as far as a fake and a real one share it.
type peer interface {
	Push(typ websocket.MessageType, data []byte)
	Next(ctx context.Context) (websocket.MessageType, []byte, error)
	Hangup(code websocket.StatusCode, reason string)
}

// realPeer is a client of a real server.
type realPeer struct{ *websocket.Conn }

func (p realPeer) Push(typ websocket.MessageType, data []byte) {
	p.Write(context.Background(), typ, data)
}

func (p realPeer) Next(ctx context.Context) (websocket.MessageType, []byte, error) {
	return p.Read(ctx)
}

func (p realPeer) Hangup(code websocket.StatusCode, reason string) {
	if code == websocket.StatusAbnormalClosure {
		p.CloseNow()
		return
	}
	go p.Close(code, reason) // it waits for the answer
}

// realPair returns the two ends of a real connection.
func realPair(t *testing.T) (conn, peer) {
	accepted := make(chan *websocket.Conn, 1)
	client := wschannelstest.Dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}), "/")
	c := <-accepted
	t.Cleanup(func() { c.CloseNow() })
	return c, realPeer{client}
}

func fakePair(*testing.T) (conn, peer) {
	c := wschannelstest.NewConn()
	return c, c
}

// likeTheReal runs test with a fake connection and with a real one.
func likeTheReal(t *testing.T, test func(t *testing.T, c conn, p peer)) {
	for name, pair := range map[string]func(*testing.T) (conn, peer){"fake": fakePair, "real": realPair} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p := pair(t)
				test(t, c, p)
			})
		})
	}
}

func TestCloseCodesLikeTheReal(t *testing.T) {
	for _, tt := range []struct {
		code   websocket.StatusCode
		reason string
		ok     bool
	}{
		{-1, "", false},
		{0, "", false},
		{999, "", false},
		{1000, "", true},
		{1000, "bye", true},
		{1000, strings.Repeat("r", 123), true},
		{1000, strings.Repeat("r", 124), false},
		{1003, "", true},
		{1004, "", false},
		{1005, "", true}, // an empty close frame
		{1006, "", false},
		{1007, "", true},
		{1014, "", true},
		{1015, "", false},
		{2999, "", false},
		{3000, "", true},
		{4999, "", true},
		{5000, "", false},
	} {
		t.Run(fmt.Sprintf("%d_%d", tt.code, len(tt.reason)), func(t *testing.T) {
			likeTheReal(t, func(t *testing.T, c conn, p peer) {
				want := websocket.CloseError{Code: websocket.StatusAbnormalClosure}
				if tt.ok {
					want = websocket.CloseError{Code: tt.code, Reason: tt.reason}
				}
				read, next := readError(c), nextError(p)
				synctest.Wait()
				if err := c.Close(tt.code, tt.reason); (err == nil) != tt.ok {
					t.Errorf("Close: %v", err)
				}
				if err := <-next; closeErrorOf(err) != want {
					t.Errorf("the peer got %v, want %v", err, want)
				}
				if err := <-read; closeErrorOf(err) != want {
					t.Errorf("Read: %v, want %v", err, want)
				}
				if err := c.Close(1000, ""); !errors.Is(err, net.ErrClosed) {
					t.Errorf("second Close: %v, want net.ErrClosed", err)
				}
				if err := c.CloseNow(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("CloseNow after Close: %v, want net.ErrClosed", err)
				}
			})
		})
	}
}

func TestHangupLikeTheReal(t *testing.T) {
	for _, want := range []websocket.CloseError{
		{Code: websocket.StatusNormalClosure},
		{Code: websocket.StatusGoingAway, Reason: "bye"},
		{Code: websocket.StatusNoStatusRcvd},
		{Code: websocket.StatusAbnormalClosure},
		{Code: 4999, Reason: strings.Repeat("r", 123)},
	} {
		t.Run(fmt.Sprint(int(want.Code)), func(t *testing.T) {
			likeTheReal(t, func(t *testing.T, c conn, p peer) {
				p.Push(websocket.MessageText, []byte("before"))
				p.Hangup(want.Code, want.Reason)
				synctest.Wait()
				if err := c.Write(t.Context(), websocket.MessageText, []byte("not yet read")); err != nil &&
					want.Code != websocket.StatusAbnormalClosure {
					t.Errorf("Write before the close frame is read: %v", err)
				}
				_, data, err := c.Read(t.Context())
				if err != nil || string(data) != "before" {
					t.Fatalf("Read: %q, %v", data, err)
				}
				if _, _, err = c.Read(t.Context()); closeErrorOf(err) != want {
					t.Errorf("Read: %v, want %v", err, want)
				}
				if want.Code == websocket.StatusAbnormalClosure {
					return
				}
				if err := c.Write(t.Context(), websocket.MessageText, nil); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Write after the end: %v, want net.ErrClosed", err)
				}
			})
		})
	}
}

func TestEndOfContextLikeTheReal(t *testing.T) {
	likeTheReal(t, func(t *testing.T, c conn, p peer) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, _, err := c.Read(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read: %v, want context.DeadlineExceeded", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("Read returned after %v, want 1s", d)
		}
		synctest.Wait()
		if err := c.Write(t.Context(), websocket.MessageText, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: %v, want net.ErrClosed", err)
		}
		if err := <-nextError(p); closeErrorOf(err).Code != websocket.StatusAbnormalClosure {
			t.Errorf("the peer got %v, want a lost connection", err)
		}
	})
}

func TestCloseNowLikeTheReal(t *testing.T) {
	likeTheReal(t, func(t *testing.T, c conn, p peer) {
		read := readError(c)
		synctest.Wait()
		if err := c.CloseNow(); err != nil {
			t.Errorf("CloseNow: %v", err)
		}
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read: %v, want net.ErrClosed", err)
		}
		if err := <-nextError(p); closeErrorOf(err).Code != websocket.StatusAbnormalClosure {
			t.Errorf("the peer got %v, want a lost connection", err)
		}
		if err := c.CloseNow(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second CloseNow: %v, want net.ErrClosed", err)
		}
		if err := c.Close(1000, ""); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close after CloseNow: %v, want net.ErrClosed", err)
		}
	})
}
