package wschannels

import (
	"context"
	"errors"
	"net/http"

	"github.com/coder/websocket"
)

// Handler returns an endpoint: it accepts the request as a channel and runs h on it,
// inside the middleware, of which the first is the outermost. ServeHTTP returns after
// the upgrade; the channel lives on a goroutine of its own.
//
// A nil h is event mode: the messages go to OnMessage.
//
// The order is: middleware, then the channel is put in the box, then OnConnect, then
// h. A channel that middleware refused was never in the box and fires no event. One
// that OnConnect refused was: it leaves, closes as after a handler's error, and
// OnDisconnect fires.
func (b *ChannelBox) Handler(h Handler, mw ...Middleware) http.Handler {
	return b.HandlerWith(nil, h, mw...)
}

// HandlerWith is Handler with channel options that replace the box's as a whole; nil
// means the box's. Options that cannot be honoured make every request fail with 500,
// and are logged.
func (b *ChannelBox) HandlerWith(opts *ChannelOptions, h Handler, mw ...Middleware) http.Handler {
	resolved, err := b.resolve(opts)
	if err != nil {
		b.logError("wschannels: HandlerWith", err)
	}
	var chain Middleware
	if len(mw) > 0 {
		chain = Chain(mw...)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err != nil {
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
			return
		}
		c, err := b.upgrade(w, r, resolved, true)
		if err != nil {
			return // the response says why
		}
		go b.run(c.ctx, c, h, chain) // ends with the channel; Shutdown waits for it
	})
}

// ServeHTTP is Handler(nil): the box itself is an endpoint in event mode.
func (b *ChannelBox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.Handler(nil).ServeHTTP(w, r)
}

// Accept accepts the request as a channel in the box, for callers who run their own
// loop and close it. Nil opts mean the box's. On an error the response has been
// written. Accept fires no OnConnect; OnDisconnect fires once when the channel closes.
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

// Add puts a channel made by [NewChannel] (on a test's fake, say) in the box. It may
// be there already.
func (b *ChannelBox) Add(c *Channel) error {
	if c == nil {
		return errNilChannel
	}
	if err := b.adopt(c); err != nil {
		return err
	}
	if err := b.enter(c); err != nil {
		b.disown(c)
		return err
	}
	c.startTimers(&b.timers)
	return nil
}

// Serve puts c in the box, if it is not there yet, runs h on it as Handler does (a nil
// h is event mode), and returns when the channel has closed and its last event has
// returned. When ctx ends, so does h's context, and c is closed with 1001.
//
// It returns nil after a normal end, otherwise h's error or the channel's. A channel
// can be served once.
func (b *ChannelBox) Serve(ctx context.Context, c *Channel, h Handler) error {
	if c == nil {
		return errNilChannel
	}
	if err := b.Add(c); err != nil {
		return err
	}
	c.mu.Lock()
	switch {
	case c.err != nil:
		defer c.mu.Unlock()
		return c.err
	case c.served:
		defer c.mu.Unlock()
		return errServed
	}
	c.served = true
	c.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(c.ctx, func() { cancel(c.Err()) })
	defer stop()
	return b.run(ctx, c, h, nil)
}

var errServed = errors.New("wschannels: the channel is being served already")

// resolve is ChannelOptions.resolve with the box's options for nil.
func (b *ChannelBox) resolve(opts *ChannelOptions) (*ChannelOptions, error) {
	if opts == nil {
		return b.channel, nil
	}
	return opts.resolve()
}

// upgrade accepts the request as a channel that is not in the box yet. served says
// that run will be called.
func (b *ChannelBox) upgrade(w http.ResponseWriter, r *http.Request, opts *ChannelOptions, served bool) (*Channel, error) {
	if err := b.admits(); err != nil {
		b.counters.refused.Add(1)
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return nil, err
	}
	link, err := accept(w, r, b.acceptOptions(), opts.limits())
	if err != nil {
		return nil, err
	}
	base := context.WithoutCancel(r.Context())
	c := newChannel(opts, base)
	c.request = keepRequest(base, r)
	c.link = link
	c.served = served
	c.queue.write = link.transmit
	link.in.queue = &c.queue
	link.in.alive = c.hear
	c.startTimers(&b.timers)
	if err := b.adopt(c); err != nil {
		c.served = false
		b.refuse(c, err)
		return nil, err
	}
	return c, nil
}

