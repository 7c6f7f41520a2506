package wschannels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// Conn is what a [Channel] needs of a WebSocket connection; *[websocket.Conn] is
// one, and wschannelstest has one for tests.
//
// A channel calls Read from one goroutine at a time, Write and Close from another,
// Ping from a third, and CloseNow from any; after CloseNow, and once their context
// ends, the others return. Read's bytes belong to the channel; Write must not keep
// its argument.
type Conn interface {
	Read(ctx context.Context) (websocket.MessageType, []byte, error)
	Write(ctx context.Context, typ websocket.MessageType, p []byte) error
	Ping(ctx context.Context) error
	Close(code websocket.StatusCode, reason string) error
	CloseNow() error
}

// A link is a channel's way to its peer: a connection that the package owns
// (ownedConn), or any Conn (anyConn).
type link interface {
	// receive returns the next message; an error ends the channel. One goroutine
	// at a time.
	receive() (websocket.MessageType, []byte, *CloseError)

	// discard takes the place of receive after the channel began to close: it reads
	// until the peer has answered or the connection is gone.
	discard() (answered bool)

	// transmit is the queue's write.
	transmit(b *batch) (frames int, err error)

	// hangUp tells the peer, after transmit's last, that nothing more will come.
	hangUp()

	// abort closes the connection at once; the others return.
	abort()

	// readsAnswer is whether the peer's answer to a close frame is still to be
	// read once transmit has sent it.
	readsAnswer() bool

	// farewellErr is why the close handshake failed, if transmit performs it.
	farewellErr() error
}

var errWriteTimeout = fmt.Errorf("%w: a write took too long", ErrSlowConsumer)

func writeTimedOut() *CloseError { return &CloseError{Code: StatusSlowConsumer, Err: errWriteTimeout} }

var errReadTimeout = errors.New("message took too long")

func readTimedOut() *CloseError {
	return &CloseError{Code: websocket.StatusPolicyViolation, Reason: errReadTimeout.Error(), Err: errReadTimeout}
}

// anyConn is the link over a Conn of the application's: each message is one Write. A
// panic of the Conn's is a fault that ends the channel.
type anyConn struct {
	conn  Conn
	opts  *ChannelOptions
	alive func()                            // the peer answered a ping
	mute  func(error)                       // it could not be pinged
	fail  func(end *CloseError, how ending) // closes the channel

	panics *atomic.Uint64 // of the Conn

	ctx     context.Context // of every Read, Write and Ping; ends with the connection
	cancel  context.CancelFunc
	pinging atomic.Bool

	watchdog *time.Timer // ends a write that takes too long; used by the writer alone

	mu       sync.Mutex // guards closeErr
	closeErr error      // of Close, once it has returned
}

func newAnyConn(conn Conn, c *Channel) *anyConn {
	a := &anyConn{conn: conn, opts: c.opts, alive: c.hear, mute: c.pingFailed, fail: c.fail, panics: &c.tally.panics, closeErr: errNoAnswer}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	if ws, ok := conn.(interface{ SetReadLimit(int64) }); ok {
		ws.SetReadLimit(c.opts.ReadLimit)
	}
	return a
}

// guard is the function guard, and counts a panic.
func (a *anyConn) guard(f func() error) error { return counted(guard(f), a.panics) }

func (a *anyConn) receive() (typ websocket.MessageType, p []byte, end *CloseError) {
	err := a.guard(func() (err error) {
		typ, p, err = a.read()
		return err
	})
	if err == nil && int64(len(p)) > a.opts.ReadLimit {
		err = websocket.ErrMessageTooBig
	}
	if err == nil {
		return typ, p, checkUTF8(typ, p)
	}
	return 0, nil, a.whyReadFailed(err)
}

// read bounds the time that a message takes, where the connection tells when one
// begins, as *websocket.Conn does.
func (a *anyConn) read() (websocket.MessageType, []byte, error) {
	conn, ok := a.conn.(interface {
		Reader(context.Context) (websocket.MessageType, io.Reader, error)
	})
	if !ok {
		return a.conn.Read(a.ctx)
	}
	typ, r, err := conn.Reader(a.ctx)
	if err != nil {
		return 0, nil, err
	}
	timer := time.AfterFunc(a.opts.ReadTimeout, func() { a.fail(readTimedOut(), graceful) })
	defer timer.Stop()
	p, err := io.ReadAll(r)
	return typ, p, err
}

