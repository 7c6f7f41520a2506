package wschannels

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// An ownedConn is the link over a connection that a box accepted. It stands between
// the network and coder/websocket: that library does the handshake, reads messages
// and answers control frames; what it reads is inspected first, what it writes
// (control frames only) goes through the channel's queue, and data frames are
// written here, many at a time.
type ownedConn struct {
	net.Conn
	ws     *websocket.Conn
	queue  *queue
	limits limits
	alive  func() // something came from the peer

	// Used by the one goroutine that reads.
	early    []byte // what came together with the handshake
	inspect  inspector
	deadline time.Time   // the read deadline that is set
	end      *CloseError // why nothing more is read

	stopped atomic.Bool // no more reading through ws
	aborted atomic.Bool
}

// accept performs the handshake. On an error the response has been written.
func accept(w http.ResponseWriter, r *http.Request, opts *websocket.AcceptOptions, l limits) (*ownedConn, error) {
	o := &ownedConn{limits: l, inspect: inspector{limit: l.message}}
	ws, err := websocket.Accept(&hijackWriter{ResponseWriter: w, conn: o}, r, opts)
	if err != nil {
		if o.Conn != nil {
			_ = o.Conn.Close()
		}
		return nil, err
	}
	ws.SetReadLimit(l.message)
	o.ws = ws
	o.inspect.deflate = w.Header().Get("Sec-WebSocket-Extensions") != ""
	return o, nil
}

// A hijackWriter hands coder/websocket our connection in place of net/http's, and
// small buffers: they only see headers, control frames and short messages.
type hijackWriter struct {
	http.ResponseWriter
	conn *ownedConn
}

func (w *hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if g, ok := w.ResponseWriter.(interface{ WriteHeaderNow() }); ok {
		g.WriteHeaderNow() // gin's writer holds the 101 back until then
	}
	conn, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := brw.Reader.Buffered(); n > 0 {
		p, _ := brw.Reader.Peek(n)
		w.conn.early = append([]byte(nil), p...)
	}
	w.conn.Conn = conn
	return w.conn, bufio.NewReadWriter(bufio.NewReaderSize(w.conn, 512), bufio.NewWriterSize(w.conn, 2*maxControl)), nil
}

// Read is for coder/websocket: bytes of the peer, as far as they keep the rules.
func (o *ownedConn) Read(p []byte) (n int, err error) {
	switch {
	case o.end != nil:
		return 0, o.end
	case o.stopped.Load():
		return 0, net.ErrClosed
	case len(o.early) > 0:
		n = copy(p, o.early)
		if o.early = o.early[n:]; len(o.early) == 0 {
			o.early = nil
		}
	default:
		o.setReadDeadline()
		n, err = o.Conn.Read(p)
	}
	if n > 0 {
		o.alive()
		n, o.end = o.inspect.scan(p[:n])
		if n > 0 {
			return n, nil // an error comes back with the next call
		}
	} else if err != nil {
		o.end = o.whyLost(err)
	}
	if o.end == nil {
		return 0, nil
	}
	return 0, o.end // never a bare io.EOF: in mid-message it would pass for its end
}

// setReadDeadline bounds the time from a message's first byte to its last.
func (o *ownedConn) setReadDeadline() {
	var want time.Time
	if o.inspect.busy() {
		want = o.inspect.began.Add(o.limits.readTimeout)
	}
	if !want.Equal(o.deadline) {
		o.deadline = want
		_ = o.Conn.SetReadDeadline(want) // fails only on a closed connection
	}
}

