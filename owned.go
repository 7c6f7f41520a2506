package wschannels

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/coder/websocket"
)

// An ownedConn is the link over a connection that a box accepted. coder/websocket
// does the handshake: who may connect, subprotocols and compression are its business.
// After it the connection is ours: a frameReader reads it, and what is queued is
// written here, many frames at a time.
type ownedConn struct {
	in          frameReader
	subprotocol string
	broken      atomic.Bool // no write can follow: one has failed, or hangUp was called
	aborted     atomic.Bool
}

// accept performs the handshake. On an error the response has been written.
func accept(w http.ResponseWriter, r *http.Request, opts *websocket.AcceptOptions, limits *ChannelOptions) (*ownedConn, error) {
	if err := checkHandshake(r); err != nil {
		w.Header().Set("Connection", "close") // of a body, read nothing
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, err
	}
	hw := &hijackWriter{ResponseWriter: w}
	if hijackable(w) {
		w = hw
	}
	ws, err := websocket.Accept(w, r, opts) // 501 if it is not
	if err != nil {
		if hw.conn != nil {
			_ = hw.conn.Close()
		}
		return nil, err
	}
	o := &ownedConn{subprotocol: ws.Subprotocol()}
	o.in = frameReader{
		conn: hw.conn, early: hw.early, limits: limits, callbacks: opts,
		inspect: inspector{limit: limits.ReadLimit},
	}
	if ext := w.Header().Get("Sec-WebSocket-Extensions"); ext != "" {
		o.in.inspect.deflate = true
		if !strings.Contains(ext, "client_no_context_takeover") {
			o.in.context = new(deflateContext)
		}
	}
	_ = ws.CloseNow() // it has done its work, and would never be collected
	return o, nil
}

// checkHandshake refuses what RFC 6455 section 4.2.1 does not allow and websocket.Accept
// does: it takes a body for frames, the first of several values, letters that are ASCII
// only after folding, and the origin "null" as that of a request without Host.
func checkHandshake(r *http.Request) error {
	switch {
	case r.Method != http.MethodGet:
		return nil // it knows a better status
	case r.ContentLength != 0:
		// It would come before the first frame (RFC 9110 section 7.8), and net/http would
		// wait for it, or leave it to be read as frames.
		return errors.New("wschannels: a handshake has no body")
	case r.Host == "" && r.Header.Get("Origin") != "":
		return errors.New("wschannels: a handshake has a Host")
	}
	for _, name := range []string{"Sec-Websocket-Version", "Sec-Websocket-Key", "Origin"} {
		if len(r.Header[name]) > 1 {
			return fmt.Errorf("wschannels: a handshake has one %s", name)
		}
	}
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Key", "Origin"} {
		for _, v := range r.Header[name] {
			if strings.ContainsFunc(v, func(c rune) bool { return c > unicode.MaxASCII }) {
				return fmt.Errorf("wschannels: %s is not ASCII", name)
			}
		}
	}
	return nil
}

// A hijackWriter keeps the hijacked connection for us. coder/websocket gets a stand-in
// that it may close.
type hijackWriter struct {
	http.ResponseWriter
	conn  net.Conn
	early *bytes.Reader // what came together with the handshake
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
		w.early = bytes.NewReader(bytes.Clone(p))
	}
	_ = conn.SetReadDeadline(time.Time{}) // net/http has left none, other servers may have
	_ = conn.SetWriteDeadline(time.Time{})
	w.conn = conn
	idle := standIn{}
	return idle, bufio.NewReadWriter(bufio.NewReaderSize(idle, 16), bufio.NewWriterSize(idle, 16)), nil
}

// hijackable reports whether w is a [http.Hijacker], or wraps one.
func hijackable(w http.ResponseWriter) bool {
	switch w := w.(type) {
	case http.Hijacker:
		return true
	case interface{ Unwrap() http.ResponseWriter }:
		return hijackable(w.Unwrap())
	}
	return false
}

// A standIn is a connection that nothing comes from.
type standIn struct{ net.Conn }

func (standIn) Read([]byte) (int, error)    { return 0, io.EOF }
func (standIn) Write(p []byte) (int, error) { return len(p), nil }
func (standIn) Close() error                { return nil }

func (o *ownedConn) receive() (websocket.MessageType, []byte, *CloseError) { return o.in.receive() }

func (o *ownedConn) discard() (answered bool) {
	end := o.in.drain()
	if end.Remote {
		return end.Code != websocket.StatusAbnormalClosure
	}
	// The peer's frames make no sense any more, or are too much. Closing now, with
	// bytes unread, would reset the connection and might destroy the close frame
	// on its way.
	_ = o.in.conn.SetReadDeadline(time.Now().Add(o.in.limits.CloseTimeout))
	_, _ = io.Copy(io.Discard, o.in.conn)
	return false
}

func (o *ownedConn) transmit(b *batch) (frames int, err error) {
	var n int
	if b.long() {
		f := b.frames[0]
		parts := net.Buffers{append(b.ahead(nil), f.header[:f.hlen]...), f.payload}
		if b.farewell != nil {
			parts = append(parts, b.farewell.wire)
		}
		o.hurry()
		var m int64
		m, err = parts.WriteTo(o.in.conn)
		n = int(m)
	} else {
		for p := b.layOut()[b.sent:]; len(p) > 0 && err == nil; p = p[min(len(p), maxBatch):] {
			o.hurry() // again: a slow peer has its time for each
			var m int
			m, err = o.in.conn.Write(p[:min(len(p), maxBatch)])
			b.sent += m
		}
		n = b.sent
	}
	if err == nil {
		_ = o.in.conn.SetWriteDeadline(time.Time{}) // workers write without one
		return len(b.frames), nil
	}
	o.broken.Store(true)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errWriteTimeout
	}
	return b.whole(n), err
}

// hurry bounds the next write.
func (o *ownedConn) hurry() {
	_ = o.in.conn.SetWriteDeadline(time.Now().Add(o.in.limits.WriteTimeout)) // a failure shows in the write
}

// hangUp closes our half of the connection. After a breach of protocol the peer's answer
// cannot be told from the rest of what it sends, so we wait for it to hang up, as it
// waits for us (RFC 6455 section 7.1.1).
func (o *ownedConn) hangUp() {
	if conn, ok := o.in.conn.(interface{ CloseWrite() error }); ok {
		o.broken.Store(true) // an abort need not wait for a peer that does not take even this
		_ = conn.CloseWrite()
	}
}

func (o *ownedConn) abort() {
	if !o.aborted.CompareAndSwap(false, true) {
		return
	}
	conn := o.in.conn
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok && o.broken.Load() {
		conn = tls.NetConn() // its own Close would write once more, and wait for that
	}
	_ = conn.Close()
}

func (o *ownedConn) readsAnswer() bool  { return true }
func (o *ownedConn) farewellErr() error { return nil }

// ping sends a ping and waits for a pong, any pong.
func (o *ownedConn) ping(ctx context.Context, done <-chan struct{}) error {
	pong := o.in.nextPong()
	o.in.queue.control(true, nil)
	select {
	case <-pong:
		return nil
	case <-done:
		return net.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
