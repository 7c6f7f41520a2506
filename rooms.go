package wschannels

import (
	"context"
	"errors"
	"sync"
)

// A roomTable has the groups that have members in this process, over a broker. A box has
// one, and a Group that stands alone has one for itself.
type roomTable struct {
	engine     *engine
	codec      Codec
	perChannel int       // groups one channel may be in; 0: any number
	max        int       // groups with members; 0: any number
	counters   *counters // the box's, or its own

	deflateFrom int // messages of this size are compressed; 0: none

	failed func(error) // if not nil: gets what went wrong with the broker, and no call returned

	mu     sync.Mutex // guards what follows, and the refs of every room
	table  map[string]*room
	closed bool
}

func newRoomTable(e *engine, codec Codec) *roomTable {
	return &roomTable{engine: e, codec: codec, counters: new(counters), table: make(map[string]*room)}
}

// Deliver is the broker's way in.
func (rs *roomTable) Deliver(p *Publication) {
	if r := rs.get(p.Group); r != nil {
		r.deliver(p)
	}
}

func (rs *roomTable) get(name string) *room {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.table[name]
}

// Interrupted is the broker's, too.
func (rs *roomTable) Interrupted(string) {}

// Appear is the broker's, too.
func (rs *roomTable) Appear(string, PresenceEntry) {}

// Failed is the broker's, too.
func (rs *roomTable) Failed(err error) {
	if rs.failed != nil {
		rs.failed(err)
	}
}

// acquire returns the room of that name, which stays until released.
func (rs *roomTable) acquire(name string) (*room, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.closed {
		return nil, ErrClosed
	}
	r := rs.table[name]
	if r == nil {
		if rs.max > 0 && len(rs.table) >= rs.max {
			return nil, ErrTooManyGroups
		}
		r = &room{name: name, rooms: rs, turn: make(chan struct{}, 1)}
		rs.table[name] = r
	}
	r.refs++
	return r, nil
}

func (rs *roomTable) release(r *room) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r.refs--; r.refs == 0 {
		delete(rs.table, r.name)
	}
}

// join makes c a member of the group called name.
func (rs *roomTable) join(ctx context.Context, c *Channel, name string, opts *JoinOptions) (_ JoinResult, err error) {
	defer func() { rs.countRefusal(err) }()
	switch {
	case c == nil:
		return JoinResult{}, errNilChannel
	case !validName(name):
		return JoinResult{}, ErrInvalidGroup
	}
	if err := opts.validate(); err != nil {
		return JoinResult{}, err
	}
	if err := c.writable(ctx); err != nil {
		return JoinResult{}, err
	}
	r, err := rs.acquire(name)
	if err != nil {
		return JoinResult{}, err
	}
	if !rs.engine.local() { // what waits for an engine waits no longer than the channel lives
		inner, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(c.ctx, func() { cancel(c.Err()) })()
		ctx = inner
	}
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		rs.release(r) // whoever has the turn tidies
		return JoinResult{}, context.Cause(ctx)
	}
	m, status, err := rs.enter(ctx, r, c)
	<-r.turn
	if err != nil || status == ChannelExists {
		rs.left(r, r.len() == 0)
		var at Position
		if err == nil {
			at, err = rs.engine.position(ctx, name)
		}
		return JoinResult{Status: status, Position: at}, err
	}
	// From here on the reference to r is the membership's.
	defer m.joining.end()
	if !rs.engine.local() || opts.replays() {
		ctx = r.bounded(ctx, m)
	}
	page, err := rs.saved(ctx, name, opts)
	if err == nil {
		var res JoinResult
		if res, err = r.replay(ctx, m, page); err == nil {
			if opts != nil && opts.ReplayAfter != nil && opts.ReplayAfter.Seq > res.Position.Seq {
				res.Recovered = false // it was still to come when c joined
			}
			return res, nil
		}
	}
	r.leave(c, m)
	if end := c.Err(); end != nil {
		err = end // it is what ended the join
	}
	return JoinResult{}, err
}

// countRefusal counts err if it is that of a limit.
func (rs *roomTable) countRefusal(err error) {
	if errors.Is(err, ErrTooManyGroups) {
		rs.counters.groupsRefused.Add(1)
	}
}

