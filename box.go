package wschannels

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// A ChannelBox holds channels, the groups they are in, the groups' histories, and the
// mailboxes of users who are away. It is an [http.Handler] that accepts channels in
// event mode; [ChannelBox.Handler] makes others. A box has no global state: two of
// them know nothing of each other, unless they share a [Broker].
//
// All methods may be called concurrently.
type ChannelBox struct {
	opts     Options // with defaults
	channel  *ChannelOptions
	accept   *websocket.AcceptOptions
	engine   *engine
	ours     bool // the broker is the box's own, to close
	node     string
	rooms    *roomTable
	registry *Registry
	users    *users
	presence *presenceTable // nil without Options.Presence
	direct   *direct        // nil: there are no other nodes, or they cannot be asked
	timers   timers
	workers  *workers
	counters counters
	reporter reporter

	phase atomic.Int32

	mu   sync.Mutex            // guards what follows; taken before the registry's
	live map[*Channel]struct{} // channels whose last event has yet to return
	gone Stats                 // what channels counted that are not live any more
}

// The phases of a box.
const (
	running  = iota
	draining // no new channels
	shutDown // nothing any more
)

// New returns an empty box. Options that cannot be honoured are an error.
func New(opts *Options) (*ChannelBox, error) {
	b := &ChannelBox{
		workers:  newWorkers(),
		registry: NewRegistry(),
		live:     make(map[*Channel]struct{}),
	}
	if opts != nil {
		b.opts = *opts
	}
	if err := b.opts.setDefaults(); err != nil {
		return nil, err
	}
	var err error
	if b.channel, err = b.opts.Channel.resolve(); err != nil {
		return nil, err
	}
	b.accept = b.guardedAccept()
	broker := b.opts.Broker
	if broker == nil {
		b.ours = true
		broker, err = NewMemoryBroker(&MemoryBrokerOptions{
			History: b.opts.History, HistoryBytes: b.opts.HistoryTotalBytes, MaxGroups: b.opts.MaxGroups,
		})
		if err != nil {
			return nil, err
		}
	}
	b.node = newNode(b.opts.Node)
	b.engine = newEngine(broker, b.opts.BrokerTimeout, &b.counters.panics)
	b.rooms = newRoomTable(b.engine, b.opts.Channel.Codec)
	b.rooms.perChannel = b.opts.MaxGroupsPerChannel
	b.rooms.max = b.opts.MaxGroups
	b.rooms.counters = &b.counters
	b.rooms.failed = b.brokerFailed
	b.rooms.fallback = b.opts.LocalFallback
	b.rooms.deflateFrom = deflateFrom(&b.opts.Accept)
	b.users = newUsers(&b.opts, &b.timers, &b.counters.panics)
	if b.opts.Presence != nil {
		if b.engine.presence == nil {
			return nil, badOption("Options.Presence", "needs a Broker that is a PresenceBroker")
		}
		b.presence = newPresenceTable(b)
		b.rooms.presence = b.presence
	}
	b.goDirect()
	return b, nil
}

// newNode returns a name that no other box has, which starts with name.
func newNode(name string) string {
	if name == "" {
		return newToken()
	}
	return name + "/" + newToken()
}

// Node returns the name of this box among those that share its Broker: Options.Node, a
// slash, and something random, so that a process that starts again is another node.
func (b *ChannelBox) Node() string { return b.node }

// Join makes c a member of group. If opts asks for saved messages, they are queued
// before anything live, without gap or duplicate; Join waits for room in c's queue, and
// then until a quarter of it is free for what comes next, or ctx ends, and then c is not
// a member. A Leave meanwhile ends the wait, too; the
// error then matches [context.Canceled]. With Options.LocalFallback, and the engine away,
// c is a member all the same: nothing is replayed, and Position is zero.
//
// The name of a group has 1 to 255 bytes of UTF-8 without control characters, else the
// error is [ErrInvalidGroup]. A channel that is not in the box is [ErrNoSuchChannel].
func (b *ChannelBox) Join(ctx context.Context, c *Channel, group string, opts *JoinOptions) (JoinResult, error) {
	switch {
	case b.isShutDown():
		return JoinResult{}, ErrClosed
	case c == nil:
		return JoinResult{}, errNilChannel
	case c.Err() != nil:
		return JoinResult{}, c.Err()
	case !b.has(c):
		return JoinResult{}, ErrNoSuchChannel
	}
	return b.rooms.join(ctx, c, group, opts)
}

// Leave ends c's membership of group. It waits for nothing; ctx may have ended.
func (b *ChannelBox) Leave(ctx context.Context, c *Channel, group string) (RemoveStatus, error) {
	switch {
	case b.isShutDown():
		return NoSuchGroup, ErrClosed
	case c == nil:
		return 0, errNilChannel
	case !validName(group):
		return 0, ErrInvalidGroup
	}
	return b.rooms.leave(c, group), nil
}

