package natsbroker

import (
	"context"
	"fmt"
	"slices"

	"github.com/wschannels/wschannels"
)

// A lane publishes to one group: one batch at a time, and what comes meanwhile is the next.
// The topic's mu guards it.
type lane struct {
	queue  []*op
	busy   bool          // somebody publishes batches until queue is empty
	tail   *tail         // the newest that is known; nil: none
	behind bool          // the last batch was refused, as somebody else had published
	moved  chan struct{} // closed when tail is replaced; nil: nobody waits
	trims  trims
	unused int // batches and bytes on "u" that this node has not had removed
	ubytes int
}

// An op is a publication, or, without data, a mark: a batch that only says what is known.
type op struct {
	data  []byte
	cost  int    // of a saved publication
	save  bool   // data goes into the history
	flush bool   // a mark: what is saved is forgotten
	fence bool   // a mark: nothing else will do
	offer *offer // of another node's; nil: it is this one's

	done chan struct{} // closed when what follows is set; nil: nobody waits
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
	o := &op{data: data, cost: len(p.Data) + wschannels.MessageCost}
	o.save = p.Save && o.cost <= b.opts.History.Bytes
	if err := t.do(ctx, o); err != nil {
		return err
	}
	p.Seq, p.Epoch, p.Saved = o.seq, t.epochName(o.tail.epoch), o.save
	return nil
}

// do has o done, and waits for that.
func (t *topic) do(ctx context.Context, o *op) error {
	b := t.shard.b
	if _, err := b.link.up(); err != nil {
		return err
	}
	t.mu.Lock()
	start, alone := !t.busy, false
	var s seat
	if t.busy = true; start {
		s, alone = b.pace.try()
	}
	if !alone {
		o.done = make(chan struct{})
		t.queue = append(t.queue, o)
	}
	t.mu.Unlock()
	switch {
	case alone:
		t.once(ctx, s, o)
		return o.err
	case start:
		t.launch(t.run)
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

// push queues ops, and has them published.
func (t *topic) push(ops ...*op) {
	t.mu.Lock()
	t.queue = append(t.queue, ops...)
	start := !t.busy
	t.busy = true
	t.mu.Unlock()
	if start {
		t.launch(t.run)
	}
}

// launch has f run, which ends as run does.
func (t *topic) launch(f func()) {
	t.pin()
	if !t.shard.b.start(f) {
		t.run() // everything in the queue ends with ErrClosed
	}
}

// once publishes o as a batch of its own, for the caller, who has made the lane busy.
func (t *topic) once(ctx context.Context, s seat, o *op) {
	tidy := t.step(ctx, s, []*op{o})
	t.mu.Lock()
	more := len(t.queue) > 0
	t.busy = more || tidy != nil
	t.mu.Unlock()
	if !more && tidy == nil {
		return
	}
	t.launch(func() {
		if tidy != nil {
			tidy()
		}
		t.run()
	})
}

// end says what has become of o.
func (o *op) end(seq uint64, at *tail, err error) {
	o.seq, o.tail, o.err = seq, *at, err
	if o.done != nil {
		close(o.done)
	}
	if o.offer != nil {
		o.offer.end()
	}
}

// run publishes batches until nothing is left to do.
func (t *topic) run() {
	defer t.unpin()
	for t.more() {
		s := t.shard.b.pace.enter() // first: the batch grows until then
		if tidy := t.step(context.Background(), s, t.take()); tidy != nil {
			tidy()
		}
	}
}

// more reports whether there is anything to publish. If not, nobody is busy any more.
func (t *topic) more() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.busy, t.queue = false, nil
	}
	return t.busy
}

// step publishes one batch. What it returns, if anything, is to be called next.
func (t *topic) step(ctx context.Context, s seat, ops []*op) (tidy func()) {
	if len(ops) == 0 { // their callers have given up
		s.leave()
		return nil
	}
	ops, next, err := t.commit(ctx, s, ops)
	shared := slices.ContainsFunc(ops, func(o *op) bool { return o.offer != ops[0].offer })
	for i, o := range ops {
		if o.offer != nil && shared {
			o.offer.shared = true
		}
		o.end(next.seq-uint64(len(ops)-1-i), &next, err)
	}
	if err != nil || len(ops) == 0 {
		return nil
	}
	return t.untidy(ops, &next)
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
	ops := t.queue[:n:n]
	t.queue = t.queue[n:]
	return ops
}
