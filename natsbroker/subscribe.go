package natsbroker

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
)

// A topic is what this node knows of one group.
type topic struct {
	group string
	token string // of group
	shard *shard

	pins int // guarded by the shard's mu: operations under way

	mu      sync.Mutex         // guards what follows
	subs    []*subscriber      // replaced, not changed
	sub     *nats.Subscription // while there are subs
	dropped int                // by sub, that have been told of

	// What was delivered last.
	epoch [8]byte
	seq   uint64

	lane // publishing
}

type subscriber struct {
	s       wschannels.Subscriber
	pending int  // calls of Subscribe that do not know yet; guarded by the topic's mu
	ok      bool // one has known; likewise
}

// A shard has a part of the groups, and delivers what comes for them.
type shard struct {
	b    *Broker
	msgs chan *nats.Msg // of all subscriptions
	wake chan struct{}  // there is something in interrupted, or in all

	mu          sync.Mutex // guards what follows
	topics      map[string]*topic
	interrupted map[*topic]bool
	all         bool // are interrupted
}

const (
	maxQueued = 8192    // messages of NATS in a shard's msgs
	maxIdle   = 1 << 16 // topics that a shard remembers without need
)

func newShard(b *Broker) *shard {
	return &shard{
		b: b, msgs: make(chan *nats.Msg, maxQueued), wake: make(chan struct{}, 1),
		topics: make(map[string]*topic), interrupted: make(map[*topic]bool),
	}
}

var seed = maphash.MakeSeed()

