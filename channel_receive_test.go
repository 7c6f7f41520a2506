package wschannels_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// What channels of each type make of frames.
func TestReceiveTakesFramesOfItsType(t *testing.T) {
	const text, binary = websocket.MessageText, websocket.MessageBinary
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for _, tt := range []struct {
		name  string
		pt    wschannels.PayloadType
		frame websocket.MessageType
		data  string
		ok    bool
	}{
		{"JSON", wschannels.JSON, text, ` {"a":1} `, true},
		{"JSON scalar", wschannels.JSON, text, `null`, true},
		{"JSON in a binary frame", wschannels.JSON, binary, `[1]`, true},
		{"malformed JSON", wschannels.JSON, text, `{"a":`, false},
		{"trailing data", wschannels.JSON, text, `{"a":1} x`, false},
		{"two values", wschannels.JSON, text, `1 2`, false},
		{"no value", wschannels.JSON, text, ``, false},
		{"JSON nested too deeply", wschannels.JSON, text, deep, false},
		{"JSON in a binary frame, not UTF-8", wschannels.JSON, binary, "\"\xff\"", false},
		{"text", wschannels.Text, text, "hé", true},
		{"no text", wschannels.Text, text, "", true},
		{"binary frame on a Text channel", wschannels.Text, binary, "ok", false},
		{"bytes", wschannels.Bytes, binary, "\x00\xff", true},
		{"no bytes", wschannels.Bytes, binary, "", true},
		{"text frame on a Bytes channel", wschannels.Bytes, text, "ok", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: tt.pt})
				conn.Push(tt.frame, []byte(tt.data))
				m, err := c.Receive(t.Context())
				if tt.ok {
					if err != nil || string(m.Data) != tt.data || m.Type != tt.pt {
						t.Errorf("Receive = %v %q, %v; want %v %q", m.Type, m.Data, err, tt.pt, tt.data)
					}
					if m.ID != uuid.Nil || m.Group != "" || m.Seq != 0 || !m.Created.Equal(time.Now()) {
						t.Errorf("Receive = %+v, want no ID, group and Seq, and the time", m)
					}
					return
				}
				var bad *wschannels.PayloadError
				if !errors.As(err, &bad) || bad.Op != "decode" || bad.Type != tt.pt || string(bad.Data) != tt.data {
					t.Errorf("Receive = %#v, want a PayloadError of decoding with the data", err)
				}
				if m.Data != nil {
					t.Errorf("Receive returned %q beside the error", m.Data)
				}
				good := map[wschannels.PayloadType]websocket.MessageType{wschannels.JSON: text, wschannels.Text: text, wschannels.Bytes: binary}
				conn.Push(good[tt.pt], []byte(`1`))
				if m, err := c.Receive(t.Context()); err != nil || m.Text() != "1" {
					t.Errorf("the next Receive = %q, %v; want a usable channel", m.Data, err)
				}
			})
		})
	}
}

func TestTextThatIsNotUTF8Closes(t *testing.T) {
	for _, pt := range []wschannels.PayloadType{wschannels.JSON, wschannels.Text, wschannels.Bytes} {
		synctest.Test(t, func(t *testing.T) {
			c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: pt})
			conn.Push(websocket.MessageText, []byte("a\xff"))
			if _, err := c.Receive(t.Context()); websocket.CloseStatus(err) != websocket.StatusInvalidFramePayloadData {
				t.Errorf("%v: Receive = %v, want the end with 1007", pt, err)
			}
			chanClosedBy(t, c, websocket.StatusInvalidFramePayloadData, nil)
			if code, _, _ := conn.Closed(); code != websocket.StatusInvalidFramePayloadData {
				t.Errorf("%v: the peer saw %d, want 1007", pt, code)
			}
		})
	}
}

