package redisbroker

import (
	"context"
	"slices"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// reconcile makes conn's subscriptions as they are wanted.
func (l *link) reconcile(ctx context.Context, conn rueidis.DedicatedClient) error {
	add, remove := l.wanted()
	for chunk := range slices.Chunk(remove, batch) {
		if err := l.confirmed(ctx, conn, chunk, l.removeAll); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(add, batch) {
		if err := l.confirmed(ctx, conn, chunk, l.addAll); err != nil {
			return err
		}
	}
	return nil
}

// confirmed calls change, and bounds its time.
func (l *link) confirmed(ctx context.Context, conn rueidis.DedicatedClient, channels []string,
	change func(context.Context, rueidis.DedicatedClient, []string) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, confirmTime, errDeaf)
	defer cancel()
	err := change(ctx, conn, channels)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// wanted returns the channels whose subscription is missing, and those that have one that
// nobody wants.
func (l *link) wanted() (add, remove []string) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	for channel := range l.dirty {
		t := l.b.topics[channel]
		_, have := l.have[channel]
		switch want := t != nil && t.link == l; {
		case want && have: // again, before the server was told that nobody wants it
			t.confirm()
		case want:
			add = append(add, channel)
			l.have[channel] = struct{}{} // it may end again before it is known to be there
		case have:
			remove = append(remove, channel)
			delete(l.have, channel)
		}
	}
	clear(l.dirty)
	return add, remove
}

func (l *link) removeAll(ctx context.Context, conn rueidis.DedicatedClient, channels []string) error {
	if l.cluster == nil {
		return conn.Do(ctx, conn.B().Unsubscribe().Channel(channels...).Build()).NonRedisError()
	}
	cmds := make(rueidis.Commands, 0, len(channels))
	for _, channel := range channels {
		cmds = append(cmds, conn.B().Sunsubscribe().Channel(channel).Build())
	}
	for _, r := range conn.DoMulti(ctx, cmds...) {
		if err := r.NonRedisError(); err != nil {
			return err
		}
	}
	return nil
}

func (l *link) addAll(ctx context.Context, conn rueidis.DedicatedClient, channels []string) error {
	if l.cluster == nil {
		err := conn.Do(ctx, l.subscribe(conn, channels...)).Error()
		if _, refused := rueidis.IsRedisErr(err); refused && len(channels) > 1 {
			for _, channel := range channels { // perhaps it is only one of them
				if err := l.addAll(ctx, conn, []string{channel}); err != nil {
					return err
				}
			}
			return nil
		}
		return l.added(channels, err)
	}
	cmds := make(rueidis.Commands, 0, len(channels))
	for _, channel := range channels {
		cmds = append(cmds, l.subscribe(conn, channel))
	}
	for i, r := range conn.DoMulti(ctx, cmds...) {
		if err := l.added(channels[i:i+1], r.Error()); err != nil {
			return err
		}
	}
	return nil
}

// added says what became of a SUBSCRIBE; it returns an error if the connection has failed.
func (l *link) added(channels []string, err error) error {
	if _, refused := rueidis.IsRedisErr(err); err != nil && !refused {
		return err
	}
	failed := make(map[wschannels.Subscriber]struct{})
	l.b.mu.Lock()
	for _, channel := range channels {
		_, have := l.have[channel]
		if err != nil {
			delete(l.have, channel)
		}
		t := l.b.topics[channel]
		switch {
		case t == nil || t.link != l:
		case err == nil && have:
			t.confirm()
		case err == nil: // the server has ended it since
		case l.cluster != nil && refused(err.Error()): // the slot has moved, or is about to
			l.dirty[channel] = struct{}{}
			l.cluster.look()
		default:
			t.tell(unavailable(err))
			t.addHeld(failed)
		}
	}
	l.b.mu.Unlock()
	for s := range failed {
		s.Failed(unavailable(err))
	}
	return nil
}

func (l *link) subscribe(conn rueidis.DedicatedClient, channels ...string) rueidis.Completed {
	if l.cluster != nil {
		return conn.B().Ssubscribe().Channel(channels...).Build()
	}
	return conn.B().Subscribe().Channel(channels...).Build()
}
