package wschannels

import (
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

// deliver queues p for every member.
func (r *room) deliver(p *Publication) {
	f := p.local
	if f == nil || f.rooms != r.rooms {
		f = new(fanout) // from another box, which has its own counts
		if from := r.rooms.deflateFrom; from > 0 {
			to := r.present(newExcept(p.Except))
			f.forms.compress(p.Message, &to, from)
		}
	}
	now := time.Now()
	skip := newExcept(p.Except)
	all := skip.empty()

	r.mu.Lock()
	if r.epoch != p.Epoch {
		r.begin(p.Epoch)
	}
	if r.prefix == nil && r.has.envelopes > 0 {
		r.prefix = placePrefix(r.name, r.epoch)
	}
	frames := framer{m: p.Message, forms: &f.forms, place: place{r.prefix, p.Seq}}
	for _, m := range r.members {
		if p.Seq <= m.after {
			continue // it was in what was replayed to it
		}
		if m.first == 0 {
			m.first = p.Seq
		}
		if !all && skip.has(m.c.id) {
			continue
		}
		fr := frames.frame(m.c)
		switch {
		case fr == nil:
			m.c.queue.drop()
			f.result.Dropped++
		case m.joining != nil:
			m.hold(fr, f)
		default:
			f.offer(m.c, fr, now)
		}
	}
	f.woken.done()
	r.mu.Unlock()

	if f != p.local && len(f.slow) > 0 {
		go f.closeSlow() // not here: the broker may hold its lock
	}
}

// closeSlow closes the members that found no room.
func (f *fanout) closeSlow() {
	for _, c := range f.slow {
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

func newMessage(group string, t PayloadType, data []byte, codec Codec) Message {
	return Message{ID: uuid.New(), Group: group, Created: time.Now(), Type: t, Data: data, codec: codec}
}
