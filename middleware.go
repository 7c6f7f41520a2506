package wschannels

import (
	"context"
	"errors"
)

// A Handler runs one channel from accept to close. Its context ends when closing
// starts, which may be while it is at work on the last message: what is to be done with
// that all the same, such as a GroupSend, takes [context.WithoutCancel].
//
// Nil closes with 1000. An error closes with 1011 and goes to OnError; a *[CloseError]
// chooses the code instead, and a *[PayloadError] means 1003. A panic is recovered: 1011
// and OnError. Whichever way it ends, the channel leaves every group and the registry.
type Handler func(ctx context.Context, c *Channel) error

// A Middleware wraps a Handler: it runs before the channel is in the box, may refuse
// it by returning without calling next, and sees how next ends. It calls next at most
// once.
type Middleware func(next Handler) Handler

// Chain makes one middleware of several. The first is the outermost: it sees a channel
// first and its end last. Nil ones are skipped.
func Chain(mw ...Middleware) Middleware {
	return func(next Handler) Handler {
		for i := len(mw) - 1; i >= 0; i-- {
			if mw[i] != nil {
				next = mw[i](next)
			}
		}
		return next
	}
}

// Auth returns a middleware that refuses a channel with [StatusUnauthorized] if check
// returns an error. The peer is told "unauthorized", or the reason of a *[CloseError]
// that check returned. check may call [Channel.SetUser]; it may block, as long as ctx
// lasts.
func Auth(check func(ctx context.Context, c *Channel) error) Middleware {
	return func(next Handler) Handler {
		return func(ctx context.Context, c *Channel) error {
			err := check(ctx, c)
			if err == nil {
				return next(ctx, c)
			}
			refusal := &CloseError{Code: StatusUnauthorized, Reason: "unauthorized", Err: errors.Join(ErrUnauthorized, err)}
			if chosen, ok := chosenEnd(err); ok && chosen.Reason != "" {
				refusal.Reason = chosen.Reason
			}
			return refusal
		}
	}
}