func (o *ownedConn) whyLost(err error) *CloseError {
	if errors.Is(err, os.ErrDeadlineExceeded) && o.inspect.busy() && !o.stopped.Load() {
		return readTimedOut()
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return &CloseError{Code: websocket.StatusAbnormalClosure, Remote: true, Err: err}
}

// Write is for coder/websocket, which only writes control frames, each in one call.
// They are queued: a peer that does not read must not hold up the reader.
func (o *ownedConn) Write(p []byte) (int, error) {
	frame := append([]byte(nil), p...)
	switch frame[0] & 0xF {
	case opPing:
		o.queue.control(frame, nil)
	case opPong:
		o.queue.control(nil, frame)
	case opClose:
		if len(frame) > 4 && !utf8.Valid(frame[4:]) { // the peer's reason, echoed
			frame = controlFrame(opClose, closePayload(websocket.StatusInvalidFramePayloadData, ""))
		}
		o.queue.finish(&farewell{wire: frame})
	default:
		return 0, errors.New("wschannels: data frame past the queue")
	}
	return len(p), nil
}

// Close is for coder/websocket, when it has had enough. What is queued, such as its
// close frame, is yet to be written: the channel closes the connection.
func (o *ownedConn) Close() error {
	o.stopped.Store(true)
	return o.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (o *ownedConn) receive() (websocket.MessageType, []byte, *CloseError) {
	typ, r, err := o.ws.Reader(context.Background()) // one that ends would break the connection
	if err != nil {
		return 0, nil, o.whyEnded(err)
	}
	p, err := o.readAll(r)
	if err != nil {
		return 0, nil, o.whyEnded(err)
	}
	if err := checkUTF8(typ, p); err != nil {
		o.end = err
		return 0, nil, err
	}
	return typ, p, nil
}

// readAll reads a message into a slice that fits. What a header announces is
// believed up to 4 KiB: memory follows what really came.
func (o *ownedConn) readAll(r io.Reader) ([]byte, error) {
	p := make([]byte, 0, min(o.inspect.size, 4<<10)+1)
	for {
		n, err := r.Read(p[len(p):cap(p)])
		p = p[:len(p)+n]
		switch {
		case err == io.EOF:
			return p, nil
		case err != nil:
			return nil, err
		case len(p) == cap(p):
			p = append(p, 0)[:len(p)]
		}
	}
}

// whyEnded turns an error of coder/websocket into the channel's end.
func (o *ownedConn) whyEnded(err error) *CloseError {
	var ce websocket.CloseError
	switch {
	case o.end != nil:
	case errors.As(err, &ce):
		o.end = peerClosed(ce)
	case errors.Is(err, websocket.ErrMessageTooBig):
		o.end = tooLarge(o.limits.message)
	default:
		// The bytes kept the rules of framing: what is left is a bad close frame,
		// or bad compressed data.
		o.end = violation("bad close frame or compressed data")
		o.end.Err = err
	}
	return o.end
}

func (o *ownedConn) discard() (answered bool) {
	defer o.release()
	for o.end == nil {
		_, _, _ = o.receive()
	}
	if o.end.Remote {
		return o.end.Code != websocket.StatusAbnormalClosure
	}
	// The peer's frames make no sense any more, or are too much. Closing now, with
	// bytes unread, would reset the connection and might destroy the close frame
	// on its way.
	_ = o.Conn.SetReadDeadline(time.Now().Add(o.limits.closeTimeout))
	_, _ = io.Copy(io.Discard, o.Conn)
	return false
}

// release lets go of coder/websocket's part, whose finalizer does not.
func (o *ownedConn) release() { _ = o.ws.CloseNow() }

func (o *ownedConn) transmit(b *batch) (int, error) {
	out := buffers.Get().(*[]byte)
	defer func() {
		*out = (*out)[:0]
		if cap(*out) <= 2*maxBatch {
			buffers.Put(out)
		}
	}()
	p := append(append(*out, b.ping...), b.pong...)
	ahead := len(p)
	_ = o.Conn.SetWriteDeadline(time.Now().Add(o.limits.writeTimeout)) // a failure shows in the write

	var n int64
	var err error
	if len(b.frames) == 1 && len(b.frames[0].payload) > maxBatch/4 {
		f := b.frames[0]
		p = append(p, f.header[:f.hlen]...)
		parts := net.Buffers{p, f.payload}
		if b.farewell != nil {
			parts = append(parts, b.farewell.wire)
		}
		n, err = parts.WriteTo(o.Conn)
	} else {
		for _, f := range b.frames {
			p = f.appendTo(p)
		}
		if b.farewell != nil {
			p = append(p, b.farewell.wire...)
		}
		var m int
		m, err = o.Conn.Write(p)
		n = int64(m)
	}
	*out = p
	if err == nil {
		return len(b.frames), nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errWriteTimeout
	}
	return wholeFrames(b.frames, n-int64(ahead)), err
}

// wholeFrames is how many frames n bytes hold.
func wholeFrames(frames []*frame, n int64) int {
	for i, f := range frames {
		if n -= int64(f.hlen) + int64(len(f.payload)); n < 0 {
			return i
		}
	}
	return len(frames)
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (o *ownedConn) abort() {
	if o.aborted.CompareAndSwap(false, true) {
		_ = o.Conn.Close()
	}
}

func (o *ownedConn) readsAnswer() bool  { return true }
func (o *ownedConn) farewellErr() error { return nil }
