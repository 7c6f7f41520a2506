package wschannels_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
)

func TestCloseErrorMatches(t *testing.T) {
	cause := &wschannels.CloseError{Code: 1006, Err: io.ErrUnexpectedEOF}
	for _, tt := range []struct {
		name   string
		err    error
		target error
		want   bool
	}{
		{"ErrClosed", &wschannels.CloseError{Code: 1000}, wschannels.ErrClosed, true},
		{"wrapped", fmt.Errorf("join: %w", &wschannels.CloseError{Code: 1013}), wschannels.ErrClosed, true},
		{"its cause", cause, io.ErrUnexpectedEOF, true},
		{"a cause of another", cause, io.EOF, false},
		{"no cause", &wschannels.CloseError{Code: 4003}, wschannels.ErrExpired, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := errors.Is(tt.err, tt.target); got != tt.want {
				t.Errorf("errors.Is(%v, %v) = %v, want %v", tt.err, tt.target, got, tt.want)
			}
		})
	}
}

func TestCloseStatusUnderstandsCloseError(t *testing.T) {
	err := fmt.Errorf("wrapped: %w", &wschannels.CloseError{Code: 4321, Reason: "why"})
	if got := websocket.CloseStatus(err); got != 4321 {
		t.Errorf("websocket.CloseStatus = %d, want 4321", got)
	}
	var ce websocket.CloseError
	if !errors.As(err, &ce) || ce.Reason != "why" {
		t.Errorf("errors.As gave %v, want the reason, too", ce)
	}
}

// The text goes to logs: what a peer chose is quoted.
func TestErrorTextsQuoteWhatIsUntrusted(t *testing.T) {
	evil := "x\nlevel=ERROR msg=forged"
	for _, err := range []error{
		&wschannels.CloseError{Code: 4000, Reason: evil, Remote: true},
		&wschannels.PanicError{Value: evil},
		&wschannels.PanicError{Value: errors.New(evil)},
	} {
		if s := err.Error(); strings.Contains(s, "\n") || !strings.Contains(s, `x\nlevel`) {
			t.Errorf("%T.Error() = %q, want the text quoted", err, s)
		}
	}
	if s := (&wschannels.CloseError{Code: 4000, Err: io.EOF}).Error(); !strings.Contains(s, "4000") || !strings.Contains(s, "EOF") {
		t.Errorf("Error() = %q, want code and cause", s)
	}
	if _, err := wschannels.ParsePayloadType(evil); strings.Contains(err.Error(), "\n") {
		t.Errorf("ParsePayloadType: %q, want the text quoted", err)
	}
}

func TestPanicErrorUnwrapsErrors(t *testing.T) {
	if err := error(&wschannels.PanicError{Value: io.EOF}); !errors.Is(err, io.EOF) {
		t.Error("a panic with an error does not match it")
	}
	if err := error(&wschannels.PanicError{Value: "EOF"}); errors.Unwrap(err) != nil {
		t.Error("a panic with a string unwraps to something")
	}
}

// A PayloadError is what a client can be answered with.
func TestPayloadErrorAsAnAnswer(t *testing.T) {
	decode := func(data string, v any) error {
		return wschannels.Message{Data: []byte(data)}.Decode(v)
	}
	for _, tt := range []struct {
		name    string
		err     error
		details string
	}{
		{"malformed", decode(`{"a" 1}`, new(any)), "not JSON: error at byte 6"},
		{"wrong type", decode(`{"a":"x"}`, new(chanWithFields)), "a: unexpected string"},
		{"wrong type at the top", decode(`"x"`, new(chanWithFields)), "unexpected string"},
		{"a number out of range", decode(`{"a":1e99}`, new(chanWithFields)), "a: unexpected number"},
		{"validation", &wschannels.PayloadError{Op: "validate", Err: errChanInvalid}, errChanInvalid.Error()},
		{"panic", &wschannels.PayloadError{Op: "validate", Err: &wschannels.PanicError{Value: "secret"}}, "validate failed"},
		{"nothing", &wschannels.PayloadError{Op: "decode"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			details, _ := json.Marshal(tt.details)
			want := `{"error":"Invalid message format","details":` + string(details) + `}`
			if p, err := json.Marshal(tt.err); err != nil || string(p) != want {
				t.Errorf("marshalled: %s, %v; want %s", p, err, want)
			}
		})
	}
}

// A handler that answers with the error sends exactly that.
func TestPayloadErrorIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.Push(websocket.MessageText, []byte(`{`))
		_, err := c.Receive(t.Context())
		if err := c.Send(t.Context(), err); err != nil {
			t.Fatal(err)
		}
		chanWants(t, conn, `{"error":"Invalid message format","details":"not JSON: error at byte 1"}`)
	})
}

// Each way to end has its sentinel, which every later call returns.
func TestEveryEndHasItsCause(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name  string
		opts  wschannels.ChannelOptions
		code  websocket.StatusCode
		cause error
	}{
		{name: "TTL", opts: wschannels.ChannelOptions{TTL: time.Second}, code: 4003, cause: wschannels.ErrExpired},
		{name: "heartbeat", opts: wschannels.ChannelOptions{Heartbeat: time.Second}, code: 4000, cause: wschannels.ErrStale},
		{name: "authentication", opts: wschannels.ChannelOptions{Authenticator: chanAuthenticator}, code: 4001, cause: wschannels.ErrUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := chanOpenMute(t, &tt.opts)
				chanSleep(time.Minute)
				chanClosedBy(t, c, tt.code, tt.cause)
				_, received := c.Receive(t.Context())
				for name, err := range map[string]error{
					"Send": c.Send(t.Context(), 1), "Receive": received, "Flush": c.Flush(t.Context()),
					"Context": context.Cause(c.Context()),
				} {
					if !errors.Is(err, tt.cause) || !errors.Is(err, wschannels.ErrClosed) || websocket.CloseStatus(err) != tt.code {
						t.Errorf("%s: %v, want %d for %v", name, err, tt.code, tt.cause)
					}
				}
			})
		})
	}
	t.Run("slow member", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			group, err := wschannels.NewGroup("g", nil)
			if err != nil {
				t.Fatal(err)
			}
			c, conn := chanOpen(t, &wschannels.ChannelOptions{QueueBytes: 4})
			if _, err := group.Add(c); err != nil {
				t.Fatal(err)
			}
			conn.Stall()
			for range 3 {
				if _, err := group.Send(t.Context(), 1234, nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			chanClosedBy(t, c, wschannels.StatusSlowConsumer, wschannels.ErrSlowConsumer)
		})
	})
	for _, way := range []string{"FailReads", "FailWrites"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, conn := chanOpen(t, nil)
				if way == "FailReads" {
					conn.FailReads(broken)
				} else {
					conn.FailWrites(broken)
					_ = c.Send(t.Context(), 1)
				}
				chanClosedBy(t, c, websocket.StatusAbnormalClosure, broken)
			})
		})
	}
}

// By value or by pointer, a PayloadError shows the peer no more than it should.
func TestPayloadErrorMarshalsAlike(t *testing.T) {
	e := wschannels.PayloadError{Op: "validate", Data: []byte("secret"), Err: errors.New("n: too small")}
	const want = `{"error":"Invalid message format","details":"n: too small"}`
	for _, v := range []any{e, &e} {
		if p, err := json.Marshal(v); string(p) != want || err != nil {
			t.Errorf("%T: %s, %v; want %s", v, p, err, want)
		}
	}
}
