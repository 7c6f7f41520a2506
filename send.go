package wschannels

import (
	"context"
	"errors"
	"fmt"

	"github.com/coder/websocket"
)

var errEnvelopeBytes = errors.New("binary data in an envelope")

// Send encodes payload by the channel's payload type and queues it. It waits for
// room in the queue until ctx ends. A ctx that has ended already is an error even
// if there is room; a message over QueueBytes is [ErrTooLarge]; a payload that
// cannot be encoded is a *[PayloadError].
//
// Nil means queued, in order: a later failure shows in [Channel.Err]. The caller
// may change payload after the call.
func (c *Channel) Send(ctx context.Context, payload any) error {
	return c.send(ctx, c.opts.PayloadType, c.opts.PayloadType.frameType(), payload)
}

// SendJSON is Send with payload encoded as JSON whatever the channel's type: in a
// binary frame on a Bytes channel, in a text frame on others.
func (c *Channel) SendJSON(ctx context.Context, v any) error {
	return c.send(ctx, JSON, c.opts.PayloadType.frameType(), v)
}

// SendText is Send with s in a text frame whatever the channel's type. In an
// envelope, s is a JSON string.
func (c *Channel) SendText(ctx context.Context, s string) error {
	return c.send(ctx, Text, websocket.MessageText, s)
}

// SendBytes is Send with p in a binary frame whatever the channel's type. It is an
// error on a channel in Envelope mode.
func (c *Channel) SendBytes(ctx context.Context, p []byte) error {
	if c.opts.Envelope {
		return &PayloadError{Op: "encode", Type: Bytes, Err: errEnvelopeBytes}
	}
	return c.send(ctx, Bytes, websocket.MessageBinary, p)
}

func (c *Channel) send(ctx context.Context, t PayloadType, typ websocket.MessageType, payload any) error {
	if err := c.writable(ctx); err != nil {
		return err
	}
	f, err := c.pack(t, typ, payload)
	if err != nil {
		return err
	}
	return c.enqueue(ctx, f, false)
}

// pack returns the frame that carries payload, encoded as t.
func (c *Channel) pack(t PayloadType, typ websocket.MessageType, payload any) (*frame, error) {
	p, err := encode(c.opts.Codec, t, payload)
	if err != nil {
		c.countPanic(err)
		return nil, err
	}
	if c.opts.Envelope {
		if t == JSON && c.opts.PayloadType == Text {
			t = Text // its data is a JSON string
		}
		p = envelope(place{}, newMessageID(), enveloped(t, p))
	}
	return c.frame(typ, p), nil
}

// frame returns a frame for this channel alone, compressed where that is agreed on and
// shortens it.
func (c *Channel) frame(typ websocket.MessageType, p []byte) *frame {
	if c.deflateFrom > 0 && len(p) >= int(c.deflateFrom) {
		if d := deflate(p); d != nil {
			return newDeflated(typ, d[:len(d)-len(emptyBlock)], len(p))
		}
	}
	return newFrame(typ, p)
}

// writable returns why the channel cannot be sent to now, or nil.
func (c *Channel) writable(ctx context.Context) error {
	if err := c.Err(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !c.authed.Load() {
		return ErrUnauthorized
	}
	return nil
}

// enqueue queues f, waiting for room until ctx ends; held is as in queue.send.
func (c *Channel) enqueue(ctx context.Context, f *frame, held bool) error {
	return c.queued(f, c.queue.send(ctx, f, held))
}

// queued is the error of a send of f that the queue answered with err.
func (c *Channel) queued(f *frame, err error) error {
	switch err {
	case nil:
		c.Touch()
		return nil
	case ErrClosed:
		return c.Err()
	case ErrTooLarge:
		return fmt.Errorf("%w: %d bytes, and QueueBytes is %d", ErrTooLarge, f.size(), c.opts.QueueBytes)
	default:
		return err
	}
}

// Flush waits until everything that was queued before the call has been written,
// or dropped by [SlowDropOldest], or ctx ends, or the channel has closed; then it
// returns nil, ctx's cause, or [Channel.Err]. Written means handed to the operating
// system: only an answer from the peer proves arrival.
func (c *Channel) Flush(ctx context.Context) error {
	err := c.queue.wait(ctx)
	if err == ErrClosed {
		return c.Err()
	}
	return err
}

func (c *Channel) transmit(b *batch) (int, error) { return c.link.transmit(b) }

// writeFailed is told when the connection cannot be written to any more.
func (c *Channel) writeFailed(err error) {
	if err == errWriteTimeout {
		c.fail(writeTimedOut(), cut)
	} else {
		c.fail(lost(err), cut)
	}
}

// channelConn is an accepted channel seen as a Conn.
type channelConn struct{ c *Channel }

func (v channelConn) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	m, err := v.c.Receive(ctx)
	if err != nil {
		return 0, nil, err
	}
	return m.Type.frameType(), m.Data, nil
}

func (v channelConn) Write(ctx context.Context, typ websocket.MessageType, p []byte) error {
	if err := v.c.writable(ctx); err != nil {
		return err
	}
	if ce := checkUTF8(typ, p); ce != nil {
		return &PayloadError{Op: "encode", Type: Text, Err: ce.Err}
	}
	if err := v.c.enqueue(ctx, v.c.frame(typ, append([]byte(nil), p...)), false); err != nil {
		return err
	}
	return v.c.Flush(ctx)
}

func (v channelConn) Ping(ctx context.Context) error {
	return v.c.link.(*ownedConn).ping(ctx, v.c.Done())
}

func (v channelConn) Close(code websocket.StatusCode, reason string) error {
	return v.c.Close(code, reason)
}

func (v channelConn) CloseNow() error { return v.c.CloseNow() }
