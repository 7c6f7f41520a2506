package natsbroker

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels"
)

// Nodes that publish to one group at the same time would refuse each other's batches all the
// time. So who was outrun offers what it has to who outran it, which takes it along with its
// own.
//
// An offer says what its node took for the group's last batch, one of the other node's. It
// is valid as long as all that followed that are the other node's, too: so whatever anybody
// else stores makes it void, and who gets no answer stores a mark, and then looks whether
// what it offered is before that.

// An offer is what another node wants to have published. The run of its topic owns it.
type offer struct {
	epoch  [8]byte
	after  uint64 // the stream's sequence of the last batch that it knew
	ops    []*op
	left   int  // of ops
	shared bool // they went together with others
	reply  func([]byte) error
}

var errVoid = errors.New("wschannels: the offer is void")

// maxOffer is how many bytes are offered at most: what is large is not worth another hop.
const maxOffer = 32 << 10

// holds reports whether nobody but this node has published since what the offer knows.
func (f *offer) holds(base *tail, node [8]byte) bool {
	return base.node == node && base.epoch == f.epoch && f.after >= base.since() && f.after <= base.at
}

// end answers, once all that was offered has ended.
func (f *offer) end() {
	if f.left--; f.left > 0 {
		return
	}
	a := answer{shared: f.shared, places: make([]uint64, len(f.ops))}
	for i, o := range f.ops {
		switch {
		case o.err == nil:
			a.epoch, a.places[i] = o.tail.epoch, o.seq
		case errors.Is(o.err, wschannels.ErrUnknownOutcome):
			return // who offered it finds out
		}
	}
	_ = f.reply(a.encode()) // an error is as an answer that is lost
}

func (b *Broker) offerSubject(node [8]byte) string {
	return b.opts.Prefix + ".o." + hex.EncodeToString(node[:])
}

// consider takes an offer. It does not block.
func (b *Broker) consider(m *nats.Msg) {
	name, f, err := decodeOffer(m.Data)
	if err != nil {
		b.reject("an offer", err)
		return
	}
	f.reply = m.Respond
	group, _ := untoken(name)
	t, err := b.pin(group)
	if err == nil {
		defer t.unpin()
		if t.leads() {
			t.push(f.ops...)
			return
		}
	}
	_ = m.Respond((&answer{places: make([]uint64, len(f.ops))}).encode()) // void
}

// leads reports whether the last batch is this node's, as far as it knows.
func (t *topic) leads() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tail != nil && t.tail.node == t.shard.b.node
}

// valid returns those of ops that may follow base; the others end.
func (t *topic) valid(base *tail, ops []*op) []*op {
	node := t.shard.b.node
	if !slices.ContainsFunc(ops, func(o *op) bool { return o.offer != nil }) {
		return ops
	}
	return slices.DeleteFunc(slices.Clone(ops), func(o *op) bool {
		void := o.offer != nil && !o.offer.holds(base, node)
		if void {
			o.end(0, base, errVoid)
		}
		return void
	})
}

// handOver offers ops to who published base, where that promises to be of use, and returns
// those that it has not taken.
func (t *topic) handOver(c *call, s *seat, base *tail, ops []*op) ([]*op, error) {
	b := t.shard.b
	if !t.outran() || base.at == 0 || base.node == b.node || ops[0].data == nil {
		return ops, nil
	}
	body := encodeOffer(t.token, base, ops)
	if len(body) > min(maxOffer, int(b.nc.MaxPayload())) {
		return ops, nil
	}
	s.leave()
	m, err := b.ask(c, &nats.Msg{Subject: b.offerSubject(base.node), Data: body}, b.patience())
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting):
		t.setOutran(false)
		return ops, nil
	case err == nil:
		var a answer
		if a, err = decodeAnswer(m.Data, len(ops)); err == nil {
			return t.settled(ops, &a), nil
		}
	}
	a, err := t.reclaim(c.context(), base, ops)
	if err != nil {
		return ops, b.unsure(c.context(), err)
	}
	return t.settled(ops, &a), nil
}

// settled ends those of ops that have a place, and returns the others.
func (t *topic) settled(ops []*op, a *answer) (left []*op) {
	for i, o := range ops {
		if a.places[i] == 0 {
			left = append(left, o)
			continue
		}
		o.end(a.places[i], &tail{epoch: a.epoch}, nil)
	}
	t.took(len(left) == 0, a.shared)
	return left
}

// reclaim makes an offer void that was not answered, and returns what has become of it.
func (t *topic) reclaim(ctx context.Context, base *tail, ops []*op) (answer, error) {
	t.setOutran(false)
	a := answer{epoch: base.epoch, places: make([]uint64, len(ops))}
	_, fence, err := t.commit(ctx, seat{}, []*op{{fence: true}})
	if err != nil {
		return a, err
	}
	for tries := range 10 {
		found := false
		seq := base.seq
		err := t.shard.b.order.read(ctx, t.subject("*"), base.at+1, func(m *stored) bool {
			read, err := decodeBatch(m.data)
			if err != nil {
				return true
			}
			if read.before.epoch != base.epoch || read.first != seq+1 {
				return false // there was something that is not there any more
			}
			seq += uint64(len(read.items))
			if read.before.node == base.node {
				a.match(ops, read)
			}
			found = m.seq == fence.at
			return !found
		})
		if err != nil || found {
			return a, err
		}
		pause(ctx, time.Duration(tries)*5*time.Millisecond) // a replica may not have it yet
	}
	return a, errors.New("what followed is not there any more")
}

// match notes the places of those of ops that are in read.
func (a *answer) match(ops []*op, read *batch) {
	for i, o := range ops {
		for j, item := range read.items {
			if seq := read.first + uint64(j); bytes.Equal(item, o.data) && !slices.Contains(a.places, seq) && a.places[i] == 0 {
				a.places[i] = seq
			}
		}
	}
}

// outran reports whether the last batch of this node's was refused.
func (t *topic) outran() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.behind
}

func (t *topic) setOutran(yes bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.behind = yes
}

// took notes how an offer has fared. Who had nothing of its own to go with several of them
// is no longer a rival.
func (t *topic) took(all, shared bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.behind = all && shared
}
