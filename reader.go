package wschannels

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// A frameReader makes messages of a client's frames (RFC 6455 sections 5 and 6.2).
// What it reads passes an inspector first, so that nothing it parses breaks a rule.
// It answers control frames through the queue, and never waits for the peer to read.
// One goroutine at a time uses it, but for nextPong.
type frameReader struct {
	conn      net.Conn
	queue     *queue
	limits    *ChannelOptions
	alive     func()                   // something came
	callbacks *websocket.AcceptOptions // OnPingReceived and OnPongReceived

	early    *bytes.Reader // what came together with the handshake, until it is read
	inspect  inspector
	deadline time.Time   // the read deadline that is set
	end      *CloseError // why nothing more is read

	buf        [128]byte // small: every idle connection has one. Long payloads bypass it
	start, fit uint8     // buf[start:fit] is inspected and yet to be parsed

	context *deflateContext // if not nil: compressed messages refer to those before

	mu   sync.Mutex    // guards pong
	pong chan struct{} // if not nil: closed by the next pong
}

// receive returns the next message.
func (r *frameReader) receive() (websocket.MessageType, []byte, *CloseError) {
	r.inspect.resume(time.Now())
	var typ websocket.MessageType
	var compressed bool // of the inspector, which is ahead, it would be another message's
	var p []byte
	for {
		h, err := r.header()
		if err != nil {
			return 0, nil, err
		}
		if h.op&0x8 != 0 {
			if err := r.control(h); err != nil {
				return 0, nil, r.ends(err)
			}
			continue
		}
		if h.op != opContinuation {
			typ, compressed = websocket.MessageType(h.op), h.rsv1
		}
		if p, err = r.payload(p, h); err != nil {
			return 0, nil, err
		}
		if !h.fin {
			continue
		}
		if compressed {
			if p, err = r.inflate(p); err != nil {
				return 0, nil, r.ends(err)
			}
		}
		if err := checkUTF8(typ, p); err != nil {
			return 0, nil, r.ends(err)
		}
		r.inspect.pause(time.Now())
		return typ, p, nil
	}
}

// drain reads to the end, whatever it is.
func (r *frameReader) drain() *CloseError {
	for r.end == nil {
		_, _, _ = r.receive()
	}
	return r.end
}

func (r *frameReader) ends(err *CloseError) *CloseError {
	r.end = err
	return err
}

// A frameHeader is RFC 6455 section 5.2 without what the inspector has checked.
type frameHeader struct {
	fin    bool
	rsv1   bool // of a message's first frame: it is compressed (RFC 7692 section 6)
	op     byte
	length int64
	mask   [4]byte
}

func (r *frameReader) header() (h frameHeader, err *CloseError) {
	b, err := r.next(2)
	if err != nil {
		return h, err
	}
	h.fin, h.rsv1, h.op = b[0]&bitFin != 0, b[0]&bitRSV1 != 0, b[0]&0xF
	switch h.length = int64(b[1] &^ bitMask); h.length {
	case 126:
		if b, err = r.next(2); err != nil {
			return h, err
		}
		h.length = int64(binary.BigEndian.Uint16(b))
	case 127:
		if b, err = r.next(8); err != nil {
			return h, err
		}
		h.length = int64(binary.BigEndian.Uint64(b))
	}
	if b, err = r.next(4); err == nil {
		h.mask = [4]byte(b)
	}
	return h, err
}

// next returns the next n inspected bytes, a few, until the next call.
func (r *frameReader) next(n int) ([]byte, *CloseError) {
	for int(r.fit-r.start) < n {
		r.fit = uint8(copy(r.buf[:], r.buf[r.start:r.fit]))
		r.start = 0
		more, err := r.read(r.buf[r.fit:])
		if err != nil {
			return nil, err
		}
		r.fit += uint8(more)
	}
	b := r.buf[r.start:][:n]
	r.start += uint8(n)
	return b, nil
}

// payload appends a data frame's payload to p. Memory follows what really came, not
// what the header announced.
func (r *frameReader) payload(p []byte, h frameHeader) ([]byte, *CloseError) {
	first := len(p)
	for rest := h.length; rest > 0; {
		n := int(min(rest, int64(max(4<<10, len(p)))))
		p = slices.Grow(p, n) // more than asked, for the next fragment
		chunk := p[len(p) : len(p)+n]
		if err := r.full(chunk); err != nil {
			return nil, err
		}
		p = p[:len(p)+n]
		rest -= int64(n)
	}
	unmask(p[first:], h.mask)
	if p == nil {
		p = []byte{}
	}
	return p, nil
}

