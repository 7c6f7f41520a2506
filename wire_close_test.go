package wschannels_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// wireChannel is a channel of a box, with a peer over a pipe.
func wireChannel(t *testing.T, opts *ChannelOptions) (*Channel, *wirePeer, *ChannelBox) {
	t.Helper()
	box := wireBox(t, nil)
	var c *Channel
	p := wirePipe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if c, err = box.Accept(w, r, opts); err != nil {
			t.Fatal(err)
		}
	}))
	return c, p, box
}

// What a peer may do to keep a Close from ending, over a pipe on which every write
// waits for its reader.
var wireStubborn = []struct {
	name   string
	reads  bool
	sends  []byte
	queued int // messages that are to be sent to it
}{
	{"never answers", true, nil, 0},
	{"never reads", false, nil, 0},
	{"never reads what is queued", false, nil, 3},
	{"stalls inside a header", true, []byte{0x81}, 0},
	{"stalls inside a length", true, []byte{0x81, 0xFE, 0x10}, 0},
	{"stalls inside a payload", true, wireOdd([]byte{0x81, 0x85}, []byte("he")), 0},
	{"stalls inside a fragmented message", true, wireFrame(wireText, []byte("he")), 0},
	{"stalls inside a ping", true, wireOdd([]byte{0x89, 0x85}, []byte("he")), 0},
	{"stalls inside its answer", true, wireOdd([]byte{0x88, 0x82}, []byte{3}), 0},
	{"neither reads nor ends its message", false, wireOdd([]byte{0x81, 0x85}, []byte("he")), 3},
}

func TestCloseEndsWithinCloseTimeoutAgainstAnyPeer(t *testing.T) {
	const timeout = 2 * time.Second
	for _, tt := range wireStubborn {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text, CloseTimeout: timeout})
				if tt.reads {
					p.frames()
				}
				if tt.sends != nil {
					p.send(t, tt.sends)
				}
				for range tt.queued {
					if err := c.Send(t.Context(), "hello"); err != nil {
						t.Fatal(err)
					}
				}
				start := time.Now()
				err := c.Close(1000, "")
				if d := time.Since(start); d != timeout {
					t.Errorf("Close returned after %v, want %v", d, timeout)
				}
				if err == nil {
					t.Error("Close: nil, want an error: the peer did not answer")
				}
				wireWantGone(t, p)
				wireShutdown(t, box)
			})
		})
	}
}

// wireWantGone expects that the server's end of p is closed. It must not be in use.
func wireWantGone(t *testing.T, p *wirePeer) {
	t.Helper()
	p.SetWriteDeadline(time.Now().Add(time.Hour))
	if _, err := p.Write([]byte{0}); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write after Close: %v, want the connection gone", err)
	}
}

func TestCloseNowAbortsACloseThatIsUnderWay(t *testing.T) {
	for _, tt := range wireStubborn {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text, CloseTimeout: time.Hour})
				if tt.reads {
					p.frames()
				}
				if tt.sends != nil {
					p.send(t, tt.sends)
				}
				for range tt.queued {
					if err := c.Send(t.Context(), "hello"); err != nil {
						t.Fatal(err)
					}
				}
				start := time.Now()
				closed := make(chan error)
				go func() { closed <- c.Close(1000, "") }()
				time.Sleep(time.Second)
				if err := c.CloseNow(); err != nil {
					t.Errorf("CloseNow: %v", err)
				}
				if err := <-closed; err == nil {
					t.Error("Close: nil, want an error: the peer did not answer")
				}
				if d := time.Since(start); d != time.Second {
					t.Errorf("Close returned after %v, want 1 s, when CloseNow was called", d)
				}
				wireWantGone(t, p)
				wireShutdown(t, box)
			})
		})
	}
}

