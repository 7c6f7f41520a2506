package wschannels

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
)

// A fanout is one group message in the forms that the local members need, and what
// became of it.
type fanout struct {
	rooms  *roomTable
	forms  forms
	result SendResult
	slow   []*Channel // found no room, to be closed
	woken  awakening  // those that have just begun to write
}

// deliver queues p for every member. own says that f has p's forms, and whoever sent it
// closes those that found no room. Without a Seq, p has no place in the order, and the
// members that get it are returned.
func (r *room) deliver(p *Publication, f *fanout, own bool) (to []uuid.UUID) {
	if from := r.rooms.deflateFrom; !own && from > 0 { // from another box, which has its own counts
		to := r.present(newExcept(p.Except))
		f.forms.compress(p.Message, &to, from)
	}
	now := time.Now()
	skip := newExcept(p.Except)
	all := skip.empty()

	r.mu.Lock()
	frames := framer{m: p.Message, forms: f.forms, place: r.envelopePlace(p)}
	seq := p.Seq
	if seq == 0 {
		seq = math.MaxUint64 // it comes before nothing
		to = make([]uuid.UUID, 0, len(r.members))
	}
	for _, m := range r.members {
		if seq <= m.after {
			continue // it was in what was replayed to it
		}
		if m.first == 0 {
			m.first = p.Seq
		}
		if m.joining != nil {
			m.joining.saw(r.epoch, p.Seq)
		}
		if !all && skip.has(m.c.id) {
			continue
		}
		if p.Seq == 0 {
			to = append(to, m.c.id)
		}
		fr := frames.frame(m.c)
		switch {
		case fr == nil:
			m.c.queue.drop()
			f.result.Dropped++
		case m.joining != nil:
			m.hold(fr, f, p.Seq)
		default:
			f.offer(m.c, fr, now)
		}
	}
	if !f.woken.keep || !f.woken.calm(now) {
		f.woken.done()
	}
	r.mu.Unlock()

	if !own && len(f.slow) > 0 {
		go closeSlow(f.slow) // not here: the broker may hold its lock
	}
	return to
}

// envelopePlace returns p's place, for envelopes, once r is in p's order. r.mu is held.
func (r *room) envelopePlace(p *Publication) place {
	if p.Seq == 0 {
		return place{prefix: groupPrefix(r.name)}
	}
	if r.epoch != p.Epoch {
		r.begin(p.Epoch)
	}
	if r.prefix == nil && r.has.envelopes > 0 {
		r.prefix = placePrefix(r.name, r.epoch)
	}
	return place{r.prefix, p.Seq}
}

// closeSlow closes the members that found no room.
func (f *fanout) closeSlow() { closeSlow(f.slow) }

func closeSlow(slow []*Channel) {
	for _, c := range slow {
		c.closeAsync(&CloseError{Code: StatusSlowConsumer, Reason: "too slow", Err: ErrSlowConsumer}, prompt)
	}
}

// except is a set of channels that do not get a message.
type except struct {
	few  []uuid.UUID
	many map[uuid.UUID]struct{}
}

func newExcept(ids []uuid.UUID) except {
	if len(ids) <= 8 {
		return except{few: ids}
	}
	e := except{many: make(map[uuid.UUID]struct{}, len(ids))}
	for _, id := range ids {
		e.many[id] = struct{}{}
	}
	return e
}

func (e except) empty() bool { return len(e.few) == 0 && e.many == nil }

func (e except) has(id uuid.UUID) bool {
	if e.many != nil {
		_, ok := e.many[id]
		return ok
	}
	return len(e.few) > 0 && slices.Contains(e.few, id)
}

// offer queues fr on c by c's policy, and counts what comes of it. It may be called
// under the lock that makes the order. f.woken is to be told when that is done.
func (f *fanout) offer(c *Channel, fr *frame, now time.Time) outcome {
	out, evicted := c.queue.offer(fr, c.opts.Slow, &f.woken)
	f.result.Evicted += evicted
	switch out {
	case offered:
		f.result.Queued++
		c.active.Store(int64(now.Sub(c.created)))
	case offeredFull:
		f.missed(c)
	}
	return out
}

func (f *fanout) missed(c *Channel) {
	if c.opts.Slow == SlowDisconnect {
		f.result.Closed++
		f.slow = append(f.slow, c)
	} else {
		f.result.Dropped++
	}
}

// newMessageID is uuid.New at a tenth of its cost: IDs of messages are unique, and no secret.
func newMessageID() (id uuid.UUID) {
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	id[6] = id[6]&0x0f | 0x40 // version 4
	id[8] = id[8]&0x3f | 0x80 // of RFC 9562
	return id
}

func newMessage(group string, t PayloadType, data []byte, codec Codec) Message {
	return Message{ID: newMessageID(), Group: group, Created: time.Now(), Type: t, Data: data, codec: codec}
}