func (a *anyConn) whyReadFailed(err error) *CloseError {
	var netErr net.Error
	_, real := a.conn.(*websocket.Conn)
	switch code := websocket.CloseStatus(err); {
	case errors.As(err, new(*PanicError)):
		return lost(err)
	case code != -1:
		var ce websocket.CloseError
		errors.As(err, &ce)
		return peerClosed(ce)
	case errors.Is(err, websocket.ErrMessageTooBig):
		return tooLarge(a.opts.ReadLimit)
	case real && !errors.As(err, &netErr) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) &&
		!errors.Is(err, net.ErrClosed) && !errors.Is(err, context.Canceled):
		// What is left is a frame that the library did not like. It does not
		// always say so to the peer.
		return &CloseError{Code: websocket.StatusProtocolError, Err: err}
	}
	return lost(err)
}

// lost is the end that an error of the connection makes.
func lost(err error) *CloseError {
	if errors.As(err, new(*PanicError)) { // of a Conn of the application's
		return &CloseError{Code: websocket.StatusInternalError, Err: err}
	}
	return &CloseError{Code: websocket.StatusAbnormalClosure, Remote: true, Err: err}
}

func (a *anyConn) discard() (answered bool) {
	err := a.guard(func() error {
		for {
			if _, _, err := a.conn.Read(a.ctx); err != nil {
				return err
			}
		}
	})
	return websocket.CloseStatus(err) != -1
}

func (a *anyConn) transmit(b *batch) (int, error) {
	if b.ping && a.pinging.CompareAndSwap(false, true) {
		go a.ping()
	}
	for i, f := range b.frames {
		if err := a.writeFrame(f); err != nil {
			return i, err
		}
	}
	if fw := b.farewell; fw != nil {
		err := a.guard(func() error { return a.conn.Close(fw.code, fw.reason) })
		switch {
		case websocket.CloseStatus(err) != -1:
			err = nil // answered, with a code of its own
		case err == nil && a.ctx.Err() != nil:
			err = errNoAnswer // to *websocket.Conn, being aborted is no error
		}
		a.mu.Lock()
		a.closeErr = err
		a.mu.Unlock()
	}
	return len(b.frames), nil
}

// ping pings the peer on a goroutine of its own, which ends with the answer, with the
// connection, or in time for the next ping.
func (a *anyConn) ping() {
	defer a.pinging.Store(false)
	ctx, cancel := context.WithTimeout(a.ctx, a.opts.WriteTimeout)
	defer cancel()
	switch err := a.guard(func() error { return a.conn.Ping(ctx) }); {
	case err == nil:
		a.alive()
	case errors.As(err, new(*PanicError)):
		a.fail(lost(err), cut)
	case ctx.Err() == nil:
		a.mute(err)
	}
}

func (a *anyConn) writeFrame(f *frame) error {
	if a.watchdog == nil {
		a.watchdog = time.AfterFunc(a.opts.WriteTimeout, func() { a.fail(writeTimedOut(), cut) })
	} else {
		a.watchdog.Reset(a.opts.WriteTimeout)
	}
	defer a.watchdog.Stop()
	return a.guard(func() error { return a.conn.Write(a.ctx, f.typ, f.payload) })
}

func (a *anyConn) abort() {
	a.cancel()
	if c, ok := a.conn.(*websocket.Conn); ok {
		// CloseNow waits for a Close that has begun; a CloseRead whose context has
		// ended closes the connection beneath it.
		c.CloseRead(a.ctx)
	}
	_ = a.guard(a.conn.CloseNow) // closed already is what we want
}

func (a *anyConn) hangUp()           {}               // Conn.Close has closed it
func (a *anyConn) readsAnswer() bool { return false } // Conn.Close does

func (a *anyConn) farewellErr() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closeErr
}

// checkUTF8 checks a text message as RFC 6455 section 8.1 demands.
func checkUTF8(typ websocket.MessageType, p []byte) *CloseError {
	if typ == websocket.MessageText && !utf8.Valid(p) {
		return &CloseError{Code: websocket.StatusInvalidFramePayloadData, Reason: errNotUTF8.Error(), Err: errNotUTF8}
	}
	return nil
}

// peerClosed is the end that the peer's close frame makes.
func peerClosed(ce websocket.CloseError) *CloseError {
	if !utf8.ValidString(ce.Reason) {
		return &CloseError{Code: websocket.StatusInvalidFramePayloadData, Err: errNotUTF8}
	}
	return &CloseError{Code: ce.Code, Reason: ce.Reason, Remote: true}
}