// The same against the library's own Close, which waits for such peers for ever.
func TestCloseEndsWithinCloseTimeoutOnABareConn(t *testing.T) {
	const timeout = 2 * time.Second
	for _, tt := range wireStubborn {
		for _, now := range []bool{false, true} {
			name, want := tt.name, timeout
			if now {
				name, want = name+", CloseNow", timeout/2
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					channels, done := make(chan *Channel, 1), make(chan struct{})
					p := wirePipeAsync(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						conn, err := websocket.Accept(w, r, nil)
						if err != nil {
							t.Error(err)
						}
						c, err := NewChannel(conn, &ChannelOptions{PayloadType: Text, CloseTimeout: timeout})
						if err != nil {
							t.Error(err)
						}
						channels <- c
					}), done)
					<-done
					c := <-channels
					if tt.reads {
						p.frames()
					}
					if tt.sends != nil {
						p.send(t, tt.sends)
					}
					for range tt.queued {
						if err := c.Send(t.Context(), "hello"); err != nil {
							t.Fatal(err)
						}
					}
					start := time.Now()
					if now {
						time.AfterFunc(want, func() { c.CloseNow() })
					}
					if err := c.Close(1000, ""); err == nil {
						t.Error("Close: nil, want an error: the peer did not answer")
					}
					if d := time.Since(start); d != want {
						t.Errorf("Close returned after %v, want %v", d, want)
					}
					wireWantGone(t, p)
				})
			})
		}
	}
}

func TestCloseOnAFakeThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := wschannelstest.NewConn()
		c, err := NewChannel(conn, &ChannelOptions{CloseTimeout: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		conn.Stall()
		start := time.Now()
		if err := c.Close(1000, ""); err == nil {
			t.Error("Close: nil, want an error: the peer did not answer")
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("Close returned after %v, want CloseTimeout, 2 s", d)
		}
		if code, _, ok := conn.Closed(); !ok || code != 1000 {
			t.Errorf("Closed() = %d, %v; want 1000, true", code, ok)
		}
	})
}

// A peer that answers makes Close return at once, whatever it sends before.
func TestCloseReturnsWhenThePeerAnswers(t *testing.T) {
	for name, before := range map[string][]byte{
		"nothing else":       nil,
		"messages":           slices.Concat(wireString("a"), wireString("b")),
		"the end of one":     slices.Concat(wireFrame(wireText, []byte("a")), wireFrame(wireFin|wireCont, []byte("b"))),
		"a ping":             wireFrame(wireFin|wirePing, []byte("p")),
		"a code of its own":  wireFrame(wireFin|wireClose, wireCloseBody(4000, "")),
		"an empty close one": wireFrame(wireFin|wireClose, nil),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, p, box := wireChannel(t, &ChannelOptions{PayloadType: Text})
				go func() {
					for f := range p.frames() {
						if f.op == wireClose {
							p.Write(slices.Concat(before, wireFrame(wireFin|wireClose, []byte(f.payload))))
						}
					}
				}()
				start := time.Now()
				if err := c.Close(1000, ""); err != nil {
					t.Errorf("Close: %v", err)
				}
				if d := time.Since(start); d != 0 {
					t.Errorf("Close returned after %v, want at once", d)
				}
				wireShutdown(t, box)
			})
		})
	}
}