// GroupSend sends payload to every member of group, in one order for all of them,
// which is the history's. It does not wait for members: what happens to one whose queue
// is full is its SlowPolicy's to say, and the result's to tell. A payload that cannot
// be encoded for some member is a *[PayloadError], and reaches nobody. A group without
// members is no error.
//
// Over a Broker that is not in this process, GroupSend returns once the Broker has the
// message and the members here, if any, had theirs. If ctx or BrokerTimeout ends that last
// wait, the message is sent nevertheless, and the result has no counts. An error is for
// the send as a whole. One that matches [ErrUnavailable] says that nobody gets it, one that
// matches [ErrUnknownOutcome] that all do, or nobody; but see Options.LocalFallback.
func (b *ChannelBox) GroupSend(ctx context.Context, group string, payload any, opts *SendOptions) (SendResult, error) {
	if b.isShutDown() {
		return SendResult{}, ErrClosed
	}
	return b.rooms.send(ctx, group, payload, opts)
}

// SendTo is [Channel.Send] on the channel with that ID; [ErrNoSuchChannel] if there is
// none.
//
// With a Broker that is a [RequestBroker] it finds channels of other nodes, too: by one
// request to the node that has it, as its ID says which. (For a channel whose ID was
// chosen, by [ChannelOptions] or because [NewChannel] made it, it may take two. Such an ID
// must not be that of two channels.) Nil means then, too, that the message is queued.
// What is no string, []byte or [Message] goes as JSON to another node. Errors are those of
// the other node's Send, as far as they can be told; one that matches [ErrUnavailable] or
// [ErrUnknownOutcome] if the node or the Broker cannot be reached, or too many sends wait
// there for room; and, where ctx ends before there is an answer, ErrUnknownOutcome.
func (b *ChannelBox) SendTo(ctx context.Context, id uuid.UUID, payload any) error {
	if b.isShutDown() {
		return ErrClosed
	}
	c, ok := b.registry.Get(id)
	switch {
	case ok:
		return c.Send(ctx, payload)
	case b.direct != nil:
		return b.direct.send(ctx, id, payload)
	}
	return ErrNoSuchChannel
}

// SendToUser sends payload to every channel of user, as GroupSend does to members.
// With none connected it waits in the user's mailbox, and is delivered, in order and
// before anything newer, to the next channel that becomes theirs. A message that is
// alone over MailboxBytes is not kept: the result has neither Queued nor Waiting.
//
// With a Broker that is a [RequestBroker], that is so for the user's channels on all nodes,
// those of this one first. If the Broker cannot be reached, these have got it and the
// result is Local; a user without any gets nothing, and the error matches [ErrUnavailable]
// or [ErrUnknownOutcome]. With a [MailboxBroker], too, mailboxes are one for all nodes.
func (b *ChannelBox) SendToUser(ctx context.Context, user string, payload any) (SendResult, error) {
	if b.isShutDown() {
		return SendResult{}, ErrClosed
	}
	return b.users.send(ctx, user, payload)
}

// Group returns a handle on the group of that name, which need not exist.
func (b *ChannelBox) Group(name string) (*Group, error) {
	if !validName(name) {
		return nil, ErrInvalidGroup
	}
	return &Group{name: name, rooms: b.rooms, box: b}, nil
}

// Groups returns the groups with local members, and how many each has.
func (b *ChannelBox) Groups() map[string]int { return b.rooms.sizes() }

// Members returns the local members of group as they are now, in no order.
func (b *ChannelBox) Members(group string) []*Channel { return b.rooms.members(group) }

// Channel returns the channel with that ID.
func (b *ChannelBox) Channel(id uuid.UUID) (*Channel, bool) { return b.registry.Get(id) }

// Channels returns the channels in the box as they are now, in no order.
func (b *ChannelBox) Channels() []*Channel { return b.registry.All() }

// History returns the saved messages of group that opts selects (nil: all), oldest
// first. A group without history has none; that is no error.
func (b *ChannelBox) History(ctx context.Context, group string, opts *HistoryOptions) ([]Message, error) {
	if err := b.check(group); err != nil {
		return nil, err
	}
	if opts != nil && opts.Last < 0 {
		return nil, badOption("HistoryOptions.Last", "is negative")
	}
	page, err := b.engine.saved(ctx, group, opts)
	for i := range page.Messages {
		page.Messages[i].codec = b.opts.Channel.Codec
	}
	return page.Messages, err
}

// Position returns group's current place.
func (b *ChannelBox) Position(ctx context.Context, group string) (Position, error) {
	if err := b.check(group); err != nil {
		return Position{}, err
	}
	return b.engine.position(ctx, group)
}

// FlushHistory forgets the history of the named groups; none named: of all. Their Seq
// goes on, and a client that comes back and missed what was forgotten is not Recovered.
func (b *ChannelBox) FlushHistory(ctx context.Context, groups ...string) error {
	if err := b.check(groups...); err != nil {
		return err
	}
	return b.engine.flush(ctx, groups...)
}

// FlushGroups takes every channel out of every group. Their connections stay open.
func (b *ChannelBox) FlushGroups(ctx context.Context) error {
	if err := b.check(); err != nil {
		return err
	}
	for _, r := range b.rooms.all() {
		for _, c := range r.channels() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b.rooms.leave(c, r.name)
		}
	}
	return nil
}

func (b *ChannelBox) check(groups ...string) error {
	if b.isShutDown() {
		return ErrClosed
	}
	for _, g := range groups {
		if !validName(g) {
			return ErrInvalidGroup
		}
	}
	return nil
}

func (b *ChannelBox) isShutDown() bool { return b.phase.Load() == shutDown }

func (b *ChannelBox) has(c *Channel) bool {
	got, ok := b.registry.Get(c.id)
	return ok && got == c
}