var errNilChannel = errors.New("wschannels: nil channel")

// enter adds c to r, and subscribes to the group if need be. The turn is the caller's.
func (rs *roomTable) enter(ctx context.Context, r *room, c *Channel) (*member, AddStatus, error) {
	if !r.subscribed {
		if err := rs.engine.subscribe(ctx, r.name, rs); err != nil {
			return nil, 0, err
		}
		r.subscribed = true
	}
	return r.add(c, rs.perChannel)
}

// saved returns what opts wants replayed, and the group's position.
func (rs *roomTable) saved(ctx context.Context, name string, opts *JoinOptions) (HistoryPage, error) {
	if !opts.replays() {
		at, err := rs.engine.position(ctx, name)
		return HistoryPage{Position: at}, err
	}
	page, err := rs.engine.saved(ctx, name, &HistoryOptions{Last: opts.ReplayLast, After: opts.ReplayAfter})
	page.Complete = page.Complete && opts.ReplayAfter != nil
	return page, err
}

// leave ends c's membership of the group called name.
func (rs *roomTable) leave(c *Channel, name string) RemoveStatus {
	r := rs.get(name)
	if r == nil || r.len() == 0 {
		return NoSuchGroup
	}
	if c == nil {
		return ChannelNotMember
	}
	switch removed, empty := r.leave(c, nil); {
	case !removed:
		return ChannelNotMember
	case empty:
		return GroupRemoved
	}
	return ChannelRemoved
}

// left is called when a member has left r.
func (rs *roomTable) left(r *room, empty bool) {
	switch {
	case !empty:
		rs.release(r)
	case rs.engine.local():
		rs.tidy(r)
	default:
		go rs.tidy(r) // takes what the broker takes; a channel that closes does not wait for it
	}
}

// tidy releases r, and unsubscribes it first if nobody is in it.
func (rs *roomTable) tidy(r *room) {
	r.turn <- struct{}{}
	if r.subscribed && r.len() == 0 {
		err := rs.engine.unsubscribe(context.Background(), r.name, rs)
		r.subscribed = err != nil // and nobody listens to it
		if err != nil && !errors.Is(err, ErrClosed) && rs.failed != nil {
			rs.failed(err)
		}
	}
	<-r.turn
	rs.release(r)
}

func (rs *roomTable) members(name string) []*Channel {
	if r := rs.get(name); r != nil {
		return r.channels()
	}
	return nil
}

// sizes returns the names of the groups that have members, and how many.
func (rs *roomTable) sizes() map[string]int {
	sizes := make(map[string]int)
	for _, r := range rs.all() {
		if n := r.len(); n > 0 {
			sizes[r.name] = n
		}
	}
	return sizes
}

func (rs *roomTable) all() []*room {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	all := make([]*room, 0, len(rs.table))
	for _, r := range rs.table {
		all = append(all, r)
	}
	return all
}

func (rs *roomTable) close() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.closed = true
}

// send sends payload to the group called name.
func (rs *roomTable) send(ctx context.Context, name string, payload any, opts *SendOptions) (SendResult, error) {
	switch {
	case !validName(name):
		return SendResult{}, ErrInvalidGroup
	case ctx.Err() != nil:
		return SendResult{}, context.Cause(ctx)
	}
	t, data, err := canonical(rs.codec, payload)
	if err != nil {
		return SendResult{}, counted(err, &rs.counters.panics)
	}
	p := &Publication{Message: newMessage(name, t, data, rs.codec), local: &fanout{rooms: rs}}
	if opts != nil {
		p.Save, p.Except = opts.SaveHistory, opts.Except
	}
	f := p.local
	if r := rs.get(name); r != nil {
		to := r.present(newExcept(p.Except))
		if f.forms, err = prepare(rs.codec, payload, p.Message, &to, rs.deflateFrom); err != nil {
			return SendResult{}, counted(err, &rs.counters.panics)
		}
	}
	defer f.closeSlow() // also if it fails after it delivered
	if err = rs.engine.publish(ctx, p); err != nil {
		rs.countRefusal(err)
		return SendResult{}, err
	}
	f.result.ID, f.result.Seq, f.result.Saved = p.ID, p.Seq, p.Saved
	return f.result, nil
}