// control answers a control frame (RFC 6455 section 5.5).
func (r *frameReader) control(h frameHeader) *CloseError {
	var b [maxControl]byte
	p := b[:h.length]
	if err := r.full(p); err != nil {
		return err
	}
	unmask(p, h.mask)
	switch h.op {
	case opPing:
		if on := r.callbacks.OnPingReceived; on == nil || on(context.Background(), p) {
			r.queue.control(false, controlFrame(opPong, p))
		}
	case opPong:
		if on := r.callbacks.OnPongReceived; on != nil {
			on(context.Background(), p)
		}
		r.ponged()
	case opClose:
		return r.closed(p)
	}
	return nil
}

// closed answers a close frame and returns the end that it makes.
func (r *frameReader) closed(p []byte) *CloseError {
	ce := websocket.CloseError{Code: websocket.StatusNoStatusRcvd}
	if len(p) == 1 {
		return violation("bad close frame")
	}
	if len(p) > 1 {
		ce.Code, ce.Reason = websocket.StatusCode(binary.BigEndian.Uint16(p)), string(p[2:])
		if !sendable(ce.Code) {
			return violation("bad close code")
		}
	}
	end := peerClosed(ce)
	if end.Remote {
		r.queue.finish(&farewell{wire: controlFrame(opClose, p[:min(2, len(p))])}) // section 5.5.1: the code, echoed
	}
	return end
}

// full fills p with inspected bytes.
func (r *frameReader) full(p []byte) *CloseError {
	for len(p) > 0 {
		n := copy(p, r.buf[r.start:r.fit])
		r.start += uint8(n)
		p = p[n:]
		if len(p) == 0 {
			break
		}
		if len(p) >= len(r.buf) { // all of it payload of one frame
			n, err := r.read(p)
			if err != nil {
				return err
			}
			p = p[n:]
			continue
		}
		n, err := r.read(r.buf[:])
		if err != nil {
			return err
		}
		r.start, r.fit = 0, uint8(n)
	}
	return nil
}

// read reads what has come into p, and returns how much of it keeps the rules: at
// least one byte, or an error.
func (r *frameReader) read(p []byte) (n int, end *CloseError) {
	var err error
	for n == 0 {
		switch {
		case r.end != nil:
			return 0, r.end
		case r.early != nil:
			n, _ = r.early.Read(p) // from memory
			if r.early.Len() == 0 {
				r.early = nil
			}
		default:
			r.setDeadline()
			n, err = r.conn.Read(p)
		}
		if n > 0 {
			r.alive()
			n, r.end = r.inspect.scan(p[:n])
		} else if err != nil && !r.overslept(err) {
			r.end = r.whyLost(err)
		}
	}
	return n, nil
}

// overslept reports whether err is that of a deadline which passed while this process
// did not run. The peer may have kept it, and gets the whole time once more.
func (r *frameReader) overslept(err error) bool {
	now := time.Now()
	if !errors.Is(err, os.ErrDeadlineExceeded) || r.deadline.IsZero() || now.Sub(r.deadline) < late {
		return false
	}
	r.inspect.began = now
	return true
}

// setDeadline bounds the time from a message's first byte to its last.
func (r *frameReader) setDeadline() {
	var want time.Time
	if r.inspect.busy() {
		want = r.inspect.began.Add(r.limits.ReadTimeout)
	}
	if !want.Equal(r.deadline) {
		r.deadline = want
		_ = r.conn.SetReadDeadline(want) // fails only on a closed connection
	}
}

func (r *frameReader) whyLost(err error) *CloseError {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return readTimedOut()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return &CloseError{Code: websocket.StatusAbnormalClosure, Remote: true, Err: err}
}

// nextPong returns a channel that the next pong closes.
func (r *frameReader) nextPong() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pong == nil {
		r.pong = make(chan struct{})
	}
	return r.pong
}

func (r *frameReader) ponged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pong != nil {
		close(r.pong)
		r.pong = nil
	}
}

// unmask removes the mask of RFC 6455 section 5.3.
func unmask(p []byte, mask [4]byte) {
	m := uint64(binary.LittleEndian.Uint32(mask[:]))
	m |= m << 32
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^m)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= mask[i&3]
	}
}
