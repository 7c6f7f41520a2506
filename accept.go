package wschannels

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// Accept accepts the request as a channel in the box, for callers who run their own
// loop and close it. Nil opts mean the box's. On an error the response has been
// written. Accept fires no OnConnect; OnDisconnect fires once when the channel closes.
//
// While a message waits to be received nothing more is read: a caller that only sends
// lets a goroutine range over [Channel.Messages].
//
// The request's context must not be used with the channel: it ends when the HTTP
// handler returns.
func (b *ChannelBox) Accept(w http.ResponseWriter, r *http.Request, opts *ChannelOptions) (*Channel, error) {
	resolved, err := b.resolve(opts)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return nil, err
	}
	c, err := b.upgrade(w, r, resolved, false)
	if err != nil {
		return nil, err
	}
	if err := b.enter(c); err != nil {
		b.refuse(c, err)
		return nil, err
	}
	if _, err := c.startReading(); err != nil {
		return nil, err
	}
	return c, nil
}

// upgrade accepts the request as a channel that is not in the box yet. served says
// that run will be called.
func (b *ChannelBox) upgrade(w http.ResponseWriter, r *http.Request, opts *ChannelOptions, served bool) (*Channel, error) {
	if err := b.admits(); err != nil {
		b.counters.refused.Add(1)
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return nil, err
	}
	link, err := accept(w, r, b.accept, opts)
	if err != nil {
		b.badHandshake(w, r, err)
		return nil, err
	}
	base := context.WithoutCancel(r.Context())
	c := newChannel(opts, base)
	if b.direct != nil && opts.ID == uuid.Nil {
		c.id = b.direct.tag.mark(c.id)
	}
	c.request = keepRequest(base, r)
	c.link = link
	c.box = b
	c.served = served
	if raw := rawConn(link.in.conn); raw != nil {
		c.queue.raw, c.queue.workers = raw, b.workers
	}
	link.in.queue = &c.queue
	if link.in.inspect.deflate {
		c.deflateFrom = int32(min(deflateFrom(&b.opts.Accept), maxReadLimit))
	}
	link.in.alive = c.hear
	err = b.adopt(c)
	c.startTimers(&b.timers)
	if err != nil {
		b.refuse(c, err)
		return nil, err
	}
	return c, nil
}

// badHandshake counts and logs a request that was answered with an error.
func (b *ChannelBox) badHandshake(w http.ResponseWriter, r *http.Request, err error) {
	b.counters.badHandshakes.Add(1)
	level := slog.LevelDebug // anybody can make as many as they like
	if r.ProtoMajor == 1 && !hijackable(w) {
		level = slog.LevelError // nobody can connect
	}
	b.log(level, "wschannels: handshake refused", err)
}

// guardedAccept is Options.Accept with callbacks that cannot bring the process down.
func (b *ChannelBox) guardedAccept() *websocket.AcceptOptions {
	o := b.opts.Accept
	if ping := o.OnPingReceived; ping != nil {
		o.OnPingReceived = func(ctx context.Context, p []byte) (pong bool) {
			err := guard(func() error { pong = ping(ctx, p); return nil })
			b.callbackFailed(err)
			return pong || err != nil
		}
	}
	if pong := o.OnPongReceived; pong != nil {
		o.OnPongReceived = func(ctx context.Context, p []byte) {
			b.callbackFailed(guard(func() error { pong(ctx, p); return nil }))
		}
	}
	return &o
}

// callbackFailed counts and logs a panic of a callback of Options.Accept.
func (b *ChannelBox) callbackFailed(err error) {
	if err != nil {
		b.counters.panics.Add(1)
		b.logError("wschannels: panic in a callback of Options.Accept", err)
	}
}

// admits returns why the box takes no more channels, or nil.
func (b *ChannelBox) admits() error {
	switch {
	case b.phase.Load() != running:
		return ErrClosed
	case b.opts.MaxChannels > 0 && b.registry.Len() >= b.opts.MaxChannels:
		return ErrTooManyChannels
	}
	return nil
}

// adopt makes c, which was just made for the box, one that it looks after until its end.
func (b *ChannelBox) adopt(c *Channel) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase.Load() != running {
		return ErrClosed
	}
	b.live[c] = struct{}{}
	return nil
}

// enter puts c in the box: where SendTo, SendToUser and Join find it.
func (b *ChannelBox) enter(c *Channel) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has(c) {
		return nil
	}
	if err := c.Err(); err != nil {
		return err
	}
	if err := b.admits(); err != nil {
		return err
	}
	if err := b.registry.Add(c); err != nil {
		return err
	}
	if err := b.own(c); err != nil {
		b.registry.Remove(c)
		return err
	}
	b.counters.accepted.Add(1)
	b.direct.moved(c)
	b.users.settle(c)
	return nil
}

// own makes c a channel of this box, unless it has closed, or is another's. b.mu is held.
func (b *ChannelBox) own(c *Channel) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.box != nil && c.box != b:
		return errOtherBox
	}
	c.box, c.entered = b, true
	b.live[c] = struct{}{}
	return nil
}

var errOtherBox = errors.New("wschannels: the channel is in another box")

// refuse closes a channel that did not get into the box.
func (b *ChannelBox) refuse(c *Channel, why error) {
	b.counters.refused.Add(1)
	c.closeAsync(refusal(why), graceful)
}

// refusal is how a channel that does not get into the box ends.
func refusal(why error) *CloseError {
	end := &CloseError{Code: websocket.StatusInternalError, Err: why}
	switch {
	case errors.Is(why, ErrTooManyChannels):
		end.Code, end.Reason = websocket.StatusTryAgainLater, "too many channels"
	case errors.Is(why, ErrClosed):
		end.Code, end.Reason = websocket.StatusGoingAway, "shutting down"
	case errors.Is(why, ErrDuplicateID):
		end.Code, end.Reason = websocket.StatusPolicyViolation, "duplicate channel ID"
	}
	return end
}
