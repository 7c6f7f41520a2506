package redisbroker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// subscription is called on the connection's goroutine, as receive is, so that what it tells
// comes before the first message.
func (l *link) subscription(s rueidis.PubSubSubscription) {
	l.sign()
	switch s.Kind {
	case "subscribe", "ssubscribe":
		l.restored(s.Channel)
	case "sunsubscribe":
		l.unsubscribed(s.Channel)
	}
}

// unsubscribed notes that the server has ended a subscription: as was asked for, or because
// it does not have the slot any more.
func (l *link) unsubscribed(channel string) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if _, ok := l.have[channel]; !ok || l.cluster == nil {
		return
	}
	delete(l.have, channel)
	if t := l.b.topics[channel]; t != nil && t.link == l {
		t.interrupt()
		l.dirty[channel] = struct{}{}
	}
	l.cluster.look()
}

// sign notes a sign of life.
func (l *link) sign() {
	if !l.heard.Load() { // or each message would be a write that all processors see
		l.heard.Store(true)
	}
}

// restored tells those who were subscribed to channel before an outage that it is over.
func (l *link) restored(channel string) {
	l.b.mu.Lock()
	t := l.b.topics[channel]
	if t == nil || t.link != l || !t.broken {
		l.b.mu.Unlock()
		return
	}
	t.broken = false
	name, held := t.name, t.held()
	l.b.mu.Unlock()
	for _, s := range held {
		s.Interrupted(name)
	}
}

// receive is called for each message, one at a time.
func (l *link) receive(m rueidis.PubSubMessage) {
	l.sign()
	if m.Channel == l.probe {
		return
	}
	if m.Message == "" {
		l.b.garbage(m.Channel)
		return
	}
	switch m.Message[0] {
	case 'p':
		l.publications(m)
	case 'e':
		l.appeared(m)
	case 'q':
		l.requested(m)
	case 'a', 'n':
		l.answered(m)
	default:
		l.b.garbage(m.Channel)
	}
}

// publications hands group messages on, one after the other.
func (l *link) publications(m rueidis.PubSubMessage) {
	push, ok := readPush(m.Message)
	if !ok {
		l.b.garbage(m.Channel)
		return
	}
	p := new(wschannels.Publication) // one after the other: it is read only until Deliver returns
	for len(push.rest) > 0 {
		*p = wschannels.Publication{}
		if err := push.next(p); err != nil {
			l.b.garbage(m.Channel)
			return
		}
		l.b.mu.Lock()
		t := l.b.topics[m.Channel]
		if t == nil {
			l.b.mu.Unlock()
			return // nobody is subscribed any more
		}
		if t.seen.epoch == p.Epoch {
			p.Epoch = t.seen.epoch
		} else {
			p.Epoch = strings.Clone(p.Epoch) // or it would keep all that was received
		}
		// Nothing comes twice in Redis's own order: the engine has lost the end of this one.
		// Whoever hears that it was interrupted asks for the position, and with what has been
		// seen, that starts a new order.
		back := p.Epoch == t.seen.epoch && p.Seq <= t.seen.seq
		if !back {
			t.seen = seen{p.Epoch, p.Seq}
		}
		p.Group = t.name
		subs := t.subs
		l.b.mu.Unlock()
		for _, s := range subs {
			if back {
				s.Interrupted(p.Group)
			}
			s.Deliver(p)
		}
	}
}

var errGarbage = errors.New("redisbroker: received what no broker sent")

// Of what no broker sent, so many are told of in a row, and then one in each interval.
const (
	garbageBurst = 100
	garbageEvery = 100 * time.Millisecond
)

// blame bounds how often garbage is told of.
type blame struct {
	left    int
	at      time.Time
	skipped int
}

// allow reports whether one more may be told of, and how many have not been.
func (b *blame) allow(now time.Time) (skipped int, ok bool) {
	if n := int(now.Sub(b.at) / garbageEvery); n > 0 {
		b.left, b.at = min(b.left+n, garbageBurst), now
	}
	if b.left == 0 {
		b.skipped++
		return 0, false
	}
	b.left--
	skipped, b.skipped = b.skipped, 0
	return skipped, true
}

// garbage tells channel's subscribers of something that no broker sent.
func (b *Broker) garbage(channel string) {
	b.mu.Lock()
	t := b.topics[channel]
	skipped, ok := b.blamed.allow(time.Now())
	if t == nil || !ok {
		b.mu.Unlock()
		return
	}
	name, subs := t.name, t.subs
	b.mu.Unlock()
	err := fmt.Errorf("%w, to %q", errGarbage, name)
	if skipped > 0 {
		err = fmt.Errorf("%w (and %d more that were not reported)", err, skipped)
	}
	for _, s := range subs {
		s.Failed(err)
	}
}
