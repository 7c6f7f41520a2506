package natsbroker

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
)

// commit stores ops as one batch after all that the group has, and returns the tail with
// them, and those of ops that this is about: the others, which another node has published,
// or which were another node's, have ended. The stream refuses a batch that does not follow the last one. So nothing is stored
// twice, however often it is tried; and it is tried until the outcome is known, as long as
// there is a connection and time. The seat is left after the first try, or before another
// node is waited for, which may wait for this one.
func (t *topic) commit(ctx context.Context, s seat, ops []*op) ([]*op, tail, error) {
	b := t.shard.b
	defer s.leave()
	c, err := b.begin(ctx)
	if err != nil {
		return ops, tail{}, err
	}
	defer c.end()
	if !b.order.known() {
		if err := b.order.ready(c.context()); err != nil {
			return ops, tail{}, err
		}
	}
	var base, next tail
	var body []byte
	doubt := false   // it may have been stored
	offered := false // since this node was refused
	for {
		if !doubt {
			if base, err = t.current(c); err != nil {
				return ops, tail{}, b.failure(c.context(), err)
			}
			if ops = t.valid(&base, ops); len(ops) > 0 && !offered {
				offered = true
				if ops, err = t.handOver(c, &s, &base, ops); err != nil {
					return ops, tail{}, err
				}
				if len(ops) > 0 {
					continue // what is known may be old by now
				}
			}
			if len(ops) == 0 {
				return nil, base, nil
			}
			if ops[0].needless(&base, b.opts.Retain) {
				return ops, base, nil
			}
			next, body = t.assemble(base, ops)
		}
		kind := "u"
		if ops[0].save {
			kind = "s"
		}
		began := time.Now()
		at, err := b.order.swap(c, b.patience(), t.subject(kind), t.subject("*"), base.at, 0, body)
		now := time.Now()
		s.leave()
		if err == nil {
			b.pace.note(now.Sub(began), now)
			next.at, next.when = at, now
			if ops[0].save {
				next.savedAt = at
			}
			t.own(&base, &next)
			return ops, next, nil
		}
		refused := new(apiError)
		switch {
		case isCode(err, codeWrongLast, codeWrongLast2):
			if doubt || b.opts.Replicas > 1 { // also a leader that is none any more refuses
				found, err := t.follows(c.context(), base, next.id)
				switch {
				case errors.Is(err, errNothingFollows) && b.opts.Replicas > 1: // not there yet, or the server asked is behind
					doubt = true
					t.forgetTail()
					pause(c.context(), 20*time.Millisecond)
					continue
				case err != nil && (doubt || !errors.Is(err, errFollowedBefore)):
					return ops, tail{}, b.unsure(c.context(), err)
				case found != nil:
					t.own(&base, found)
					return ops, *found, nil
				}
				doubt = false
			}
			offered = false
			t.setOutran(true)
			if err := t.outrun(c.context(), base.at); err != nil {
				return ops, tail{}, b.failure(c.context(), err)
			}
		case errors.As(err, &refused) && !doubt && (b.opts.Replicas == 1 || refused.Code < 500): // else another server may have it
			return ops, tail{}, b.failure(c.context(), err)
		case errors.Is(err, nats.ErrNoResponders) && !doubt:
			if err := b.order.again(c.context()); err != nil {
				return ops, tail{}, b.failure(c.context(), err)
			}
			t.forgetTail() // the stream is a new one
		case errors.Is(err, nats.ErrReconnectBufExceeded) && !doubt, errors.Is(err, nats.ErrConnectionReconnecting) && !doubt:
			return ops, tail{}, b.failure(c.context(), err)
		default:
			doubt = true
			b.pace.open()
			if c.context().Err() != nil || b.nc.IsClosed() {
				return ops, tail{}, b.unsure(c.context(), err)
			}
			pause(c.context(), 20*time.Millisecond)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// needless reports whether o is a mark that would change nothing.
func (o *op) needless(base *tail, retain time.Duration) bool {
	switch {
	case o.data != nil, o.fence, base.at == 0, time.Since(base.when) > retain/2:
		return false
	case o.flush:
		return base.floor == base.saved
	}
	return true
}

// assemble makes the batch of ops that follows base, and the tail with it.
func (t *topic) assemble(base tail, ops []*op) (tail, []byte) {
	b := &batch{before: base, first: base.seq + 1, saved: ops[0].save}
	binary.NativeEndian.PutUint64(b.before.id[:], rand.Uint64())
	b.before.node = t.shard.b.node
	if ops[0].flush {
		b.before.floor = base.saved
	}
	for _, o := range ops {
		if o.data != nil {
			b.items = append(b.items, o.data)
		}
		if b.saved {
			b.cost += uint64(o.cost)
		}
	}
	return b.after(0, time.Time{}), b.encode()
}

// current returns the group's tail, as far as it is known here. What it is now, only the
// stream knows.
func (t *topic) current(c *call) (tail, error) {
	t.mu.Lock()
	known := t.tail
	t.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	return t.load(c.context())
}

// load reads the group's tail. One that has none gets a new epoch, which is nobody else's
// to know before something is stored.
func (t *topic) load(ctx context.Context) (tail, error) {
	b := t.shard.b
	for {
		m, err := b.order.last(ctx, t.subject("*"))
		if err != nil {
			return tail{}, err
		}
		if m == nil {
			fresh := tail{when: time.Now()}
			for i := range fresh.epoch {
				fresh.epoch[i] = byte(rand.Uint32())
			}
			return fresh, nil
		}
		read, err := decodeBatch(m.data)
		if err == nil {
			found := read.after(m.seq, m.when)
			t.hear(&found)
			return found, nil
		}
		// Nobody can publish after it, nor read past it: it has to go.
		if err := b.order.discard(ctx, m, func(err error) { t.shard.reject(t, err) }, err); err != nil {
			return tail{}, err
		}
	}
}

// follows looks whether the batch id is the one that follows base; nil: it is not, and never
// will be.
func (t *topic) follows(ctx context.Context, base tail, id [8]byte) (*tail, error) {
	m, err := t.shard.b.order.direct(ctx, map[string]any{"seq": base.at + 1, "next_by_subj": t.subject("*")})
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, errNothingFollows
	}
	read, err := decodeBatch(m.data)
	switch {
	case err != nil:
		return nil, err
	case read.before.id == id:
		found := read.after(m.seq, m.when)
		return &found, nil
	case base.at == 0 && read.before.epoch != base.epoch, read.before.epoch == base.epoch && read.first == base.seq+1:
		return nil, nil // it is another one that follows
	}
	return nil, errFollowedBefore
}

var (
	errNothingFollows = errors.New("the order has been lost")
	errFollowedBefore = errors.New("what followed is not there any more")
)

// outrun returns once the tail is not the one at the given place: another node has
// published. If this one is subscribed, it is about to get that.
func (t *topic) outrun(ctx context.Context, at uint64) error {
	t.mu.Lock()
	if t.tail != nil && t.tail.at > at {
		t.mu.Unlock()
		return nil
	}
	subscribed := t.sub != nil
	if t.moved == nil {
		t.moved = make(chan struct{})
	}
	moved := t.moved
	t.mu.Unlock()
	if subscribed {
		select {
		case <-moved:
			pause(ctx, time.Duration(rand.IntN(100))*time.Microsecond)
			return nil
		case <-time.After(2*time.Millisecond + time.Duration(rand.IntN(1000))*time.Microsecond):
		}
	}
	t.forgetTail()
	_, err := t.load(ctx)
	return err
}

func (t *topic) forgetTail() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tail = nil
}

// own notes next, which is this node's and follows base.
func (t *topic) own(base, next *tail) {
	next.run = next.at
	if base.node == next.node {
		next.run = base.since()
	}
	t.hear(next)
}

// hear is learn for a tail that may not be the newest.
func (t *topic) hear(next *tail) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tail == nil || next.at > t.tail.at || next.at == t.tail.at && next.run > 0 {
		t.learn(next)
	}
}

// learn notes the group's newest tail. t.mu is held.
func (t *topic) learn(next *tail) {
	t.tail = next
	t.trims.note(next, &t.shard.b.opts.History)
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
}
