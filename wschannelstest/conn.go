package wschannelstest

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/coder/websocket"
)

// Conn is an in-memory WebSocket connection. Its Read, Write, Ping, Close and
// CloseNow are for the code under test, in place of those of a
// [*websocket.Conn]; all else is for the test, which plays the peer.
//
// The peer reads at once whatever is written, without limit, until [Conn.Stall];
// there is no network buffer in between that a write could disappear into. It
// answers pings and close frames by itself.
//
// All methods may be called concurrently, Read included. None leaves a goroutine
// or a timer behind, and those that wait do so in a way that lets the clock of a
// synctest bubble advance.
type Conn struct {
	mu monitor // guards all below; free while waiting

	in      []message // pushed by the peer, not yet read
	out     []message // read by the peer, not yet taken by Next
	blocked []*frame  // sent, not yet read by the peer, oldest first
	stalled bool
	pings   int

	readErr  error // of FailReads
	writeErr error // of FailWrites

	hungUp error                 // of Hangup, for the Read that gets there
	asked  *websocket.CloseError // how the first Close or CloseNow was called
	ended  error                 // once the connection is gone: for Read
	seen   error                 // then, too: the end as the peer saw it, for Next
}

type message struct {
	typ  websocket.MessageType
	data []byte
}

// NewConn returns an open connection.
func NewConn() *Conn {
	return new(Conn)
}

// Read returns the next message that the peer has pushed, which is the caller's
// to keep. It waits for one until ctx ends; as with a [*websocket.Conn], that
// is the end of the connection, too, and the error wraps that of ctx.
//
// After the last message, errors say what has happened, and then stay the same:
// after Hangup and after the handshake of Close they wrap a
// [websocket.CloseError], after a loss of the connection [io.EOF], after
// anything else [net.ErrClosed]; or they wrap the error of FailReads.
func (c *Conn) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case ctx.Err() != nil:
			c.end(net.ErrClosed)
			return 0, nil, opError("read", ctx.Err())
		case c.ended != nil:
			return 0, nil, opError("read", c.ended)
		case len(c.in) > 0:
			m := c.in[0]
			c.in = c.in[1:]
			return m.typ, m.data, nil
		case c.readErr != nil:
			return 0, nil, opError("read", c.readErr)
		case c.hungUp != nil:
			c.endHungUp(c.hungUp) // a close frame gets the same as its answer
		default:
			c.mu.wait(ctx.Done())
		}
	}
}

// Write sends a copy of p to the peer. It returns at once, except that it waits
// while the peer is stalled. If ctx ends first, the message is not delivered,
// and the connection is gone, as with a [*websocket.Conn]; the error wraps that
// of ctx. Waiting messages are delivered in the order of the calls.
//
// It fails with the error of FailWrites, and with [net.ErrClosed] once Close or
// CloseNow was called or the connection is gone. A Hangup alone is no failure:
// it counts from the Read that gets to it.
func (c *Conn) Write(ctx context.Context, typ websocket.MessageType, p []byte) error {
	m := message{typ, append([]byte{}, p...)}
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.send(ctx, func() { c.out = append(c.out, m) })
	if err != nil && errors.Is(err, ctx.Err()) {
		c.end(net.ErrClosed)
	}
	return opError("write", err)
}

// Ping sends a ping, which the peer answers at once, or once it is no longer
// stalled. Unlike that of a [*websocket.Conn], it needs no concurrent Read. If
// ctx ends first, the error wraps that of ctx, and the connection stays. Other
// errors are those of Write.
func (c *Conn) Ping(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return opError("ping", c.send(ctx, func() { c.pings++ }))
}

// Close sends a close frame, waits for the peer's, and ends the connection. Of
// what the peer has pushed, Read returns no more.
//
// The peer answers at once, or once it is no longer stalled; there is no
// timeout, only CloseNow ends the wait, and then the error wraps [net.ErrClosed].
// (The Close of a [*websocket.Conn] times out, and CloseNow does not end it.)
// If the peer has hung up by a close frame of its own, the result is nil, too.
//
// Code [websocket.StatusNoStatusRcvd] (1005) sends an empty close frame. Another
// code that may not be sent, or a reason over 123 bytes, is an error, and ends
// the connection without a close frame. A second call, or one after CloseNow,
// returns at once; its error wraps [net.ErrClosed].
func (c *Conn) Close(code websocket.StatusCode, reason string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != nil {
		return opError("close", net.ErrClosed)
	}
	sent, err := closeError(code, reason)
	if err != nil {
		c.asked = &websocket.CloseError{Code: websocket.StatusAbnormalClosure}
		c.end(net.ErrClosed)
		return opError("close", err)
	}
	c.asked = &sent
	c.in = nil
	switch {
	case c.ended != nil:
	case c.hungUp != nil:
		c.endHungUp(sent)
	default:
		err := c.deliver(context.Background(), func() {
			c.seen = sent
			c.end(sent) // the peer answers with the same
		})
		if err != nil && c.ended == nil { // FailWrites
			c.end(net.ErrClosed)
			return opError("close", err)
		}
	}
	if websocket.CloseStatus(c.ended) == -1 { // no handshake
		return opError("close", c.ended)
	}
	return nil
}

// CloseNow ends the connection without a close frame and ends every wait in the
// other methods; a lost connection is all that the peer sees. Once a Close or
// CloseNow is done, its error wraps [net.ErrClosed]; else it is nil.
func (c *Conn) CloseNow() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil {
		c.asked = &websocket.CloseError{Code: websocket.StatusAbnormalClosure}
	} else if c.ended != nil {
		return opError("close", net.ErrClosed)
	}
	c.end(net.ErrClosed)
	return nil
}

// send is deliver for what may not follow a close frame.
func (c *Conn) send(ctx context.Context, arrive func()) error {
	if c.asked != nil {
		return net.ErrClosed
	}
	return c.deliver(ctx, arrive)
}

// endHungUp ends the connection because the peer has; answer is the close frame
// that it gets if it still reads. The caller holds c.mu.
func (c *Conn) endHungUp(answer error) {
	if !c.stalled && websocket.CloseStatus(c.hungUp) != -1 {
		c.seen = answer
	}
	c.end(c.hungUp)
}

// end ends the connection, for which Read returns err from now on, unless it is
// gone already. The caller holds c.mu.
func (c *Conn) end(err error) {
	if c.ended != nil {
		return
	}
	c.ended = err
	c.blocked = nil
	if c.seen == nil { // no close frame has reached the peer
		c.seen = io.EOF
	}
	c.mu.changed()
}
