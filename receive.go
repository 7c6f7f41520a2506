package wschannels

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/coder/websocket"
)

var errEventMode = errors.New("wschannels: Receive in event mode: OnMessage gets the messages")

// An inbound is what one Receive returns.
type inbound struct {
	msg Message
	err error
}

// Receive returns the next message. Ending ctx ends the wait, never the connection,
// and loses no message. Calls may be concurrent: each message goes to one of them.
//
// A frame that is no payload of the channel's type is a *[PayloadError], and one
// past MessageLimit [ErrRateLimited], from that one call; the channel stays usable.
// Once it has closed, Receive returns [Channel.Err], after the messages that came
// before the peer's close frame.
func (c *Channel) Receive(ctx context.Context) (Message, error) {
	inbox, err := c.startReading()
	if err != nil {
		return Message{}, err
	}
	if ctx.Err() != nil {
		return Message{}, c.because(ctx)
	}
	done := ctx.Done()
	if ctx == c.ctx {
		done = nil // the same once is enough, and cheaper
	}
	select {
	case in := <-inbox:
		return in.msg, in.err
	case <-c.ctx.Done():
		return Message{}, c.Err()
	case <-done:
		return Message{}, c.because(ctx)
	}
}

// because returns why a wait that ctx bounds has ended: the channel's end, which
// may be what ended ctx, comes first.
func (c *Channel) because(ctx context.Context) error {
	if err := c.Err(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// ReceiveJSON is Receive, and decodes the message into v with the channel's codec.
func (c *Channel) ReceiveJSON(ctx context.Context, v any) error {
	m, err := c.Receive(ctx)
	if err != nil {
		return err
	}
	return c.decode(m, v)
}

func (c *Channel) decode(m Message, v any) error {
	err := m.Decode(v)
	if err != nil {
		c.tally.invalid.Add(1)
		c.countPanic(err)
	}
	return err
}

// ReceiveText is Receive, and returns the payload as a string.
func (c *Channel) ReceiveText(ctx context.Context) (string, error) {
	m, err := c.Receive(ctx)
	return m.Text(), err
}

// ReceiveBytes is Receive, and returns the payload. It is the caller's.
func (c *Channel) ReceiveBytes(ctx context.Context) ([]byte, error) {
	m, err := c.Receive(ctx)
	return m.Data, err
}

// Messages returns a single-use iterator over the messages, as Receive returns
// them. A message that is a *[PayloadError] or [ErrRateLimited] is a pair with that
// error, and the loop may go on. It ends quietly after a normal end of the channel
// (1000, 1001 or 1005), otherwise with a last pair that holds the error; ending ctx
// ends it like that, too. Leaving the loop leaves the channel open.
func (c *Channel) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := c.Receive(ctx)
			var end *CloseError
			if errors.As(err, &end) && end.normal() {
				return
			}
			if !yield(m, err) || err != nil && !passing(err) {
				return
			}
		}
	}
}

// passing reports whether err is about one message, and another may follow.
func passing(err error) bool {
	return errors.As(err, new(*PayloadError)) || err == ErrRateLimited
}

// Receive returns the next message of c decoded as T. If T or *T has a method
// Validate() error, it is called, and its error is a *[PayloadError] too.
func Receive[T any](ctx context.Context, c *Channel) (T, error) {
	var v T
	m, err := c.Receive(ctx)
	if err != nil {
		return v, err
	}
	if err := c.decode(m, &v); err != nil {
		return v, err
	}
	validator, ok := any(&v).(interface{ Validate() error })
	if !ok { // a T that is a pointer has methods of its own
		validator, ok = any(v).(interface{ Validate() error })
	}
	if !ok {
		return v, nil
	}
	if err := guard(validator.Validate); err != nil {
		c.tally.invalid.Add(1)
		c.countPanic(err)
		return v, &PayloadError{Op: "validate", Type: m.Type, Data: m.Data, Err: err}
	}
	return v, nil
}