func TestReadLimit(t *testing.T) {
	for _, tt := range []struct{ limit, fits int64 }{{0, 64 << 10}, {10, 10}, {1, 1}} {
		synctest.Test(t, func(t *testing.T) {
			c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Bytes, ReadLimit: tt.limit})
			conn.Push(websocket.MessageBinary, make([]byte, tt.fits))
			if p, err := c.ReceiveBytes(t.Context()); err != nil || int64(len(p)) != tt.fits {
				t.Fatalf("limit %d: a message of it: %d bytes, %v", tt.limit, len(p), err)
			}
			conn.Push(websocket.MessageBinary, make([]byte, tt.fits+1))
			if _, err := c.Receive(t.Context()); !errors.Is(err, wschannels.ErrTooLarge) {
				t.Errorf("limit %d: one over it: %v, want ErrTooLarge", tt.limit, err)
			}
			chanClosedBy(t, c, websocket.StatusMessageTooBig, wschannels.ErrTooLarge)
			if code, _, _ := conn.Closed(); code != websocket.StatusMessageTooBig {
				t.Errorf("limit %d: the peer saw %d, want 1009", tt.limit, code)
			}
		})
	}
}

// A context bounds the wait; the message goes to the next call.
func TestReceiveGivesUpAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		for i := range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := c.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Receive = %v, want context.DeadlineExceeded", err)
			}
			conn.PushJSON(i)
			if i%2 == 0 {
				synctest.Wait()
			}
			if _, err := c.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Receive with an ended context = %v, want its error", err)
			}
			cancel()
			if m, err := c.Receive(t.Context()); err != nil || m.Text() != fmt.Sprint(i) {
				t.Fatalf("the next Receive = %q, %v; want %d", m.Data, err, i)
			}
		}
		chanIsOpen(t, c)
	})
}

func TestReceiveReturnsItsContextsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanOpen(t, nil)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if _, err := c.Receive(ctx); !errors.Is(err, cause) {
			t.Errorf("Receive = %v, want the cause", err)
		}
	})
}

func TestConcurrentReceivesGetEachMessageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, receivers = 500, 8
		c, conn := chanOpen(t, nil)
		var mu sync.Mutex
		seen := make(map[string]int)
		var wg sync.WaitGroup
		for range receivers {
			wg.Go(func() {
				for {
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					m, err := c.Receive(ctx)
					cancel()
					if errors.Is(err, wschannels.ErrClosed) {
						return
					}
					if err == nil {
						mu.Lock()
						seen[m.Text()]++
						mu.Unlock()
					}
				}
			})
		}
		for i := range messages {
			conn.PushJSON(i)
			if i%50 == 0 {
				time.Sleep(3 * time.Millisecond)
			}
		}
		conn.Hangup(websocket.StatusNormalClosure, "")
		wg.Wait()
		for i := range messages {
			if n := seen[fmt.Sprint(i)]; n != 1 {
				t.Errorf("message %d was received %d times", i, n)
			}
		}
	})
}

// What the peer sent before its close frame is received; then the end, for ever.
func TestReceiveUntilThePeerHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.PushJSON(1)
		conn.PushJSON(2)
		conn.Hangup(4321, "bye")
		for _, want := range []string{"1", "2"} {
			time.Sleep(time.Second)
			if m, err := c.Receive(t.Context()); err != nil || m.Text() != want {
				t.Fatalf("Receive = %q, %v; want %s", m.Data, err, want)
			}
		}
		for range 100 {
			_, err := c.Receive(t.Context())
			var end *wschannels.CloseError
			if !errors.As(err, &end) || end.Code != 4321 || end.Reason != "bye" || !end.Remote {
				t.Fatalf("Receive = %#v, want the peer's end", err)
			}
		}
	})
}

func TestEndsThatThePeerMakes(t *testing.T) {
	lost := errors.New("connection reset")
	for _, tt := range []struct {
		name  string
		end   func(*wschannelstest.Conn)
		code  websocket.StatusCode
		cause error
	}{
		{"close frame", func(conn *wschannelstest.Conn) { conn.Hangup(1001, "going") }, 1001, nil},
		{"empty close frame", func(conn *wschannelstest.Conn) { conn.Hangup(1005, "") }, 1005, nil},
		{"no close frame", func(conn *wschannelstest.Conn) { conn.Hangup(1006, "") }, 1006, nil},
		{"failed read", func(conn *wschannelstest.Conn) { conn.FailReads(lost) }, 1006, lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, conn := chanOpen(t, nil)
				tt.end(conn)
				chanClosedBy(t, c, tt.code, tt.cause)
				var end *wschannels.CloseError
				if errors.As(c.Err(), &end); !end.Remote {
					t.Errorf("Err() = %#v, want Remote", end)
				}
				if _, _, ok := conn.Closed(); !ok {
					t.Error("the connection was not closed")
				}
			})
		})
	}
}

