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

	presence *presenceTable // if not nil: is told of members

	failed func(error) // if not nil: gets what went wrong with the broker, and no call returned

	// Over a broker that is not in this process.
	fallback bool // go on without the engine; see Options.LocalFallback
	catchup  *catchup
	echoes   echoes
	calls    busy // goroutines that call the broker for nobody who waits

	mu     sync.Mutex // guards what follows, and what a room says it guards
	table  map[string]*room
	turns  []chan struct{} // for rooms whose subscriptions change
	closed bool
}

func newRoomTable(e *engine, codec Codec) *roomTable {
	rs := &roomTable{engine: e, codec: codec, counters: new(counters), table: make(map[string]*room)}
	if !e.local() {
		rs.catchup = newCatchup(rs)
	}
	return rs
}

// Deliver is the broker's way in.
func (rs *roomTable) Deliver(p *Publication) {
	switch r := rs.get(p.Group); {
	case r == nil:
	case r.stream != nil:
		r.stream.hear(p)
	default: // in order, and ours as it was sent
		if f := p.local; f != nil && f.rooms == rs {
			r.deliver(p, f, true)
		} else {
			r.deliver(p, new(fanout), false)
		}
	}
}

func (rs *roomTable) get(name string) *room {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.table[name]
}

// Interrupted is the broker's, too.
func (rs *roomTable) Interrupted(group string) {
	if rs.presence != nil {
		rs.presence.interrupted(group)
	}
	if r := rs.get(group); r != nil && r.stream != nil {
		r.stream.interrupted()
	}
}

// Appear is the broker's, too.
func (rs *roomTable) Appear(group string, e PresenceEntry) {
	if rs.presence != nil {
		rs.presence.appear(group, e)
	}
}

// Failed is the broker's, too.
func (rs *roomTable) Failed(err error) { rs.report(err) }

// report has err told, if somebody listens. It blocks nobody.
func (rs *roomTable) report(err error) {
	if rs.failed != nil && err != nil {
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
		r = &room{name: name, rooms: rs}
		if !rs.engine.local() {
			r.stream = &stream{room: r}
		}
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
	var m *member
	var status AddStatus
	alone := r.stream != nil && r.stream.trying.Load()
	if alone { // and whoever tries has the turn, perhaps for long
		m, status, err = r.add(c, rs.perChannel, opts)
	} else {
		if err := rs.takeTurn(ctx, r); err != nil {
			rs.release(r) // whoever has the turn tidies
			return JoinResult{}, err
		}
		m, status, alone, err = rs.enter(ctx, r, c, opts)
		rs.giveTurn(r)
	}
	if err != nil || status == ChannelExists {
		rs.left(r, r.len() == 0)
		var at Position
		if err == nil && !alone {
			if at, err = rs.engine.position(ctx, name); err != nil && rs.fallsBack(ctx, err) {
				at, err = Position{}, nil
			}
		}
		return JoinResult{Status: status, Position: at}, err
	}
	// From here on the reference to r is the membership's.
	defer m.joining.end()
	if !rs.engine.local() || opts.replays() {
		ctx = r.bounded(ctx, m)
	}
	var res JoinResult
	if !alone {
		res, alone, err = rs.welcome(ctx, m, opts)
	}
	if alone {
		r.stream.unknown()
		res, err = JoinResult{Status: ChannelAdded}, r.release(ctx, m, false)
	}
	if err == nil {
		return res, nil
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

// enter adds c to r, and subscribes to the group if need be; alone says that this had to
// wait for the engine. The turn is the caller's.
func (rs *roomTable) enter(ctx context.Context, r *room, c *Channel, opts *JoinOptions) (m *member, status AddStatus, alone bool, err error) {
	if !r.subscribed {
		alone = rs.fallback && r.len() > 0 // others wait for it
		if !alone {
			if err = rs.subscribe(ctx, r); err != nil {
				if alone = rs.fallsBack(ctx, err); !alone {
					return nil, 0, false, err
				}
			}
		}
	}
	m, status, err = r.add(c, rs.perChannel, opts)
	return m, status, alone, err
}

// subscribe subscribes to r's group. The turn is the caller's.
func (rs *roomTable) subscribe(ctx context.Context, r *room) error {
	if r.stream != nil {
		r.stream.opening()
	}
	err := rs.engine.subscribe(ctx, r.name, rs)
	r.subscribed = err == nil
	switch {
	case r.stream == nil:
	case err != nil:
		r.stream.closed()
	default:
		r.stream.opened()
	}
	return err
}

// resubscribe subscribes to the group of r, if it has members that wait for that.
func (rs *roomTable) resubscribe(ctx context.Context, r *room) (err error) {
	rs.mu.Lock()
	if rs.table[r.name] != r {
		rs.mu.Unlock()
		return nil
	}
	r.refs++
	rs.mu.Unlock()
	defer rs.release(r)
	if err := rs.takeTurn(ctx, r); err != nil {
		return err
	}
	defer rs.giveTurn(r)
	if r.subscribed || r.len() == 0 {
		return nil
	}
	r.stream.trying.Store(true)
	defer r.stream.trying.Store(false)
	err = rs.subscribe(ctx, r)
	if err == nil && rs.presence != nil {
		rs.presence.interrupted(r.name) // what was read before may have changed before this
	}
	return err
}

// welcome replays to m what opts asks for, and lets it live; alone says that it has to do
// without, as the engine is away.
func (rs *roomTable) welcome(ctx context.Context, m *member, opts *JoinOptions) (res JoinResult, alone bool, err error) {
	for try := 1; ; try++ {
		page, err := rs.saved(ctx, m.room.name, opts)
		if err != nil {
			return JoinResult{}, rs.fallsBack(ctx, err), err
		}
		at, whole, ok := m.room.place(m, page.Position, try == 3)
		if !ok {
			continue // the room is further than the page
		}
		page.Complete = page.Complete && whole
		res, err := m.room.replay(ctx, m, page, at)
		if opts != nil && opts.ReplayAfter != nil && opts.ReplayAfter.Seq > res.Position.Seq {
			res.Recovered = false // it was still to come when c joined
		}
		return res, false, err
	}
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
	default: // takes what the broker takes; a channel that closes does not wait for it
		rs.calls.begin()
		go func() {
			defer rs.calls.end()
			rs.tidy(r)
		}()
	}
}

// tidy releases r, and unsubscribes it first if nobody is in it.
func (rs *roomTable) tidy(r *room) {
	_ = rs.takeTurn(context.Background(), r) // waits for it
	empty := r.len() == 0
	if empty && r.stream != nil {
		r.stream.closed() // whoever waits for it need not wait for the broker
	}
	if empty && r.subscribed {
		err := rs.engine.unsubscribe(context.Background(), r.name, rs)
		r.subscribed = err != nil // and nobody listens to it
		if err != nil && !errors.Is(err, ErrClosed) {
			rs.report(err)
		}
		if r.subscribed && r.stream != nil {
			r.stream.opened()
		}
	}
	if empty && r.stream != nil && r.len() > 0 {
		r.stream.unknown() // somebody came who did not wait for the turn
	}
	rs.giveTurn(r)
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

// close returns when no call of the broker runs any more, or ctx ends.
func (rs *roomTable) close(ctx context.Context) error {
	rs.mu.Lock()
	rs.closed = true
	rs.mu.Unlock()
	if rs.catchup != nil {
		rs.catchup.close()
	}
	return rs.calls.wait(ctx)
}
