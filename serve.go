package wschannels

import (
	"context"
	"errors"
	"log/slog"
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
// OnDisconnect fires. (A panic of middleware goes to OnError all the same.)
//
// While a message waits to be received nothing more is read, not even the peer's close
// frame: an h that only sends lets a goroutine range over [Channel.Messages].
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

// Add puts a channel made by [NewChannel] (on a test's fake, say) in the box. It may
// be there already.
func (b *ChannelBox) Add(c *Channel) error {
	if c == nil {
		return errNilChannel
	}
	if err := b.enter(c); err != nil {
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
	if err := b.Add(c); err != nil && c.Err() == nil {
		return err
	}
	c.mu.Lock()
	served, closed := c.served, c.err != nil
	c.served = served || !closed
	c.mu.Unlock()
	switch {
	case closed: // before we came
		if !served {
			<-c.whenRetired()
		}
		return c.abnormalEnd()
	case served:
		return errServed
	}

	// Closing ends the handler's context, and ctx closes: not ctx itself, for the
	// handler to find the channel closed when it looks.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(c.Err()) })()
	defer context.AfterFunc(ctx, func() {
		cause := guard(func() error { return context.Cause(ctx) })
		c.closeAsync(&CloseError{Code: websocket.StatusGoingAway, Err: cause}, graceful)
	})()
	return b.run(inner, c, h, nil)
}

var errServed = errors.New("wschannels: the channel is being served already")

// resolve is ChannelOptions.resolve with the box's options for nil.
func (b *ChannelBox) resolve(opts *ChannelOptions) (*ChannelOptions, error) {
	if opts == nil {
		return b.channel, nil
	}
	return opts.resolve()
}

// run takes a channel from the middleware to its last event, also if the handler ends
// its goroutine.
func (b *ChannelBox) run(ctx context.Context, c *Channel, h Handler, mw Middleware) (result error) {
	s := &service{box: b, handler: h}
	err := errGoexit
	defer func() {
		if s.refused || !s.entered && !c.wasEntered() {
			b.counters.refused.Add(1)
		}
		result = c.conclude(err, s.entered)
	}()
	if mw == nil {
		err = guard(func() error { return s.run(ctx, c) })
	} else {
		err = guard(func() error { return mw(s.run)(ctx, c) })
	}
	return nil // conclude says
}

// A service is what the middleware is around: it puts the channel in the box and runs
// the handler.
type service struct {
	box     *ChannelBox
	handler Handler // nil: event mode
	entered bool
	refused bool // by OnConnect
}

func (s *service) run(ctx context.Context, c *Channel) error {
	if s.entered {
		return errors.New("wschannels: a middleware called next twice")
	}
	if err := s.box.enter(c); err != nil {
		if own := c.Err(); own != nil {
			return own
		}
		return refusal(err)
	}
	s.entered = true
	if err := c.fireConnect(ctx); err != nil {
		s.refused = true
		return err
	}
	if s.handler == nil {
		return c.runEvents(ctx)
	}
	if _, err := c.startReading(); err != nil {
		return err
	}
	return s.handler(ctx, c)
}

var errGoexit = errors.New("wschannels: the handler called runtime.Goexit")

// conclude ends a channel whose handler has returned err, and returns what Serve does.
func (c *Channel) conclude(err error, entered bool) (result error) {
	defer func() { // also if OnError ends its goroutine
		c.endWith(err)
		<-c.gone
		c.retire()
		if result = c.abnormalEnd(); err != nil && !c.ownEnd(err) {
			result = err
		}
	}()
	end, chosen := chosenEnd(err)
	_, panicked := err.(*PanicError)
	switch {
	case err == nil || chosen && sendable(end.Code) || c.ownEnd(err): // no failure
	case entered || panicked:
		c.report(err)
	default:
		c.log("wschannels: channel refused", err)
	}
	return nil // the end says
}

// abnormalEnd returns the end of a closed channel, nil if it was a normal one that
// nothing but the wish of one side caused.
func (c *Channel) abnormalEnd() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err.normal() && c.err.Err == nil {
		return nil
	}
	return c.err
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

// wasEntered reports whether c is, or was, in the box: one that was added before may have
// closed before it was served.
func (c *Channel) wasEntered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entered
}

// channelCloses is told when a channel of the box begins to close.
func (b *ChannelBox) channelCloses(c *Channel, end *CloseError, fault bool) {
	b.counters.end(end, fault)
	b.direct.moved(c)
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

func (b *ChannelBox) logError(msg string, err error) { b.log(slog.LevelError, msg, err) }

func (b *ChannelBox) log(level slog.Level, msg string, err error) {
	if b.opts.Logger == nil {
		return
	}
	failed := guard(func() error {
		b.opts.Logger.Log(context.Background(), level, msg, "error", printable(err.Error()))
		return nil
	})
	_ = counted(failed, &b.counters.panics) // and nobody left to tell
}
