package redisbroker

import (
	"context"
	"slices"

	"github.com/wschannels/wschannels"
)

// A topic is a channel that somebody here wants to hear. The broker's mu guards its fields.
type topic struct {
	kind string // ofGroup, ofAddress or ofBroker
	name string
	link *link

	members []*member
	subs    []wschannels.Subscriber // of members; replaced, never changed
	ears    []wschannels.Listener   // likewise

	confirmed bool         // by the server, on the present connection
	broken    bool         // by an outage, which the members have not been told is over
	waiting   []chan error // for confirmed
	seen      seen         // of the order, by those who are subscribed
}

// A member of a topic is a Subscriber or a Listener.
type member struct {
	who     interruptible
	held    bool // a call that subscribed it has returned
	pending int  // such calls under way
}

type seen struct {
	epoch string
	seq   uint64
}

// tell ends the waiting for confirmed.
func (t *topic) tell(err error) {
	for _, w := range t.waiting {
		w <- err
	}
	t.waiting = nil
}

func (t *topic) confirm() {
	t.confirmed = true
	t.tell(nil)
}

// interrupt says that the server's confirmation is worth nothing any more.
func (t *topic) interrupt() {
	t.broken = t.broken || t.confirmed
	t.confirmed = false
}

func (t *topic) member(who interruptible) *member {
	i := slices.IndexFunc(t.members, func(m *member) bool { return m.who == who })
	if i < 0 {
		return nil
	}
	return t.members[i]
}

func (t *topic) remove(m *member) {
	t.members = slices.DeleteFunc(t.members, func(o *member) bool { return o == m })
	t.list()
}

func (t *topic) list() {
	t.subs, t.ears = nil, nil
	for _, m := range t.members {
		switch t.kind {
		case ofGroup:
			t.subs = append(t.subs, m.who.(wschannels.Subscriber))
		case ofAddress:
			t.ears = append(t.ears, m.who.(wschannels.Listener))
		}
	}
}

// An interruptible is a Subscriber, a Listener or a desk.
type interruptible interface{ Interrupted(name string) }

// held returns the members that were subscribed, and not just about to be.
func (t *topic) held() []interruptible {
	var held []interruptible
	for _, m := range t.members {
		if m.held {
			held = append(held, m.who)
		}
	}
	return held
}

// addHeld adds to failed the subscribers who are to hear that something went wrong.
func (t *topic) addHeld(failed map[wschannels.Subscriber]struct{}) {
	if t.kind != ofGroup {
		return
	}
	for _, m := range t.held() {
		failed[m.(wschannels.Subscriber)] = struct{}{}
	}
}

// Subscribe is [wschannels.Broker]'s.
func (b *Broker) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	return b.join(ctx, ofGroup, group, s)
}

// Unsubscribe is [wschannels.Broker]'s.
func (b *Broker) Unsubscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	return b.part(ctx, b.channel(ofGroup, group), s)
}

// join returns once the server has confirmed that what is published to the channel comes to who.
func (b *Broker) join(ctx context.Context, kind, name string, who interruptible) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	channel := b.channel(kind, name)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return wschannels.ErrClosed
	}
	t := b.topics[channel]
	if t == nil {
		l := b.linkOf(channel)
		if l.state == away {
			defer b.mu.Unlock()
			return unavailable(l.cause)
		}
		t = &topic{kind: kind, name: name, link: l}
		b.topics[channel] = t
		l.want(channel)
	}
	m := t.member(who)
	if m == nil {
		m = &member{who: who}
		t.members = append(t.members, m)
		t.list()
	}
	if t.confirmed {
		m.held = true
		b.mu.Unlock()
		return nil
	}
	if t.link.state == away {
		b.give(channel, t, m)
		defer b.mu.Unlock()
		return unavailable(t.link.cause)
	}
	m.pending++
	confirmed := make(chan error, 1)
	t.waiting = append(t.waiting, confirmed)
	b.mu.Unlock()

	var err error
	select {
	case err = <-confirmed:
	case <-ctx.Done():
		err = unavailable(context.Cause(ctx))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t.waiting = slices.DeleteFunc(t.waiting, func(w chan error) bool { return w == confirmed })
	m.pending--
	if err == nil {
		m.held = true
		return nil
	}
	b.give(channel, t, m)
	return err
}

// give gives m up, unless somebody else has subscribed it or is about to. b.mu is held.
func (b *Broker) give(channel string, t *topic, m *member) {
	if m.held || m.pending > 0 {
		return
	}
	t.remove(m)
	b.drop(channel, t)
}

// drop forgets a topic without members. b.mu is held.
func (b *Broker) drop(channel string, t *topic) {
	if len(t.members) == 0 && b.topics[channel] == t {
		delete(b.topics, channel)
		t.link.want(channel)
	}
}

// part is the opposite of join. The server is told later.
func (b *Broker) part(ctx context.Context, channel string, who interruptible) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return wschannels.ErrClosed
	}
	t := b.topics[channel]
	if t == nil {
		return nil
	}
	if m := t.member(who); m != nil {
		t.remove(m)
		b.drop(channel, t)
	}
	return nil
}
