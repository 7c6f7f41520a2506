package wschannels

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// A room is the local side of a group: its members in this process, and the fan-out
// to them.
type room struct {
	name  string
	rooms *roomTable

	// turn is held, as a semaphore of one, while the broker's subscription changes; subscribed
	// is guarded by it.
	turn       chan struct{}
	subscribed bool

	// Under rooms.mu.
	inTurn int32 // who have the turn, or wait for it; 0: there is none
	refs   int32 // who need the room to stay in the table

	stream *stream // nil: what the broker delivers is in order

	// mu makes the group's order that of every member: whoever holds it queues one
	// message for all. Nothing done under it blocks, writes or calls foreign code.
	mu      sync.Mutex
	members []*member
	has     present // of the members
	epoch   string
	prefix  []byte // of the envelopes of this epoch; nil: not needed yet
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

	joining *joining // nil once it lives
}

// A joining is what a member needs until it lives.
type joining struct {
	// While saved messages are being replayed to it, live ones are held here, in
	// order. The queue counts and limits what is held of all groups.
	held []*frame

	resume *resume // if not nil: it continues what the channel has had elsewhere

	wait *joinWait // made when the join first waits
}

// A joinWait ends what a join waits for.
type joinWait struct {
	ctx     context.Context
	abandon context.CancelCauseFunc
}

// bounded returns ctx, which ends also when m leaves before it has joined. Only who joins
// calls it. A context may be the application's: nothing of it is called under r.mu.
func (r *room) bounded(ctx context.Context, m *member) context.Context {
	j := m.joining
	if j.wait != nil {
		return j.wait.ctx
	}
	ctx, abandon := context.WithCancelCause(ctx)
	r.mu.Lock()
	j.wait = &joinWait{ctx, abandon}
	left := m.index < 0
	r.mu.Unlock()
	if left {
		abandon(errLeft)
	}
	return ctx
}

// end lets go of the context.
func (j *joining) end() {
	if j.wait != nil {
		j.wait.abandon(nil)
	}
}

// begin starts a new order. r.mu is held.
func (r *room) begin(epoch string) {
	if r.epoch != "" {
		for _, m := range r.members {
			m.after, m.first = 0, 0
			if j := m.joining; j != nil && j.resume != nil {
				j.resume.first = 0
			}
		}
	}
	r.epoch, r.prefix = epoch, nil
}

// restart starts an order, new or not, anew.
func (r *room) restart(epoch string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin(epoch)
}

// forgetOrder is called when nobody is a member any more.
func (r *room) forgetOrder() { r.restart("") }

// hold keeps fr until the replay is done. r.mu is held.
func (m *member) hold(fr *frame, f *fanout, seq uint64) {
	policy := m.c.opts.Slow
	out := m.c.queue.hold(fr)
	for out == offeredFull && policy == SlowDropOldest && fr.size() <= m.c.opts.QueueBytes && len(m.joining.held) > 0 {
		m.letGo()
		f.result.Evicted++
		out = m.c.queue.hold(fr)
	}
	switch {
	case out == offered:
		m.joining.held = append(m.joining.held, fr)
		m.joining.holds(fr, m.room.epoch, seq)
		f.result.Queued++
	case out == offeredClosed: // nothing follows what it missed
	case policy != SlowDisconnect:
		m.c.queue.drop()
		f.missed(m.c)
	case m.c.queue.markSlow():
		f.missed(m.c)
	}
}

// letGo drops the first frame that is held. r.mu is held.
func (m *member) letGo() { m.c.queue.letGo(m.joining.take()) }

// take takes out the first frame that is held. room.mu is held.
func (j *joining) take() *frame {
	f := j.held[0]
	j.held[0] = nil // or the array would keep it
	j.held = j.held[1:]
	return f
}

// add makes c a member that holds what comes, until the replay is done.
func (r *room) add(c *Channel, limit int, opts *JoinOptions) (*member, AddStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, 0, c.err
	}
	if m := r.membership(c); m != nil {
		return m, ChannelExists, nil
	}
	if limit > 0 && len(c.rooms) >= limit { // some may be of another table
		n := 0
		for _, other := range c.rooms {
			if other.room.rooms == r.rooms {
				n++
			}
		}
		if n >= limit {
			return nil, 0, ErrTooManyGroups
		}
	}
	m := &member{c: c, room: r, index: len(r.members), joining: new(joining)}
	if r.stream != nil && opts != nil && opts.ReplayAfter != nil {
		m.joining.resume = &resume{after: *opts.ReplayAfter}
	}
	c.rooms = append(c.rooms, m)
	r.members = append(r.members, m)
	r.has.add(c, 1)
	return m, ChannelAdded, nil
}