// startReading makes sure that somebody reads the connection for Receive.
func (c *Channel) startReading() (chan inbound, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.inbox != nil:
	case c.err != nil:
		return nil, c.err
	case c.inline:
		return nil, errEventMode
	default:
		c.inbox = make(chan inbound)
		go c.pump(c.hand) // ends with the connection, or when closing starts
	}
	return c.inbox, nil
}

// hand gives a message to Receive. Until it is taken nothing more is read, so that
// a slow handler slows its peer down.
func (c *Channel) hand(m Message, err error) {
	select {
	case c.inbox <- inbound{m, err}:
	case <-c.ctx.Done(): // closing began here: what waited is not received any more
	}
}

// claimReading lets the caller run pump itself; false if something reads already.
func (c *Channel) claimReading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inbox != nil || c.inline || c.err != nil {
		return false
	}
	c.inline = true
	return true
}

// pump reads the connection and delivers each message, until closing starts. There
// is one per channel.
func (c *Channel) pump(deliver func(Message, error)) {
	var window *slidingWindow
	for c.enterRead() {
		typ, p, end := c.link.receive()
		closing := c.leaveRead()
		switch {
		case closing: // this read answers to whoever closes
			if end == nil || !end.Remote {
				c.drain()
			} else {
				c.answered.Store(end.Code != websocket.StatusAbnormalClosure)
				close(c.read)
			}
			return
		case end != nil:
			c.ended(end)
			return
		}
		c.came(typ, p, &window, deliver)
	}
}

// came delivers a message that was read. It is not part of pump for the sake of the
// stack: while nothing comes, pump's fits into the smallest there is.
//
//go:noinline
func (c *Channel) came(typ websocket.MessageType, p []byte, window **slidingWindow, deliver func(Message, error)) {
	now := c.age()
	c.active.Store(now)
	c.heard.Store(now)
	c.tally.received.Add(1)
	c.tally.receivedBytes.Add(uint64(len(p)))
	if limit := c.opts.MessageLimit; limit > 0 {
		if *window == nil {
			*window = new(slidingWindow)
		}
		if ok, _ := (*window).allow(time.Duration(now), limit, c.opts.MessageWindow); !ok {
			c.tally.rateLimited.Add(1)
			deliver(Message{}, ErrRateLimited)
			return
		}
	}
	m, err := c.message(typ, p)
	if err != nil {
		c.tally.invalid.Add(1)
	}
	deliver(m, err)
}

// message makes a message of a frame, or a *PayloadError.
func (c *Channel) message(typ websocket.MessageType, p []byte) (Message, error) {
	t := c.opts.PayloadType
	err := checkReceived(t, p)
	if t != JSON && typ != t.frameType() {
		err = fmt.Errorf("%w: %v on a %s channel", errFrameType, typ, t)
	}
	if err != nil {
		return Message{}, &PayloadError{Op: "decode", Type: t, Data: p, Err: err}
	}
	return Message{Created: time.Now(), Type: t, Data: p, codec: c.opts.Codec}, nil
}

// enterRead begins a read, unless closing has started: then the closer has taken
// over.
func (c *Channel) enterRead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.inRead = true
	c.reading.Store(c.age())
	return true
}

// leaveRead ends a read and reports whether closing began during it.
func (c *Channel) leaveRead() (closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inRead = false
	c.reading.Store(notReading)
	return c.err != nil
}

// ended closes the channel because reading came to an end.
func (c *Channel) ended(end *CloseError) {
	from := byReader
	if !end.Remote {
		from |= isFault
	}
	if !c.begin(end, from) {
		return // another closer was first, and reads on
	}
	if end.Remote {
		close(c.read)
		if end.Code == websocket.StatusAbnormalClosure {
			c.finish(cut)
		} else {
			c.finish(echo)
		}
		return
	}
	go c.finish(graceful) // ends in bounded time
	c.drain()
}

// drain reads what the peer still sends, for the answer to our close frame.
func (c *Channel) drain() {
	c.answered.Store(c.link.discard())
	close(c.read)
}
