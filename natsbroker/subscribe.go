package natsbroker

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels"
)

// Subscribe is [wschannels.Broker]'s.
func (b *Broker) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	ctx, cancel, err := b.call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := b.order.ready(ctx); err != nil {
		return err
	}
	t, err := b.pin(group)
	if err != nil {
		return err
	}
	defer t.unpin()
	if err := t.add(s); err != nil {
		return b.failure(ctx, err)
	}
	err = b.leader(ctx)
	t.settle(s, err == nil)
	if err != nil {
		return b.failure(ctx, err)
	}
	return context.Cause(b.closing)
}

// add notes s, and asks NATS for the group's messages if nobody has.
func (t *topic) add(s wschannels.Subscriber) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := context.Cause(t.shard.b.closing); err != nil {
		return err // end would not see it
	}
	if t.sub == nil {
		sub, err := t.shard.b.nc.ChanSubscribe(t.shard.b.deliverySubject(t.token), t.shard.msgs)
		if err != nil {
			return err
		}
		t.sub, t.dropped = sub, 0
	}
	if i := t.find(s); i >= 0 {
		t.subs[i].pending++
	} else {
		t.subs = append(slices.Clone(t.subs), &subscriber{s: s, pending: 1})
	}
	return nil
}

// settle notes whether a call that added s has worked.
func (t *topic) settle(s wschannels.Subscriber, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.find(s)
	if i < 0 {
		return // somebody has unsubscribed it meanwhile
	}
	t.subs[i].pending--
	if t.subs[i].ok = t.subs[i].ok || ok; !t.subs[i].ok && t.subs[i].pending == 0 {
		t.remove(i)
	}
}

// find returns the place of s in subs, -1 if it is not there. t.mu is held.
func (t *topic) find(s wschannels.Subscriber) int {
	return slices.IndexFunc(t.subs, func(o *subscriber) bool { return o.s == s })
}

// remove takes subs[i] out, and ends the subscription with the last one. t.mu is held.
func (t *topic) remove(i int) {
	t.subs = slices.Delete(slices.Clone(t.subs), i, i+1)
	if len(t.subs) == 0 {
		_ = t.sub.Unsubscribe() // an error says that nc is closed
		t.sub = nil
	}
}

// Unsubscribe is [wschannels.Broker]'s.
func (b *Broker) Unsubscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t, err := b.pin(group)
	if err != nil {
		return err
	}
	defer t.unpin()
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.find(s); i >= 0 {
		t.remove(i)
	}
	return nil
}

// leader asks the leader of the order's stream for nothing in particular. What this
// connection has asked for before, above all subscriptions, it then knows: requests take
// the same way to it.
func (b *Broker) leader(ctx context.Context) error {
	err := b.order.api(ctx, "STREAM.MSG.GET", map[string]any{"last_by_subj": b.opts.Prefix + ".g.=.u"}, nil)
	switch {
	case isCode(err, codeNoMessage):
		return nil
	case isCode(err, codeNoStream), errors.Is(err, nats.ErrNoResponders):
		return b.order.again(ctx)
	}
	return err
}
