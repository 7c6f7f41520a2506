package natsbroker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
)

// messageCost is what a kept message counts beside its payload.
const messageCost = 128

// orderConfig is the stream that has all groups' order and history. A group has two
// subjects: "s" for batches that are saved, "u" for others. Together they are its order.
func (b *Broker) orderConfig() jetstream.StreamConfig {
	o := b.opts
	most := o.History.Bytes/messageCost + 1 // no history has as many messages, nor batches
	if o.History.Len > 0 {
		most = min(most, o.History.Len)
	}
	return jetstream.StreamConfig{
		Name:              o.Prefix + "-order",
		Subjects:          []string{o.Prefix + ".g.*.*"},
		MaxAge:            o.Retain,
		MaxMsgsPerSubject: int64(most),
		Storage:           storage(o.Storage),
		Replicas:          o.Replicas,
		Duplicates:        min(o.Retain, time.Minute),
		AllowDirect:       true,
		RePublish: &jetstream.RePublish{
			Source:      o.Prefix + ".g.*.*",
			Destination: o.Prefix + ".d.{{wildcard(1)}}",
		},
	}
}

func storage(s nats.StorageType) jetstream.StorageType {
	if s == nats.MemoryStorage {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

func (b *Broker) deliverySubject(token string) string { return b.opts.Prefix + ".d." + token }

// subject is where batches of the group go, "s" or "u", or "*" for both.
func (t *topic) subject(kind string) string {
	return t.shard.b.opts.Prefix + ".g." + t.token + "." + kind
}

// A lane publishes to one group: one batch at a time, and what comes meanwhile is the next.
// The topic's mu guards it.
type lane struct {
	queue  []*op
	busy   bool          // somebody publishes batches until queue is empty
	tail   *tail         // the newest that is known; nil: none
	moved  chan struct{} // closed when tail is replaced; nil: nobody waits
	trims  trims
	unused int // batches and bytes on "u" that this node has not had removed
	ubytes int
}

// An op is a publication, or, without data, a mark: a batch that only says what is known.
type op struct {
	data  []byte
	cost  int  // of a saved publication
	save  bool // data goes into the history
	flush bool // a mark: what is saved is forgotten

	done chan struct{} // closed when what follows is set
	seq  uint64
	tail tail
	err  error
}

// Publish is [wschannels.Broker]'s.
func (b *Broker) Publish(ctx context.Context, p *wschannels.Publication) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t, err := b.pin(p.Group)
	if err != nil {
		return err
	}
	defer t.unpin()
	data, err := p.MarshalBinary()
	if err != nil {
		return err
	}
	if limit := int(b.nc.MaxPayload()) - 512; limit > 0 && len(data) > limit { // beside it there are headers
		return fmt.Errorf("%w for NATS: %d bytes, and max_payload leaves %d", wschannels.ErrTooLarge, len(data), limit)
	}
	o := &op{data: data, cost: len(p.Data) + messageCost}
	o.save = p.Save && o.cost <= b.opts.History.Bytes
	if err := t.do(ctx, o); err != nil {
		return err
	}
	p.Seq, p.Epoch, p.Saved = o.seq, o.tail.name(), o.save
	return nil
}

// do has o done, and waits for that.
func (t *topic) do(ctx context.Context, o *op) error {
	b := t.shard.b
	if _, err := b.link.up(); err != nil {
		return err
	}
	o.done = make(chan struct{})
	t.mu.Lock()
	t.queue = append(t.queue, o)
	start := !t.busy
	t.busy = true
	t.mu.Unlock()
	if start {
		t.pin()
		if !b.start(t.run) {
			t.run() // everything in the queue ends with ErrClosed
		}
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, other := range t.queue {
		if other == o {
			t.queue = append(t.queue[:i:i], t.queue[i+1:]...)
			return context.Cause(ctx)
		}
	}
	select {
	case <-o.done:
		return o.err
	default:
		return b.unsure(ctx, nil)
	}
}

// run publishes batches until nothing is left to do.
func (t *topic) run() {
	defer t.unpin()
	for {
		ops := t.take()
		if ops == nil {
			return
		}
		next, err := t.commit(ops)
		seq := next.seq - uint64(len(ops))
		for _, o := range ops {
			seq++
			o.seq, o.tail, o.err = seq, next, err
			close(o.done)
		}
		if err == nil {
			t.tidy(ops, next)
		}
	}
}

// take returns the ops of the next batch: as many as are alike and fit.
func (t *topic) take() []*op {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, size := 0, 0
	for n < len(t.queue) && n < maxBatchItems {
		o, first := t.queue[n], t.queue[0]
		size += len(o.data) + 4
		if n > 0 && (size > maxBatchBytes || o.save != first.save || o.data == nil || first.data == nil) {
			break
		}
		n++
	}
	if n == 0 {
		t.busy, t.queue = false, nil
		return nil
	}
	ops := t.queue[:n:n]
	t.queue = t.queue[n:]
	return ops
}

// commit stores ops as one batch after all that the group has, and returns the tail with
// them. The stream refuses a batch that does not follow the last one. So nothing is stored
// twice, however often it is tried; and it is tried until the outcome is known, as long as
// there is a connection and time.
func (t *topic) commit(ops []*op) (tail, error) {
	b := t.shard.b
	ctx, cancel, err := b.call(context.Background())
	if err != nil {
		return tail{}, err
	}
	defer cancel()
	if err := b.order.ready(ctx); err != nil {
		return tail{}, err
	}
	var base, next tail
	var body []byte
	doubt := false // it may have been stored
	for {
		if !doubt {
			if base, err = t.current(ctx); err != nil {
				return tail{}, b.failure(ctx, err)
			}
			if ops[0].needless(&base, b.opts.Retain) {
				return base, nil
			}
			next, body = assemble(base, ops)
		}
		try, stop := context.WithTimeout(ctx, max(b.opts.RequestTimeout/4, 50*time.Millisecond))
		kind := "u"
		if ops[0].save {
			kind = "s"
		}
		at, err := b.order.swap(try, t.subject(kind), t.subject("*"), base.at, 0, body)
		stop()
		if err == nil {
			next.at, next.when = at, time.Now()
			if ops[0].save {
				next.savedAt = at
			}
			t.hear(&next)
			return next, nil
		}
		refused := new(apiError)
		switch {
		case isCode(err, codeWrongLast, codeWrongLast2):
			if doubt {
				found, err := t.follows(ctx, base, next.id)
				if err != nil {
					return tail{}, b.unsure(ctx, err)
				}
				if found != nil {
					t.hear(found)
					return *found, nil
				}
				doubt = false
			}
			if err := t.outrun(ctx, base.at); err != nil {
				return tail{}, b.failure(ctx, err)
			}
		case errors.As(err, &refused) && !doubt:
			return tail{}, b.failure(ctx, err)
		case errors.Is(err, nats.ErrNoResponders) && !doubt:
			if err := b.order.again(ctx); err != nil {
				return tail{}, b.failure(ctx, err)
			}
			t.forgetTail() // the stream is a new one
		case errors.Is(err, nats.ErrReconnectBufExceeded) && !doubt, errors.Is(err, nats.ErrConnectionReconnecting) && !doubt:
			return tail{}, b.failure(ctx, err)
		default:
			doubt = true
			if ctx.Err() != nil || b.nc.IsClosed() {
				return tail{}, b.unsure(ctx, err)
			}
			pause(ctx, 20*time.Millisecond)
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
	case o.data != nil, base.at == 0, time.Since(base.when) > retain/2:
		return false
	case o.flush:
		return base.floor == base.saved
	}
	return true
}

// assemble makes the batch of ops that follows base, and the tail with it.
func assemble(base tail, ops []*op) (tail, []byte) {
	b := &batch{before: base, first: base.seq + 1, saved: ops[0].save}
	for i := range b.before.id {
		b.before.id[i] = byte(rand.Uint32())
	}
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
func (t *topic) current(ctx context.Context) (tail, error) {
	t.mu.Lock()
	known := t.tail
	t.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	return t.load(ctx)
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
		t.shard.reject(t, err)
		if err := b.order.api(ctx, "STREAM.MSG.DELETE", map[string]any{"seq": m.seq}, nil); err != nil {
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
		return nil, errors.New("the order has been lost")
	}
	read, err := decodeBatch(m.data)
	switch {
	case err != nil:
		return nil, err
	case read.before.id == id:
		found := read.after(m.seq, m.when)
		return &found, nil
	case base.at == 0, read.before.epoch == base.epoch && read.first == base.seq+1:
		return nil, nil // it is another one that follows
	}
	return nil, errors.New("what followed is not there any more")
}

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

// hear is learn for a tail that may not be the newest.
func (t *topic) hear(next *tail) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tail == nil || next.at > t.tail.at {
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