// place finds the moment of m's joining: the last message before the first live one that
// m gets. The group was at p after m had become a member. See [stream].place.
func (r *room) place(m *member, p Position, last bool) (at Position, whole, ok bool) {
	if r.stream != nil {
		return r.stream.place(m, p, last)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch == "" {
		r.begin(p.Epoch)
	}
	if m.first != 0 && m.first <= p.Seq {
		p.Seq = m.first - 1
	}
	m.after = p.Seq
	return p, true, true
}

// replay queues the saved messages of page up to at, then the live ones that m holds, and
// lets m live.
func (r *room) replay(ctx context.Context, m *member, page HistoryPage, at Position) (JoinResult, error) {
	res := JoinResult{Status: ChannelAdded, Position: at, Recovered: page.Complete}
	var place place
	if len(page.Messages) > 0 {
		place.prefix = placePrefix(r.name, at.Epoch)
	}
	var to present
	to.add(m.c, 1)
	for _, msg := range page.Messages {
		if msg.Seq > at.Seq {
			break
		}
		if ctx.Err() != nil {
			return res, context.Cause(ctx)
		}
		place.seq = msg.Seq
		frames := framer{m: msg, place: place}
		if from := m.c.deflateFrom; from > 0 {
			frames.forms.compress(msg, &to, int(from))
		}
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
	return res, r.release(ctx, m, res.Replayed > 0)
}

// release queues what m holds, waiting for room where there is none, until it holds
// nothing and lives. A live message that finds no room may be the end of the channel: so
// one that was replayed to waits until a quarter of its queue is free, but only a few
// times, as others may fill it as fast as it is written.
func (r *room) release(ctx context.Context, m *member, replayed bool) error {
	waits := 0
	if replayed {
		waits = 4
	}
	for {
		r.mu.Lock()
		j := m.joining
		for len(j.held) > 0 && m.c.queue.fits(j.held[0], true) {
			j.take()
			m.c.Touch()
		}
		if len(j.held) == 0 && waits > 0 && !m.c.queue.isRoomy() {
			r.mu.Unlock()
			if err := m.c.queue.awaitRoom(r.bounded(ctx, m)); err != nil {
				return err
			}
			waits--
			continue
		}
		if len(j.held) == 0 {
			m.joining = nil
			left := m.index < 0
			if t := r.rooms.presence; t != nil && !left {
				t.joined(r.name, m.c)
			}
			r.mu.Unlock()
			if left {
				return errLeft
			}
			return nil
		}
		fr := j.take() // from here on it is the queue's, and no more drop's
		r.mu.Unlock()
		if err := m.c.enqueue(r.bounded(ctx, m), fr, true); err != nil {
			return err
		}
	}
}

var errLeft = fmt.Errorf("wschannels: the channel left the group while it joined: %w", context.Canceled)

// membership returns c's membership of r, or nil. c.mu is held. A channel is in few
// groups: a slice is found through as fast as a map, and a quarter of its size.
func (c *Channel) membership(r *room) *member {
	for _, m := range c.rooms {
		if m.room == r {
			return m
		}
	}
	return nil
}

// membership is that of [Channel], for whoever holds r.mu, too: of the channel's groups and
// the group's members it looks through what is fewer.
func (r *room) membership(c *Channel) *member {
	if len(c.rooms) <= len(r.members) {
		return c.membership(r)
	}
	for _, m := range r.members {
		if m.c == c {
			return m
		}
	}
	return nil
}

// forget takes m from c's memberships, if it is one. c.mu is held.
func (c *Channel) forget(m *member) {
	if i := slices.Index(c.rooms, m); i >= 0 {
		c.rooms = slices.Delete(c.rooms, i, i+1)
	}
}

// leave ends c's membership m, nil meaning the one that there is, and reports whether it
// had yet to end, and whether the room is empty now. That the channel forgets it and that
// nothing more is delivered is one step: who joins again must not be a member twice.
func (r *room) leave(c *Channel, m *member) (removed, empty bool) {
	r.mu.Lock()
	c.mu.Lock()
	if m == nil {
		m = r.membership(c)
	}
	c.forget(m)
	c.mu.Unlock()
	var abandon context.CancelCauseFunc
	if m != nil {
		removed, abandon = r.remove(m)
	}
	empty = len(r.members) == 0
	r.mu.Unlock()
	if abandon != nil {
		abandon(errLeft)
	}
	if removed {
		r.rooms.left(r, empty)
	}
	return removed, empty
}

// remove takes m out of the members, if it is one; what was held is lost and counted.
// abandon, if not nil, is to be called once r.mu, which is held, is not any more.
func (r *room) remove(m *member) (removed bool, abandon context.CancelCauseFunc) {
	if m.index < 0 {
		return false, nil
	}
	last := r.members[len(r.members)-1]
	r.members[m.index] = last
	last.index = m.index
	r.members[len(r.members)-1] = nil
	r.members = r.members[:len(r.members)-1]
	m.index = -1
	r.has.add(m.c, -1)
	if j := m.joining; j != nil {
		for len(j.held) > 0 {
			m.letGo()
		}
		if j.wait != nil {
			abandon = j.wait.abandon
		}
	} else if t := r.rooms.presence; t != nil {
		t.left(r.name, m.c)
	}
	return true, abandon
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

// present counts the members, those of skip aside.
func (r *room) present(skip except) present {
	r.mu.Lock()
	defer r.mu.Unlock()
	has := r.has
	if skip.empty() {
		return has
	}
	for _, m := range r.members {
		if skip.has(m.c.id) {
			has.add(m.c, -1)
		}
	}
	return has
}
