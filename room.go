package wschannels

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A room is the local side of a group: its members in this process, and the fan-out
// to them.
type room struct {
	name  string
	rooms *rooms

	// turn is held, as a semaphore of one, while the broker's subscription changes.
	// refs, under rooms.mu, counts who needs the room to stay in the table.
	turn       chan struct{}
	subscribed bool
	refs       int

	// mu makes the group's order that of every member: whoever holds it queues one
	// message for all. Nothing done under it blocks, writes or calls foreign code.
	mu      sync.Mutex
	members []*member
	kinds   [payloadTypes]int // members by payload type
	epoch   string
	prefix  []byte // of the envelopes of this epoch
}

// A member is one channel's membership of one room.
type member struct {
	c     *Channel
	room  *room
	index int    // in room.members; -1 when removed. Guarded by room.mu
	after uint64 // gets what comes after this Seq

	// first is the Seq of the first message after it became a member, once there is
	// one: what came before is the history's to give.
	first uint64

	// While saved messages are being replayed to it, live ones are held here, in
	// order and no more than QueueBytes of them.
	joining   bool
	held      []*frame
	heldBytes int
	abandon   context.CancelCauseFunc // ends the join that is under way
}

// A fanout is one group message in the forms that the local members need, and what
// became of it.
type fanout struct {
	rooms  *rooms
	forms  [payloadTypes][]byte
	result SendResult
	slow   []*Channel // found no room, to be closed
}

// A framer makes the frames of one message: one for each payload type, plain and in
// an envelope, when the first channel needs it.
type framer struct {
	m        Message
	forms    *[payloadTypes][]byte
	place    place
	mail     *mail
	frames   [2 * payloadTypes]*frame
	unusable [payloadTypes]bool
}

// frame returns m as c gets it, nil if c's type cannot carry it.
func (f *framer) frame(c *Channel) *frame {
	t, i := c.opts.PayloadType, int(c.opts.PayloadType)
	if c.opts.Envelope {
		i += payloadTypes
	}
	if f.frames[i] != nil || f.unusable[t] {
		return f.frames[i]
	}
	p := f.forms[t]
	if p == nil {
		var err error
		if p, err = carry(f.m, t); err != nil {
			f.unusable[t] = true
			return nil
		}
	}
	if c.opts.Envelope {
		p = envelope(t, f.place, f.m.ID, p)
	}
	f.frames[i] = newFrame(t.frameType(), p)
	f.frames[i].mail = f.mail
	return f.frames[i]
}