func TestThePeerSeesTheCodeAndTheReasonOfClose(t *testing.T) {
	for _, tt := range []struct {
		code     websocket.StatusCode
		reason   string
		wantCode websocket.StatusCode
		want     string
		invalid  bool
	}{
		{code: 1000, wantCode: 1000},
		{code: 1001, reason: "bye", wantCode: 1001, want: "bye"},
		{code: 3000, wantCode: 3000},
		{code: 4999, wantCode: 4999},
		{code: 1000, reason: strings.Repeat("x", 123), wantCode: 1000, want: strings.Repeat("x", 123)},
		{code: 1000, reason: strings.Repeat("x", 124), wantCode: 1000, want: strings.Repeat("x", 123)},
		{code: 1000, reason: strings.Repeat("é", 62), wantCode: 1000, want: strings.Repeat("é", 61)},
		{code: 1000, reason: strings.Repeat("x", 121) + "🙂", wantCode: 1000, want: strings.Repeat("x", 121)},
		{code: 1000, reason: "a\xffb", wantCode: 1000, want: "a\uFFFDb"},
		{code: 0, wantCode: 1011, invalid: true},
		{code: 999, wantCode: 1011, invalid: true},
		{code: 1004, wantCode: 1011, invalid: true},
		{code: 1005, wantCode: 1011, invalid: true},
		{code: 1006, wantCode: 1011, invalid: true},
		{code: 1015, wantCode: 1011, invalid: true},
		{code: 2999, wantCode: 1011, invalid: true},
		{code: 5000, wantCode: 1011, invalid: true},
		{code: 70000, wantCode: 1011, invalid: true},
		{code: -1, wantCode: 1011, invalid: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, p, box := wireChannel(t, nil)
			frames := p.frames()
			closed := make(chan error)
			go func() { closed <- c.Close(tt.code, tt.reason) }()
			f := <-frames
			if body := string(wireCloseBody(tt.wantCode, tt.want)); f.op != wireClose || f.payload != body {
				t.Errorf("Close(%d, %.20q): the peer got opcode %d, %q; want a close frame, %q", tt.code, tt.reason, f.op, f.payload, body)
			}
			p.send(t, wireFrame(wireFin|wireClose, []byte(f.payload)))
			if err := <-closed; (err != nil) != tt.invalid {
				t.Errorf("Close(%d, %.20q) = %v, want an error: %v", tt.code, tt.reason, err, tt.invalid)
			}
			var end *CloseError
			if err := c.Err(); !errors.As(err, &end) || end.Code != tt.wantCode || end.Reason != tt.want {
				t.Errorf("Err() = %v, want %d %.20q", err, tt.wantCode, tt.want)
			}
			if f, ok := <-frames; ok {
				t.Errorf("after the close frame came opcode %d, %q", f.op, f.payload)
			}
			wireShutdown(t, box)
		})
	}
}

// The library deadlocks there. The reader is the callback's own, so no answer can be
// seen, and Close ends at CloseTimeout.
func TestCloseFromOnPingReceivedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newWireLog()
		var c *Channel
		var took time.Duration
		events := log.events()
		events.OnConnect = func(_ context.Context, ch *Channel) error { c = ch; return nil }
		box := wireBox(t, &Options{
			Channel: ChannelOptions{CloseTimeout: 2 * time.Second},
			Accept: websocket.AcceptOptions{OnPingReceived: func(context.Context, []byte) bool {
				start := time.Now()
				c.Close(4000, "no pings here")
				took = time.Since(start)
				return false
			}},
			Events: events,
		})
		p := wirePipe(t, box)
		start := time.Now()
		p.send(t, wireFrame(wireFin|wirePing, nil))
		wireWantCloseAt(t, p.frames(), 4000, start)
		wireWantEnd(t, log.end(t), 4000, false)
		synctest.Wait()
		if took == 0 || took > 3*time.Second {
			t.Errorf("Close took %v, want at most CloseTimeout and a second", took)
		}
		log.want(t, nil, 0)
		p.Close()
		wireShutdown(t, box)
	})
}

func TestPingCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pongs := make(chan string, 10)
		box := wireBox(t, &Options{Accept: websocket.AcceptOptions{
			OnPingReceived: func(_ context.Context, p []byte) bool {
				if string(p) == "panic" {
					panic("in a callback")
				}
				return string(p) != "ignore"
			},
			OnPongReceived: func(_ context.Context, p []byte) { pongs <- string(p) },
		}})
		p := wirePipe(t, box)
		frames := p.frames()
		for _, payload := range []string{"ignore", "panic", "answer"} {
			p.send(t, wireFrame(wireFin|wirePing, []byte(payload)))
		}
		p.send(t, wireFrame(wireFin|wirePong, []byte("unasked")))
		synctest.Wait()
		if got := <-pongs; got != "unasked" {
			t.Errorf("OnPongReceived got %q, want \"unasked\"", got)
		}
		for f := range frames {
			if f.payload == "ignore" {
				t.Error("a ping was answered against the callback's wish")
			}
			if f.payload == "answer" {
				break
			}
		}
		p.Close()
		wireShutdown(t, box)
	})
}
