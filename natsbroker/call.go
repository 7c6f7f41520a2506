package natsbroker

import (
	"context"
	"errors"
	"time"
)

// A call is what is done for one call of a method: it ends with the caller's context, with
// the connection, with the broker, and after Options.RequestTimeout. It has a context of its
// own as soon as that is needed.
type call struct {
	b      *Broker
	caller context.Context
	up     context.Context // ends with the connection, and the broker
	ends   time.Time
	ctx    context.Context
	cancel context.CancelFunc
}

// begin begins a call. end ends it.
func (b *Broker) begin(ctx context.Context) (*call, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	up, err := b.link.up()
	if err != nil {
		return nil, err
	}
	return &call{b: b, caller: ctx, up: up, ends: time.Now().Add(b.opts.RequestTimeout)}, nil
}

// context returns the call's context.
func (c *call) context() context.Context {
	if c.ctx != nil {
		return c.ctx
	}
	ctx, cancel := context.WithCancelCause(c.caller)
	stop := context.AfterFunc(c.up, func() { cancel(context.Cause(c.up)) })
	if c.up.Err() != nil {
		cancel(context.Cause(c.up))
	}
	ctx, timeout := context.WithDeadlineCause(ctx, c.ends, errSilent)
	c.ctx, c.cancel = ctx, func() { timeout(); stop(); cancel(nil) }
	return c.ctx
}

// err says why the call is over, if it is.
func (c *call) err() error {
	switch {
	case c.caller.Err() != nil:
		return context.Cause(c.caller)
	case c.up.Err() != nil:
		return context.Cause(c.up)
	case time.Now().After(c.ends):
		return errSilent
	}
	return nil
}

func (c *call) end() {
	if c.cancel != nil {
		c.cancel()
	}
}

// patience is how long one answer is waited for, where there is another way then.
func (b *Broker) patience() time.Duration { return max(b.opts.RequestTimeout/4, 50*time.Millisecond) }

// call returns a context for one call: it ends with ctx, with the connection, with the
// broker, and after Options.RequestTimeout.
func (b *Broker) call(ctx context.Context) (context.Context, context.CancelFunc, error) {
	c, err := b.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	return c.context(), c.end, nil
}

var errSilent = errors.New("no answer within natsbroker.Options.RequestTimeout")