// pin returns the topic of group, which stays until unpinned.
func (b *Broker) pin(group string) (*topic, error) {
	if !validName(group) {
		return nil, wschannels.ErrInvalidGroup
	}
	if err := context.Cause(b.closing); err != nil {
		return nil, err
	}
	name := token(group)
	s := b.shards[maphash.String(seed, name)%uint64(len(b.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[name]
	if t == nil {
		t = &topic{group: group, token: name, shard: s}
		s.topics[name] = t
	}
	t.pins++
	return t, nil
}

func (t *topic) pin() {
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	t.pins++
}

// unpin lets t go. What is known of a group that nobody subscribes to is only of use if
// more is published soon.
func (t *topic) unpin() {
	s := t.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	t.pins--
	if len(s.topics) > maxIdle {
		s.forget(t)
		n := 0
		for _, old := range s.topics { // any: the map's order is random
			s.forget(old)
			if n++; n == 4 {
				return
			}
		}
	}
}

// forget drops t if it is of no need. s.mu is held.
func (s *shard) forget(t *topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pins == 0 && t.sub == nil {
		delete(s.topics, t.token)
	}
}

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

// run delivers until the broker is closed.
func (s *shard) run() {
	crowded := false
	for {
		select {
		case <-s.b.closing.Done():
			return
		case m := <-s.msgs:
			crowded = crowded || len(s.msgs) >= maxQueued-1 // more may have come than there was room for
			s.deliver(m)
		case <-s.wake:
			s.tellInterrupted()
		}
		if crowded && len(s.msgs) < maxQueued/2 {
			crowded = false
			s.countDropped()
		}
	}
}

// end drops all subscriptions. Nothing of the broker runs any more.
func (s *shard) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.topics {
		if t.sub != nil {
			_ = t.sub.Unsubscribe() // an error says that nc is closed
		}
	}
	s.topics = nil
}

// deliver hands on one message of NATS.
func (s *shard) deliver(m *nats.Msg) {
	s.mu.Lock()
	t := s.topics[strings.TrimPrefix(m.Subject, s.b.deliverySubject(""))]
	s.mu.Unlock()
	if t == nil {
		return // unsubscribed
	}
	if len(m.Data) > 0 && m.Data[0] == presenceVersion {
		s.appear(t, m)
		return
	}
	b, err := decodeBatch(m.Data)
	at, bad := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil || bad != nil {
		s.reject(t, errNotBatch)
		return
	}
	t.mu.Lock()
	if next := b.after(at, time.Now()); t.tail == nil || at > t.tail.at {
		t.learn(&next)
	}
	if t.epoch != b.before.epoch {
		t.epoch, t.seq = b.before.epoch, 0
	}
	from := t.seq // after a change of the stream's leader some come late, or again
	if n := len(b.items); n > 0 {
		t.seq = max(t.seq, b.first+uint64(n)-1)
	}
	subs := t.subs
	t.mu.Unlock()
	name := b.before.name()
	for i, item := range b.items {
		seq := b.first + uint64(i)
		if seq <= from {
			continue
		}
		p := &wschannels.Publication{}
		if len(b.items) > 1 {
			item = slices.Clone(item) // or who keeps one message keeps the whole batch
		}
		if err := p.UnmarshalBinary(item); err != nil {
			s.reject(t, err)
			continue
		}
		p.Group, p.Seq, p.Epoch, p.Saved = t.group, seq, name, b.saved
		for _, sub := range subs {
			sub.s.Deliver(p)
		}
	}
}

// reject tells of something that no broker has sent, unless that happens all the time.
func (s *shard) reject(t *topic, err error) {
	if !s.b.garbage.allow() {
		return
	}
	t.mu.Lock()
	subs := t.subs
	t.mu.Unlock()
	for _, sub := range subs {
		sub.s.Failed(fmt.Errorf("natsbroker: dropped what came for group %q: %w", t.group, err))
	}
}

// interrupt has the subscribers of t told, nil: all.
func (s *shard) interrupt(t *topic) {
	s.mu.Lock()
	if t == nil {
		s.all = true
	} else {
		s.interrupted[t] = true
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *shard) tellInterrupted() {
	s.mu.Lock()
	var told []*topic
	for t := range s.interrupted {
		told = append(told, t)
	}
	if s.all {
		told = told[:0]
		for _, t := range s.topics {
			told = append(told, t)
		}
	}
	clear(s.interrupted)
	s.all = false
	s.mu.Unlock()
	for _, t := range told {
		t.mu.Lock()
		subs := t.subs
		t.mu.Unlock()
		for _, sub := range subs {
			sub.s.Interrupted(t.group)
		}
	}
}

// countDropped looks which subscriptions have lost messages for want of room.
func (s *shard) countDropped() {
	s.mu.Lock()
	var lost []*topic
	for _, t := range s.topics {
		t.mu.Lock()
		if t.sub != nil {
			if n, err := t.sub.Dropped(); err == nil && n != t.dropped {
				t.dropped = n
				lost = append(lost, t)
			}
		}
		t.mu.Unlock()
	}
	s.mu.Unlock()
	if len(lost) == 0 {
		return
	}
	s.b.failSome(lost, errors.New("natsbroker: messages came faster than they were delivered, and some were dropped"))
	for _, t := range lost {
		s.interrupt(t)
	}
}

// fail tells every subscriber of err, once.
func (b *Broker) fail(err error) {
	var all []*topic
	for _, s := range b.shards {
		s.mu.Lock()
		for _, t := range s.topics {
			all = append(all, t)
		}
		s.mu.Unlock()
	}
	b.failSome(all, err)
}

func (b *Broker) failSome(topics []*topic, err error) {
	told := make(map[wschannels.Subscriber]bool)
	for _, t := range topics {
		t.mu.Lock()
		subs := t.subs
		t.mu.Unlock()
		for _, sub := range subs {
			if !told[sub.s] {
				told[sub.s] = true
				sub.s.Failed(err)
			}
		}
	}
}

// A limiter lets some events a second through.
type limiter struct {
	mu    sync.Mutex // guards what follows
	start time.Time
	n     int
}

const maxGarbage = 100 // a second

func (l *limiter) allow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.start) >= time.Second {
		l.start, l.n = now, 0
	}
	l.n++
	return l.n <= maxGarbage
}
