package wschannels

import (
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
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"bufio"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

const fuzzLimit = 300

// fuzzFrame is a client's frame.
func fuzzFrame(first byte, payload string) []byte {
	b := inspectFrame(first, len(payload))
	mask := b[len(b)-len(payload)-4:]
	for i := range payload {
		mask[4+i] = payload[i] ^ mask[i%4]
	}
	return b
}

func fuzzSeeds() [][]byte {
	packed := fuzzDeflate("hello hello hello")
	return [][]byte{
		{},
		fuzzFrame(0x81, "hello"),
		fuzzFrame(0x82, string(make([]byte, 200))),
		bytes.Join([][]byte{fuzzFrame(0x01, "caf\xc3"), fuzzFrame(0x89, "ping"), fuzzFrame(0x80, "\xa9"), fuzzFrame(0x88, "\x03\xe8bye")}, nil),
		append(fuzzFrame(0xC1, packed), fuzzFrame(0x81, "plain")...),
		append(fuzzFrame(0x41, packed[:3]), fuzzFrame(0x80, packed[3:])...),
		append(fuzzFrame(0x82, "a"), 0x81, 0x00),
		append(fuzzFrame(0x88, ""), 0xFF, 0xFF, 0xFF),
		fuzzFrame(0x88, "\x03\xe8\xff"),
		fuzzFrame(0x88, "\x03\xed"),
		fuzzFrame(0x81, "\xff\xfe"),
		fuzzFrame(0x82, string(make([]byte, fuzzLimit+1))),
		{0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		bytes.Repeat(fuzzFrame(0x89, ""), 101),
		append(fuzzFrame(0x01, "x"), bytes.Repeat(fuzzFrame(0x00, ""), 101)...),
	}
}

func fuzzDeflate(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestSpeed)
	w.Write([]byte(s))
	w.Flush()
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff")))
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

// A fuzzConn is a peer that has said all it will, in pieces.
type fuzzConn struct {
	net.Conn
	mu     sync.Mutex
	in     []byte
	piece  int
	out    []byte
	closed bool
}

func (c *fuzzConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case len(c.in) == 0:
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.piece)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *fuzzConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, p...)
	return len(p), nil
}

func (c *fuzzConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *fuzzConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fuzzConn) SetWriteDeadline(time.Time) error { return nil }

type fuzzResponse struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (w *fuzzResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

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
		var got [][]byte
		faults := 0
		done := make(chan *CloseError, 1)
		h := box.HandlerWith(&ChannelOptions{PayloadType: Bytes, ReadLimit: fuzzLimit, Events: Events{
			OnMessage: func(_ context.Context, _ *Channel, m Message) error {
				got = append(got, m.Data)
				return nil
			},
			OnError: func(_ *Channel, err error) {
				var bad *PayloadError // a text frame, here
				if errors.As(err, &bad) {
					got = append(got, bad.Data)
				} else {
					faults++
				}
			},
			OnDisconnect: func(_ *Channel, err error) { done <- err.(*CloseError) },
		}}, nil)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
			"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
		if deflate {
			r.Header.Set("Sec-WebSocket-Extensions", "permessage-deflate; client_no_context_takeover")
		}
		conn := &fuzzConn{in: bytes.Clone(p), piece: 1 + int(piece)}
		h.ServeHTTP(&fuzzResponse{httptest.NewRecorder(), conn}, r)
		end := <-done

		want, code, remote := refMessages(p, deflate)
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("delivered %q, want %q", got, want)
		}
		if end.Code != code || end.Remote != remote {
			t.Errorf("the end is %v (Remote %v), want %d (%v)", end, end.Remote, code, remote)
		}
		if wantFaults := 1; remote && faults != 0 || !remote && faults != wantFaults {
			t.Errorf("OnError was told of %d faults; the end is %v", faults, end)
		}
		conn.mu.Lock()
		defer conn.mu.Unlock()
		if !conn.closed {
			t.Error("the connection was left open")
		}
		checkAnswers(t, conn.out, code)
	})
}

// checkAnswers expects pongs and, unless the connection was lost, one close frame with
// code, at the end.
func checkAnswers(t *testing.T, out []byte, code websocket.StatusCode) {
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

func FuzzQueue(f *testing.F) {
	f.Add(uint8(0), []byte{0, 1, 0, 1, 3, 0, 4, 0})
	f.Add(uint8(1), []byte{0, 3, 0, 3, 0, 3, 5, 1, 6, 0, 3, 0, 4, 0, 3, 0, 5, 4})
	f.Add(uint8(2), []byte{2, 64, 2, 135, 2, 7, 2, 200, 6, 0, 3, 0, 7, 0})
	f.Add(uint8(3), bytes.Repeat([]byte{0, 11, 3, 0, 2, 140, 6, 0, 4, 0}, 10))
	f.Fuzz(func(t *testing.T, limit uint8, program []byte) {
		if len(program) > 1000 {
			t.Skip("longer ones find no more, and take long")
		}
		synctest.Test(t, func(t *testing.T) {
			newQueueModel(t, queueLimits[int(limit)%len(queueLimits)]).run(program)
		})
	})
}

// What is compressed, also inside an envelope, inflates to what it was.
func FuzzDeflate(f *testing.F) {
	f.Add([]byte("hello hello hello hello hello hello"), uint64(1))
	f.Add(bytes.Repeat([]byte{0}, 70_000), uint64(0))
	f.Add([]byte(fuzzDeflate("hello hello")), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, data []byte, seq uint64) {
		d := deflate(data)
		if d == nil {
			return
		}
		r := frameReader{limits: &ChannelOptions{ReadLimit: 1 << 20}}
		got, err := r.inflate(slices.Clone(d[:len(d)-len(emptyBlock)]))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes became %d, %v", len(data), len(got), err)
		}
		at := place{prefix: placePrefix("group", "epoch"), seq: seq}
		if seq == 0 {
			at = place{}
		}
		id := uuid.New()
		want := envelope(at, id, data)
		packed, head := envelopeDeflated(at, id, d)
		got, err = r.inflate(packed)
		if err != nil || !bytes.Equal(got, want) || head+len(data) != len(want) {
			t.Fatalf("the envelope became %d bytes of %d, %v", len(got), len(want), err)
		}
	})
}
