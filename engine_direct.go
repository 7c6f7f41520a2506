package wschannels

import "context"

// What an engine does for messages to one channel and one user. The broker has the
// capability, or nobody asks.

func (e *engine) listen(ctx context.Context, address string, l Listener) error {
	return e.ask(ctx, func(ctx context.Context) error { return e.requests.Listen(ctx, address, l) })
}

func (e *engine) unlisten(ctx context.Context, address string, l Listener) error {
	return e.ask(ctx, func(ctx context.Context) error { return e.requests.Unlisten(ctx, address, l) })
}

func (e *engine) request(ctx context.Context, address string, data []byte) (answer []byte, err error) {
	err = e.call(ctx, errUnsure, func(ctx context.Context) (err error) {
		answer, err = e.requests.Request(ctx, address, data)
		return err
	})
	return answer, err
}

func (e *engine) putMail(ctx context.Context, user string, ms []Message, front bool, limits MailboxLimits) (kept, lost int, err error) {
	err = e.call(ctx, errUnsure, func(ctx context.Context) (err error) {
		kept, lost, err = e.mail.PutMail(ctx, user, ms, front, limits)
		return err
	})
	return kept, lost, err
}

func (e *engine) takeMail(ctx context.Context, user string) (ms []Message, err error) {
	err = e.call(ctx, errUnsure, func(ctx context.Context) (err error) {
		ms, err = e.mail.TakeMail(ctx, user)
		return err
	})
	return ms, err
}
