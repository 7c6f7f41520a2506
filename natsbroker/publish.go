package natsbroker

import (
	"context"
	"fmt"

	"github.com/wschannels/wschannels"
)

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