// acceptOptions are Options.Accept with callbacks that cannot bring the process down.
func (b *ChannelBox) acceptOptions() *websocket.AcceptOptions {
	o := b.opts.Accept
	if ping := o.OnPingReceived; ping != nil {
		o.OnPingReceived = func(ctx context.Context, p []byte) (pong bool) {
			err := guard(func() error { pong = ping(ctx, p); return nil })
			return pong || err != nil
		}
	}
	if pong := o.OnPongReceived; pong != nil {
		o.OnPongReceived = func(ctx context.Context, p []byte) {
			_ = guard(func() error { pong(ctx, p); return nil })
		}
	}
	return &o
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

// adopt makes c a channel that the box looks after until its end.
func (b *ChannelBox) adopt(c *Channel) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase.Load() != running {
		return ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.box == nil:
		c.box = b
		b.live[c] = struct{}{}
	case c.box != b:
		return errOtherBox
	}
	return nil
}

var errOtherBox = errors.New("wschannels: the channel is in another box")

// disown undoes adopt.
func (b *ChannelBox) disown(c *Channel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.entered {
		c.box = nil
		delete(b.live, c)
	}
}

// enter puts an adopted channel in the box: where SendTo, SendToUser and Join find it.
func (b *ChannelBox) enter(c *Channel) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has(c) {
		return nil
	}
	if err := b.admits(); err != nil {
		return err
	}
	if err := b.registry.Add(c); err != nil {
		return err
	}
	c.mu.Lock()
	if c.err != nil { // and it has left, or is about to
		defer c.mu.Unlock()
		return c.err
	}
	c.entered = true
	c.mu.Unlock()
	b.counters.accepted.Add(1)
	b.users.settle(c)
	return nil
}

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

// run takes a channel from the middleware to its last event.
func (b *ChannelBox) run(ctx context.Context, c *Channel, h Handler, mw Middleware) error {
	entered, refused := false, false
	inner := func(ctx context.Context, c *Channel) error {
		if entered {
			return errors.New("wschannels: a middleware called next twice")
		}
		if err := b.enter(c); err != nil {
			if own := c.Err(); own != nil {
				return own
			}
			return refusal(err)
		}
		entered = true
		if err := c.fireConnect(ctx); err != nil {
			refused = true
			return err
		}
		if h == nil {
			return c.runEvents(ctx)
		}
		if _, err := c.startReading(); err != nil {
			return err
		}
		return h(ctx, c)
	}
	handler := Handler(inner)
	if mw != nil {
		handler = mw(inner)
	}
	err := guard(func() error { return handler(ctx, c) })

	if !entered || refused {
		b.counters.refused.Add(1)
	}
	var end *CloseError
	switch {
	case c.ownEnd(err):
	case ctx.Err() != nil && c.Err() == nil && err != nil && errors.Is(err, context.Cause(ctx)):
		c.endWith(&CloseError{Code: websocket.StatusGoingAway, Err: err})
	case errors.As(err, new(*PanicError)):
		c.report(err)
		c.endWith(err)
	case err == nil || errors.As(err, &end): // a decision, not a failure
		c.endWith(err)
	case entered:
		c.report(err)
		c.endWith(err)
	default:
		c.log("wschannels: channel refused", err)
		c.endWith(err)
	}
	<-c.gone
	c.retire()

	switch end := c.err; { // by now there is one
	case err != nil && !c.ownEnd(err):
		return err
	case !end.normal():
		return end
	}
	return nil
}

// runEvents is the handler of event mode.
func (c *Channel) runEvents(ctx context.Context) error {
	deliver := func(m Message, err error) {
		if err != nil {
			c.report(err)
			return
		}
		c.fireMessage(ctx, m)
	}
	if c.claimReading() {
		c.pump(deliver) // on this goroutine: an idle channel has no other
		return c.Err()
	}
	for {
		m, err := c.Receive(ctx)
		if err != nil && !passing(err) {
			return err
		}
		deliver(m, err)
	}
}

// channelCloses is told when a channel of the box begins to close.
func (b *ChannelBox) channelCloses(c *Channel, end *CloseError) {
	c.mu.Lock()
	entered := c.entered
	c.mu.Unlock()
	if !entered {
		return
	}
	switch {
	case errors.Is(end.Err, ErrSlowConsumer):
		b.counters.slowClosed.Add(1)
	case errors.Is(end.Err, ErrExpired):
		b.counters.expired.Add(1)
	case errors.Is(end.Err, ErrStale):
		b.counters.stale.Add(1)
	}
	b.users.settle(c)
}

// channelGone is told after the last event of a channel.
func (b *ChannelBox) channelGone(c *Channel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.live[c]; !ok {
		return
	}
	delete(b.live, c)
	c.addTo(&b.gone)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entered {
		b.counters.disconnected.Add(1)
	}
}

func (b *ChannelBox) logError(msg string, err error) {
	if b.opts.Logger != nil {
		b.opts.Logger.Error(msg, "error", err.Error())
	}
}