// deliver queues p for every member.
func (r *room) deliver(p *Publication) {
	f := p.local
	if f == nil || f.rooms != r.rooms {
		f = new(fanout) // from another box, which has its own counts
	}
	now := time.Now()
	skip := newExcept(p.Except)

	r.mu.Lock()
	if r.epoch != p.Epoch {
		r.begin(p.Epoch)
	}
	frames := framer{m: p.Message, forms: &f.forms, place: place{r.prefix, p.Seq}}
	for _, m := range r.members {
		if p.Seq <= m.after {
			continue // it was in what was replayed to it
		}
		if m.first == 0 {
			m.first = p.Seq
		}
		if skip.has(m.c.id) {
			continue
		}
		fr := frames.frame(m.c)
		switch {
		case fr == nil:
			m.c.queue.drop()
			f.result.Dropped++
		case m.joining:
			m.hold(fr, f)
		default:
			f.offer(m.c, fr, now)
		}
	}
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

// begin starts a new order. r.mu is held.
func (r *room) begin(epoch string) {
	if r.epoch != "" {
		for _, m := range r.members {
			m.after = 0
		}
	}
	r.epoch, r.prefix = epoch, placePrefix(r.name, epoch)
}

// offer queues fr on c by c's policy, and counts what comes of it. It may be called
// under the lock that makes the order.
func (f *fanout) offer(c *Channel, fr *frame, now time.Time) outcome {
	out, evicted := c.queue.offer(fr, c.opts.Slow)
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

// hold keeps fr until the replay is done. r.mu is held.
func (m *member) hold(fr *frame, f *fanout) {
	limit, policy := m.c.opts.QueueBytes, m.c.opts.Slow
	if policy == SlowDropOldest && fr.size() <= limit {
		for len(m.held) > 0 && m.heldBytes+fr.size() > limit {
			m.letGo()
			f.result.Evicted++
		}
	}
	switch {
	case m.heldBytes+fr.size() <= limit:
		m.held = append(m.held, fr)
		m.heldBytes += fr.size()
		m.c.queue.hold(fr)
		f.result.Queued++
	case policy != SlowDisconnect:
		m.c.queue.drop()
		f.missed(m.c)
	case m.c.queue.markSlow():
		f.missed(m.c)
	}
}

// letGo drops the first frame that is held. r.mu is held.
func (m *member) letGo() {
	m.c.queue.letGo(m.held[0])
	m.heldBytes -= m.held[0].size()
	m.held = m.held[1:]
}

// add makes c a member that holds what comes, until the replay is done. If it ends
// before, abandon is called.
func (r *room) add(c *Channel, limit int, abandon context.CancelCauseFunc) (*member, AddStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, 0, c.err
	}
	if m := c.rooms[r]; m != nil {
		return m, ChannelExists, nil
	}
	if limit > 0 {
		n := 0
		for other := range c.rooms {
			if other.rooms == r.rooms {
				n++
			}
		}
		if n >= limit {
			return nil, 0, ErrTooManyGroups
		}
	}
	m := &member{c: c, room: r, index: len(r.members), joining: true, abandon: abandon}
	if c.rooms == nil {
		c.rooms = make(map[*room]*member)
	}
	c.rooms[r] = m
	r.members = append(r.members, m)
	r.kinds[c.opts.PayloadType]++
	return m, ChannelAdded, nil
}

// replay queues the saved messages of page that came before the first live one, then
// the live ones that m holds, and lets m live.
func (r *room) replay(ctx context.Context, m *member, page HistoryPage) (JoinResult, error) {
	r.mu.Lock()
	if r.epoch == "" {
		r.begin(page.Position.Epoch)
	}
	at := page.Position // the moment of joining: the last message before the first live one
	if m.first != 0 && m.first <= at.Seq {
		at.Seq = m.first - 1
	}
	m.after = at.Seq
	r.mu.Unlock()

	res := JoinResult{Status: ChannelAdded, Position: at, Recovered: page.Complete}
	place := place{prefix: placePrefix(r.name, at.Epoch)}
	for _, msg := range page.Messages {
		if msg.Seq > at.Seq {
			break
		}
		if ctx.Err() != nil {
			return res, context.Cause(ctx)
		}
		place.seq = msg.Seq
		frames := framer{m: msg, forms: new([payloadTypes][]byte), place: place}
		fr := frames.frame(m.c)
		if fr == nil || fr.size() > m.c.opts.QueueBytes {
			res.Recovered = false
			continue
		}
		if err := m.c.enqueue(ctx, fr, false); err != nil {
			return res, err
		}
		res.Replayed++
	}
	return res, r.release(ctx, m)
}

// release queues what m holds, waiting for room where there is none, until it holds
// nothing and lives.
func (r *room) release(ctx context.Context, m *member) error {
	for {
		r.mu.Lock()
		for len(m.held) > 0 && m.c.queue.fits(m.held[0], true) {
			m.heldBytes -= m.held[0].size()
			m.held = m.held[1:]
			m.c.Touch()
		}
		if len(m.held) == 0 {
			m.joining, m.held = false, nil
			left := m.index < 0
			r.mu.Unlock()
			if left {
				return errLeft
			}
			return nil
		}
		fr := m.held[0]
		m.held = m.held[1:] // from here on it is the queue's, and no more drop's
		r.mu.Unlock()
		err := m.c.enqueue(ctx, fr, true)
		r.mu.Lock()
		m.heldBytes -= fr.size()
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

var errLeft = fmt.Errorf("wschannels: the channel left the group while it joined: %w", context.Canceled)

// drop ends the membership m, which its channel has forgotten, and reports whether
// the room is empty now; what was held is lost and counted.
func (r *room) drop(m *member) (removed, empty bool) {
	r.mu.Lock()
	if m.index >= 0 {
		removed = true
		last := r.members[len(r.members)-1]
		r.members[m.index] = last
		last.index = m.index
		r.members[len(r.members)-1] = nil
		r.members = r.members[:len(r.members)-1]
		m.index = -1
		r.kinds[m.c.opts.PayloadType]--
		for len(m.held) > 0 {
			m.letGo()
		}
		if m.joining {
			m.abandon(errLeft)
		}
	}
	empty = len(r.members) == 0
	r.mu.Unlock()
	if removed {
		r.rooms.left(r, empty)
	}
	return removed, empty
}

func (r *room) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members)
}

func (r *room) channels() []*Channel {
	r.mu.Lock()
	defer r.mu.Unlock()
	cs := make([]*Channel, len(r.members))
	for i, m := range r.members {
		cs[i] = m.c
	}
	return cs
}

// present returns how many members each payload type has, those of skip aside.
func (r *room) present(skip except) [payloadTypes]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := r.kinds
	if skip.empty() {
		return kinds
	}
	for _, m := range r.members {
		if skip.has(m.c.id) {
			kinds[m.c.opts.PayloadType]--
		}
	}
	return kinds
}

func newMessage(group string, t PayloadType, data []byte, codec Codec) Message {
	return Message{ID: uuid.New(), Group: group, Created: time.Now(), Type: t, Data: data, codec: codec}
}
