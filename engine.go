package wschannels

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// An engine is a [Broker] as a box calls it: with its capabilities found, every call
// bounded, and panics of the application's taken for errors.
type engine struct {
	broker Broker

	// What broker can do beside; nil: it cannot.
	history  HistoryBroker
	requests RequestBroker
	mail     MailboxBroker
	presence PresenceBroker

	memory  *MemoryBroker // broker, if it is one: it waits for nothing, and is trusted
	timeout time.Duration
	panics  *atomic.Uint64

	patience atomic.Pointer[patience] // of sends
}

func newEngine(b Broker, timeout time.Duration, panics *atomic.Uint64) *engine {
	e := &engine{broker: b, timeout: timeout, panics: panics}
	e.memory, _ = b.(*MemoryBroker)
	e.history, _ = b.(HistoryBroker)
	e.requests, _ = b.(RequestBroker)
	e.mail, _ = b.(MailboxBroker)
	e.presence, _ = b.(PresenceBroker)
	return e
}

// local reports whether the broker waits for nothing.
func (e *engine) local() bool { return e.memory != nil }

// What a call that takes the configured time ends with, if the broker says no better.
var (
	errSilent = fmt.Errorf("%w: no answer within Options.BrokerTimeout", ErrUnavailable)
	errUnsure = fmt.Errorf("%w: no answer within Options.BrokerTimeout", ErrUnknownOutcome)
)

// ask calls f, which changes nothing, with a context that ends after the configured time.
func (e *engine) ask(ctx context.Context, f func(ctx context.Context) error) error {
	return e.call(ctx, errSilent, f)
}

// call is ask; silence is the error of a broker that does not answer.
func (e *engine) call(ctx context.Context, silence error, f func(ctx context.Context) error) error {
	ctx, cancel := e.bounded(ctx, silence)
	defer cancel()
	return e.guarded(ctx, silence, f)
}

// bounded returns ctx so that it ends after the configured time, with silence as its cause.
// One that ends before that is as it was: the timer and its context cost more than most of
// a send.
func (e *engine) bounded(ctx context.Context, silence error) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= e.timeout {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, e.timeout, silence)
}

// boundedSend is bounded, with errUnsure, for a send. Those whose own contexts never end share
// one that does, and perhaps a sixteenth of the time early.
func (e *engine) boundedSend(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Done() != nil {
		return e.bounded(ctx, errUnsure)
	}
	now := time.Now()
	p := e.patience.Load()
	if p == nil || p.end.Sub(now) < e.timeout-e.timeout/16 {
		p = &patience{end: now.Add(e.timeout)}
		p.ctx, p.stop = context.WithDeadlineCause(context.Background(), p.end, errUnsure)
		e.patience.Store(p)
	}
	if ctx != context.Background() {
		return withValues{p.ctx, ctx}, func() {}
	}
	return p.ctx, func() {}
}

// A patience is a context that ends at its time, as nobody knows who still waits with it.
type patience struct {
	end  time.Time
	ctx  context.Context
	stop context.CancelFunc // never called
}

// withValues is a context that ends as one, and has the values of another, which never ends.
type withValues struct {
	context.Context
	values context.Context
}

func (c withValues) Value(key any) any {
	if v := c.values.Value(key); v != nil {
		return v
	}
	return c.Context.Value(key) // what package context keeps there
}

// guarded calls f with ctx, which is bounded.
func (e *engine) guarded(ctx context.Context, silence error, f func(ctx context.Context) error) error {
	return counted(guard(func() error {
		err := f(ctx)
		if err != nil && context.Cause(ctx) == silence && !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrUnknownOutcome) {
			return silence
		}
		return err
	}), e.panics)
}

// publish takes a ctx that is bounded, with errUnsure.
func (e *engine) publish(ctx context.Context, p *Publication) error {
	if e.memory != nil {
		return e.memory.Publish(ctx, p)
	}
	return unsureIf(ctx, e.guarded(ctx, errUnsure, func(ctx context.Context) error { return e.broker.Publish(ctx, p) }))
}

func (e *engine) subscribe(ctx context.Context, group string, s Subscriber) error {
	if e.memory != nil {
		return e.memory.Subscribe(ctx, group, s)
	}
	return e.ask(ctx, func(ctx context.Context) error { return e.broker.Subscribe(ctx, group, s) })
}

func (e *engine) unsubscribe(ctx context.Context, group string, s Subscriber) error {
	if e.memory != nil {
		return e.memory.Unsubscribe(ctx, group, s)
	}
	return e.ask(ctx, func(ctx context.Context) error { return e.broker.Unsubscribe(ctx, group, s) })
}

func (e *engine) position(ctx context.Context, group string) (at Position, err error) {
	if e.memory != nil {
		return e.memory.Position(ctx, group)
	}
	err = e.ask(ctx, func(ctx context.Context) (err error) {
		at, err = e.broker.Position(ctx, group)
		return err
	})
	return at, err
}

// saved returns the history's page; with a broker that has no history an empty one.
func (e *engine) saved(ctx context.Context, group string, opts *HistoryOptions) (page HistoryPage, err error) {
	switch {
	case e.memory != nil:
		return e.memory.History(ctx, group, opts)
	case e.history == nil:
		page.Position, err = e.position(ctx, group)
		page.Complete = err == nil && opts != nil && opts.After != nil && *opts.After == page.Position
		return page, err
	}
	err = e.ask(ctx, func(ctx context.Context) (err error) {
		page, err = e.history.History(ctx, group, opts)
		return err
	})
	return page, err
}

func (e *engine) flush(ctx context.Context, groups ...string) error {
	switch {
	case e.memory != nil:
		return e.memory.Flush(ctx, groups...)
	case e.history == nil:
		return nil // nothing is saved
	}
	return e.call(ctx, errUnsure, func(ctx context.Context) error { return e.history.Flush(ctx, groups...) })
}

// unsureIf makes err, of a call that may have done something before ctx ended, say so.
func unsureIf(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) {
		return err
	}
	if !errors.Is(err, context.Cause(ctx)) && !errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}
