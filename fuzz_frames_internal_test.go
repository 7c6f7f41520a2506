package wschannels

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// FuzzFrames compares a channel with what RFC 6455 says of the same bytes.
func FuzzFrames(f *testing.F) {
	for i, p := range fuzzSeeds() {
		f.Add(p, uint8(i*7), i%2 == 0)
		f.Add(p, uint8(0), i%2 == 1)
	}
	box, err := New(&Options{Accept: websocket.AcceptOptions{CompressionMode: websocket.CompressionNoContextTakeover}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte, piece uint8, deflate bool) {
		heard := newFuzzHeard()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
			"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
		if deflate {
			r.Header.Set("Sec-WebSocket-Extensions", "permessage-deflate; client_no_context_takeover")
		}
		conn := &fuzzConn{in: bytes.Clone(p), piece: 1 + int(piece)}
		box.HandlerWith(heard.options(), nil).ServeHTTP(&fuzzResponse{httptest.NewRecorder(), conn}, r)
		<-heard.ended
		out, closed := conn.answers()
		if !closed {
			t.Error("the connection was left open")
		}
		heard.check(t, p, deflate, out)
	})
}

// A fuzzHeard is what became of a channel in event mode.
type fuzzHeard struct {
	request  *http.Request
	messages [][]byte
	faults   int
	end      *CloseError
	ended    chan struct{}
}

func newFuzzHeard() *fuzzHeard { return &fuzzHeard{ended: make(chan struct{})} }

func (h *fuzzHeard) options() *ChannelOptions {
	return &ChannelOptions{PayloadType: Bytes, ReadLimit: fuzzLimit, Events: Events{
		OnConnect: func(_ context.Context, c *Channel) error {
			h.request = c.Request()
			return nil
		},
		OnMessage: func(_ context.Context, _ *Channel, m Message) error {
			h.messages = append(h.messages, m.Data)
			return nil
		},
		OnError: func(_ *Channel, err error) {
			var bad *PayloadError // a text frame, here
			if errors.As(err, &bad) {
				h.messages = append(h.messages, bad.Data)
			} else {
				h.faults++
			}
		},
		OnDisconnect: func(_ *Channel, err error) {
			h.end = err.(*CloseError)
			close(h.ended)
		},
	}}
}

// check compares it, once ended, with what RFC 6455 says of the bytes p of the peer,
// and so what it was answered.
func (h *fuzzHeard) check(t *testing.T, p []byte, deflate bool, out []byte) {
	t.Helper()
	want, code, remote := refMessages(p, deflate)
	if !slices.EqualFunc(h.messages, want, bytes.Equal) {
		t.Errorf("delivered %q, want %q", h.messages, want)
	}
	if h.end.Code != code || h.end.Remote != remote {
		t.Errorf("the end is %v (Remote %v), want %d (%v)", h.end, h.end.Remote, code, remote)
	}
	if remote && h.faults != 0 || !remote && h.faults != 1 {
		t.Errorf("OnError was told of %d faults; the end is %v", h.faults, h.end)
	}
	checkAnswers(t, out, code)
}

// checkAnswers expects pongs and, unless the connection was lost, one close frame with
// code, at the end.
func checkAnswers(t *testing.T, out []byte, code websocket.StatusCode) {
	t.Helper()
	for len(out) > 0 && out[0] == 0x8A {
		out = out[2+int(out[1]):]
	}
	switch {
	case code == 1006:
		if len(out) > 0 {
			t.Errorf("after the connection was lost, % x was sent", out)
		}
	case len(out) < 2 || out[0] != 0x88 || len(out) != 2+int(out[1]):
		t.Errorf("the last that was sent is % x, want a close frame", out)
	case code == 1005:
		if len(out) != 2 {
			t.Errorf("an empty close frame was answered with % x", out)
		}
	case len(out) < 4 || websocket.StatusCode(out[2])<<8|websocket.StatusCode(out[3]) != code:
		t.Errorf("close frame % x, want code %d", out, code)
	}
}

func FuzzInspector(f *testing.F) {
	for i, p := range fuzzSeeds() {
		f.Add(p, []byte{1, byte(i), 3}, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, p, pieces []byte, deflate bool) {
		want, wantCode := refInspect(p, fuzzLimit, deflate)
		i := 0
		in := inspector{limit: fuzzLimit, deflate: deflate}
		got, code := inspectInPieces(&in, p, func() int {
			if len(pieces) == 0 {
				return len(p)
			}
			i++
			return int(pieces[i%len(pieces)])
		})
		if code != wantCode || got < want {
			t.Errorf("%d bytes fit, code %d; want %d, %d", got, code, want, wantCode)
		}
	})
}

type fuzzResponse struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (w *fuzzResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// refMessages is what a peer's bytes mean: the messages, and how the channel ends.
func refMessages(p []byte, deflate bool) (messages [][]byte, code websocket.StatusCode, remote bool) {
	fit, breach := refInspect(p, fuzzLimit, deflate)
	var message []byte
	var first byte
	for p = p[:fit]; ; {
		b, payload, rest, ok := refFrame(p)
		if !ok {
			break
		}
		p = rest
		switch op := b & 15; {
		case op == 8:
			code, remote := refClose(payload)
			return messages, code, remote
		case op > 8:
			continue
		case op != 0:
			first, message = b, []byte{}
		}
		if message = append(message, payload...); b>>7 == 0 {
			continue
		}
		if first>>6&1 == 1 {
			tail := "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
			out, err := io.ReadAll(io.LimitReader(flate.NewReader(io.MultiReader(bytes.NewReader(message), bytes.NewReader([]byte(tail)))), fuzzLimit+1))
			switch {
			case err != nil:
				return messages, 1007, false
			case len(out) > fuzzLimit:
				return messages, 1009, false
			}
			message = out
		}
		if first&15 == 1 && !utf8.Valid(message) {
			return messages, 1007, false
		}
		messages = append(messages, message)
	}
	if breach != 0 {
		return messages, breach, false
	}
	return messages, 1006, true
}

// refFrame splits the first frame off p, which keeps the rules; ok is false if it is
// not all there.
func refFrame(p []byte) (first byte, payload, rest []byte, ok bool) {
	if len(p) < 2 {
		return 0, nil, nil, false
	}
	head, n := 6, uint64(p[1]&127)
	switch n {
	case 126:
		head = 8
	case 127:
		head = 14
	}
	if len(p) < head {
		return 0, nil, nil, false
	}
	switch n {
	case 126:
		n = uint64(binary.BigEndian.Uint16(p[2:]))
	case 127:
		n = binary.BigEndian.Uint64(p[2:])
	}
	if uint64(len(p)-head) < n {
		return 0, nil, nil, false
	}
	for i, c := range p[head : head+int(n)] {
		payload = append(payload, c^p[head-4+i%4])
	}
	return p[0], payload, p[head+int(n):], true
}

func refClose(p []byte) (code websocket.StatusCode, remote bool) {
	switch {
	case len(p) == 0:
		return 1005, true
	case len(p) == 1:
		return 1002, false
	}
	code = websocket.StatusCode(p[0])<<8 | websocket.StatusCode(p[1])
	switch {
	case code < 1000, code > 1014 && code < 3000, code > 4999, code == 1004, code == 1005, code == 1006:
		return 1002, false
	case !utf8.Valid(p[2:]):
		return 1007, false
	}
	return code, true
}