func TestReceiveAsAType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.PushJSON(chanWithFields{A: 1, B: "b"})
		conn.PushJSON("text")
		conn.PushJSON([]int{1})
		var v chanWithFields
		if err := c.ReceiveJSON(t.Context(), &v); err != nil || v != (chanWithFields{1, "b"}) {
			t.Errorf("ReceiveJSON: %+v, %v", v, err)
		}
		if s, err := c.ReceiveText(t.Context()); err != nil || s != `"text"` {
			t.Errorf("ReceiveText = %q, %v", s, err)
		}
		if p, err := c.ReceiveBytes(t.Context()); err != nil || string(p) != `[1]` {
			t.Errorf("ReceiveBytes = %q, %v", p, err)
		}
		conn.Hangup(websocket.StatusNormalClosure, "")
		if err := c.ReceiveJSON(t.Context(), &v); !errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("ReceiveJSON at the end: %v", err)
		}
		if s, err := c.ReceiveText(t.Context()); s != "" || !errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("ReceiveText at the end = %q, %v", s, err)
		}
		if p, err := c.ReceiveBytes(t.Context()); p != nil || !errors.Is(err, wschannels.ErrClosed) {
			t.Errorf("ReceiveBytes at the end = %q, %v", p, err)
		}
	})
}

func TestReceiveJSONOfAnotherShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.Push(websocket.MessageText, []byte(`{"a":"no number"}`))
		var v chanWithFields
		err := c.ReceiveJSON(t.Context(), &v)
		var bad *wschannels.PayloadError
		var typ *json.UnmarshalTypeError
		if !errors.As(err, &bad) || bad.Op != "decode" || string(bad.Data) != `{"a":"no number"}` || !errors.As(err, &typ) {
			t.Errorf("ReceiveJSON = %#v, want a PayloadError of the wrong type", err)
		}
		chanIsOpen(t, c)
	})
}

func TestMessagesEndsQuietlyAfterANormalEnd(t *testing.T) {
	for code, quiet := range map[websocket.StatusCode]bool{1000: true, 1001: true, 1005: true, 1006: false, 1008: false, 4000: false} {
		synctest.Test(t, func(t *testing.T) {
			c, conn := chanOpen(t, nil)
			conn.PushJSON(1)
			conn.PushJSON(2)
			conn.Hangup(code, "")
			var got []string
			var last error
			for m, err := range c.Messages(t.Context()) {
				if last != nil {
					t.Errorf("%d: the loop went on after %v", code, last)
				}
				if last = err; err == nil {
					got = append(got, m.Text())
				}
			}
			if fmt.Sprint(got) != "[1 2]" {
				t.Errorf("%d: messages %v, want [1 2]", code, got)
			}
			if quiet && last != nil || !quiet && websocket.CloseStatus(last) != code {
				t.Errorf("%d: the last error is %v", code, last)
			}
		})
	}
}

func TestMessagesGoesOnAfterBadOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{MessageLimit: 2})
		conn.Push(websocket.MessageText, []byte("{"))
		conn.PushJSON(1)
		conn.PushJSON(2)
		conn.Hangup(websocket.StatusNormalClosure, "")
		var got []string
		for m, err := range c.Messages(t.Context()) {
			switch {
			case errors.As(err, new(*wschannels.PayloadError)):
				got = append(got, "bad")
			case errors.Is(err, wschannels.ErrRateLimited):
				got = append(got, "limited")
			default:
				got = append(got, m.Text())
			}
		}
		if fmt.Sprint(got) != "[bad 1 limited]" {
			t.Errorf("got %v, want [bad 1 limited]", got)
		}
	})
}

func TestMessagesOfAContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := 0
		for _, err := range c.Messages(ctx) {
			if n++; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want context.DeadlineExceeded", err)
			}
		}
		if n != 1 {
			t.Errorf("%d pairs, want the one of the ended context", n)
		}
		conn.PushJSON(1)
		conn.PushJSON(2)
		for range c.Messages(t.Context()) {
			break // leaves the channel open, and the second message to others
		}
		if m, err := c.Receive(t.Context()); err != nil || m.Text() != "2" {
			t.Errorf("Receive after leaving a loop = %q, %v; want 2", m.Data, err)
		}
	})
}
