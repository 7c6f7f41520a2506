package redisbroker

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
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
	channel string
	data    []byte // as it is sent; see appendPublication
	cost    int    // in the history, 0: do not save it
	created int64  // in milliseconds

	at   wschannels.Position
	err  error
	done chan struct{}
}

// A dispatch lets publications that wait for Redis go there together, in one call. Whoever
// finds the way free waits for nothing.
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
	for n < len(d.waiting) && n < maxBatch && (n == 0 || bytes+len(d.waiting[n].data) <= maxBatchBytes) {
		bytes += len(d.waiting[n].data)
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
	bundles := bundle(batch)
	keys := make([]string, 0, len(bundles))
	args := append(make([]string, 0, 2+4*len(bundles)+5*len(batch)), newToken(), b.publishCommand())
	epochs := b.epochs(bundles)
	for i, bundle := range bundles {
		keys = append(keys, bundle[0].channel)
		args = appendBundle(append(args, epochs[i]), bundle)
	}
	reply, err := b.run(ctx, false, len(bundles), b.scripts.publish, keys, args)
	for i, bundle := range bundles {
		at, err := wschannels.Position{Epoch: epochs[i]}, err
		if err == nil {
			err = readFirst(ctx, &reply[i], &at)
		}
		for _, p := range bundle {
			p.at, p.err = at, err
			at.Seq++
		}
	}
}

// bundle sorts a batch by channels. What goes to one channel stays in its order.
func bundle(batch []*parcel) [][]*parcel {
	if !slices.ContainsFunc(batch, func(p *parcel) bool { return p.channel != batch[0].channel }) {
		return [][]*parcel{batch}
	}
	batch = slices.Clone(batch)
	slices.SortStableFunc(batch, func(p, q *parcel) int { return strings.Compare(p.channel, q.channel) })
	bundles := make([][]*parcel, 0, len(batch))
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].channel == batch[0].channel {
			n++
		}
		bundles, batch = append(bundles, batch[:n:n]), batch[n:]
	}
	return bundles
}

// epochs returns the epoch of each bundle's order, as far as somebody is subscribed, who has it
// retained, and has heard of it.
func (b *Broker) epochs(bundles [][]*parcel) []string {
	all := make([]string, len(bundles))
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, bundle := range bundles {
		if t := b.topics[bundle[0].channel]; t != nil {
			all[i] = t.seen.epoch
		}
	}
	return all
}

// appendBundle appends the arguments of the script that say what is published to a group.
func appendBundle(args []string, bundle []*parcel) []string {
	data := bundle[0].data
	if len(bundle) > 1 {
		data = nil
		for _, p := range bundle {
			data = append(data, p.data...)
		}
	}
	args = append(args, strconv.Itoa(len(bundle)), rueidis.BinaryString(data), "")
	saved, count, end := len(args)-1, 0, 0
	for i, p := range bundle {
		end += len(p.data)
		if p.cost > 0 {
			count++
			args = append(args, strconv.Itoa(i+1), strconv.Itoa(end-len(p.data)+itemHead+1), strconv.Itoa(end),
				strconv.Itoa(p.cost), strconv.FormatInt(p.created, 10))
		}
	}
	args[saved] = strconv.Itoa(count)
	return args
}

// readFirst reads what the script returned of a group: the first publication's place. at has the
// epoch that it was told.
func readFirst(ctx context.Context, m *rueidis.RedisMessage, at *wschannels.Position) error {
	if m.IsInt64() {
		seq, err := m.AsUint64()
		at.Seq = seq
		return err
	}
	s, err := m.ToString()
	if err != nil {
		return failure(ctx, false, err)
	}
	place, rest, ok := readPlace(s)
	if !ok || rest != "" {
		return errReply
	}
	*at = place
	return nil
}

// readPlace reads a place as the script writes it, and returns what is behind it.
func readPlace(s string) (at wschannels.Position, rest string, ok bool) {
	if len(s) < epochLen+8 || !isToken(s[:epochLen]) {
		return at, "", false
	}
	var b [8]byte
	copy(b[:], s[epochLen:])
	seq := math.Float64frombits(binary.BigEndian.Uint64(b[:]))
	at = wschannels.Position{Epoch: s[:epochLen], Seq: uint64(seq)}
	return at, s[epochLen+8:], seq >= 0 && seq < 1<<53 && seq == math.Trunc(seq)
}

// itemHead is the length of what is before a publication's own form: '1' if it is saved, else
// '0', and the length of that form, 4 bytes, big-endian.
const itemHead = 1 + 4

// appendPublication appends p as it is sent: together with others of its group.
func appendPublication(b []byte, p *wschannels.Publication, saved bool) ([]byte, error) {
	head := len(b)
	b = append(b, '0', 0, 0, 0, 0)
	if saved {
		b[head] = '1'
	}
	b, err := p.AppendBinary(b)
	if err == nil {
		binary.BigEndian.PutUint32(b[head+1:], uint32(len(b)-head-itemHead))
	}
	return b, err
}
