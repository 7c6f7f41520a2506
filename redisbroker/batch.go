package redisbroker

import (
	"context"
	"slices"
	"sync"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// How publications go together.
const (
	maxFlights    = 2 // calls under way, past which publications wait for each other
	maxBatch      = 64
	maxBatchBytes = 1 << 20
)

// A parcel is a publication on its way, and what became of it.
type parcel struct {
	keys  [2]string
	args  [6]string
	reply []rueidis.RedisMessage
	err   error
	done  chan struct{}
}

// A dispatch lets publications that wait for Redis go there together, in one call.
type dispatch struct {
	mu      sync.Mutex // guards what follows
	flights int
	waiting []*parcel
}

// post sends p: at once, on the caller's goroutine, or, while others are on their way, with
// those that wait, too. In a cluster, where groups are on several servers, it never waits.
func (b *Broker) post(ctx context.Context, p *parcel) error {
	d := &b.dispatch
	d.mu.Lock()
	if b.shards != nil || d.flights < maxFlights {
		d.flights++
		d.mu.Unlock()
		b.fly(ctx, []*parcel{p})
		b.landed()
		return p.err
	}
	p.done = make(chan struct{})
	d.waiting = append(d.waiting, p)
	d.mu.Unlock()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.waiting, p); i >= 0 {
		d.waiting = slices.Delete(slices.Clone(d.waiting), i, i+1) // batches share what is before
		return unavailable(context.Cause(ctx))
	}
	return failure(ctx, false, wschannels.ErrUnknownOutcome)
}

// landed lets those that wait go.
func (b *Broker) landed() {
	d := &b.dispatch
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		d.flights--
		return
	}
	n, bytes := 0, 0
	for n < len(d.waiting) && n < maxBatch && (n == 0 || bytes+len(d.waiting[n].args[2]) <= maxBatchBytes) {
		bytes += len(d.waiting[n].args[2])
		n++
	}
	batch := d.waiting[:n:n]
	d.waiting = d.waiting[n:]
	b.wg.Go(func() { // whoever has landed is a call under way, or a goroutine of these
		b.fly(context.Background(), batch) // ends with the client's own limits for this
		for _, p := range batch {
			close(p.done)
		}
		b.landed()
	})
}

// fly sends a batch, and waits for what becomes of it.
func (b *Broker) fly(ctx context.Context, batch []*parcel) {
	keys := make([]string, 0, 2*len(batch))
	args := append(make([]string, 0, 6+6*len(batch)), newToken(), b.limits[0], b.limits[1], b.limits[2], b.limits[3], b.publishCommand())
	for _, p := range batch {
		keys = append(keys, p.keys[:]...)
		args = append(args, p.args[:]...)
	}
	reply, err := b.run(ctx, false, 3*len(batch), publishScript, keys, args)
	for i, p := range batch {
		if p.err = err; err == nil {
			p.reply = reply[3*i : 3*i+3]
		}
	}
}
