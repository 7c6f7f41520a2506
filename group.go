package wschannels

import (
	"context"

	"github.com/google/uuid"
)

// A Group is a named set of channels that get the same messages in the same order,
// which is the history's. Groups of [ChannelBox.Group] are handles: they stand for
// the box's group of that name, now and later. All methods may be called
// concurrently.
type Group struct {
	name  string
	rooms *roomTable
	box   *ChannelBox // nil: stands alone
}

// GroupOptions configures [NewGroup].
type GroupOptions struct {
	History HistoryLimits
	Codec   Codec // encodes payloads. Nil: encoding/json
}

// NewGroup returns a group that needs no box. Channels that close leave it by
// themselves. Its name follows the rule of [ErrInvalidGroup]: 1 to 255 bytes of
// UTF-8 without control characters.
func NewGroup(name string, opts *GroupOptions) (*Group, error) {
	if !validName(name) {
		return nil, ErrInvalidGroup
	}
	var o GroupOptions
	if opts != nil {
		o = *opts
	}
	broker, err := NewMemoryBroker(&MemoryBrokerOptions{History: o.History})
	if err != nil {
		return nil, err
	}
	return &Group{name: name, rooms: newRoomTable(newEngine(broker, 0, nil), o.Codec)}, nil
}

// Name returns the group's name.
func (g *Group) Name() string { return g.name }

// Add makes c a member. A channel that has closed is refused with its [Channel.Err],
// one that has yet to authenticate with [ErrUnauthorized], and, on a box's group, one
// that is not in the box with [ErrNoSuchChannel]. It is [ChannelBox.Join] without
// replay.
func (g *Group) Add(c *Channel) (AddStatus, error) {
	if g.box != nil {
		res, err := g.box.Join(context.Background(), c, g.name, nil)
		return res.Status, err
	}
	res, err := g.rooms.join(context.Background(), c, g.name, nil)
	return res.Status, err
}

// Remove ends c's membership.
func (g *Group) Remove(c *Channel) RemoveStatus { return g.rooms.leave(c, g.name) }

// Has reports whether c is a member.
func (g *Group) Has(c *Channel) bool {
	r := g.rooms.get(g.name)
	if r == nil || c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.membership(r) != nil
}

// Len returns the number of members (of this process).
func (g *Group) Len() int {
	r := g.rooms.get(g.name)
	if r == nil {
		return 0
	}
	return r.len()
}

// Channels returns the members (of this process) as they are now.
func (g *Group) Channels() []*Channel { return g.rooms.members(g.name) }

// Send sends payload to every member; see [ChannelBox.GroupSend].
func (g *Group) Send(ctx context.Context, payload any, opts *SendOptions) (SendResult, error) {
	if g.box != nil {
		return g.box.GroupSend(ctx, g.name, payload, opts)
	}
	return g.rooms.send(ctx, g.name, payload, opts)
}

// SendJSON is Send with v encoded as JSON for every member, whatever its type: as a
// text frame, or as a binary one on Bytes channels.
func (g *Group) SendJSON(ctx context.Context, v any, opts *SendOptions) (SendResult, error) {
	p, err := encode(g.rooms.codec, JSON, v)
	if err != nil {
		return SendResult{}, counted(err, &g.rooms.counters.panics)
	}
	return g.Send(ctx, Message{Type: JSON, Data: p}, opts)
}

// History returns saved messages, oldest first, and none if the Broker fails:
// [ChannelBox.History] tells that apart.
func (g *Group) History(opts *HistoryOptions) []Message {
	if g.box != nil {
		saved, _ := g.box.History(context.Background(), g.name, opts) // none if that fails
		return saved
	}
	page, _ := g.rooms.engine.saved(context.Background(), g.name, opts) // in memory: nothing can fail
	return page.Messages
}

// AddStatus says what a join did.
type AddStatus uint8

// The outcomes of a join.
const (
	ChannelAdded  AddStatus = iota + 1
	ChannelExists           // it was a member already
)

// String returns the original's name: CHANNEL_ADDED or CHANNEL_EXIST.
func (s AddStatus) String() string {
	return statusName(uint8(s), "CHANNEL_ADDED", "CHANNEL_EXIST")
}

// RemoveStatus says what a leave did.
type RemoveStatus uint8

// The outcomes of a leave.
const (
	ChannelRemoved   RemoveStatus = iota + 1
	GroupRemoved                  // it was the last member
	ChannelNotMember              // the group has others
	NoSuchGroup                   // the group has no members
)

// String returns the original's name: CHANNEL_REMOVED, GROUP_REMOVED,
// CHANNEL_DOES_NOT_EXIST or GROUP_DOES_NOT_EXIST.
func (s RemoveStatus) String() string {
	return statusName(uint8(s), "CHANNEL_REMOVED", "GROUP_REMOVED", "CHANNEL_DOES_NOT_EXIST", "GROUP_DOES_NOT_EXIST")
}

func statusName(s uint8, names ...string) string {
	if s == 0 || int(s) > len(names) {
		return "UNKNOWN"
	}
	return names[s-1]
}

// SendOptions refines a group send.
type SendOptions struct {
	// SaveHistory keeps the message in the group's history.
	SaveHistory bool

	// Except are channels that do not get it.
	Except []uuid.UUID
}

// SendResult says what became of a message to a group or a user, when it was sent.
type SendResult struct {
	ID    uuid.UUID // the message's
	Seq   uint64    // its place in the group's order; 0 for a user
	Saved bool      // in the history; false where it alone is over the cap (it still goes out)

	// Local: the Broker could not be reached, and only channels here got it: group
	// members, with neither Seq nor epoch in their envelopes (see Options.LocalFallback),
	// or the channels that a user has here.
	Local bool

	Queued  int // local members whose queue took it
	Waiting int // mailboxes that keep it (SendToUser)
	Dropped int // local members that missed it by SlowDropNewest, or whose type cannot carry it
	Evicted int // older messages that gave way to it by SlowDropOldest
	Closed  int // local members closed by it

	// Remote says, of a message to a user, that another node has taken it: 0 or 1, however
	// many have, as only the first answer is waited for. It may be 0 where the user has
	// channels here, too, as this node may be the first to answer.
	Remote int
}

// JoinOptions asks a join for saved messages.
type JoinOptions struct {
	// ReplayLast is how many saved messages to send before anything live. What is
	// published while the channel joins counts among the last ones, and comes live.
	ReplayLast int

	ReplayAfter *Position // or: all saved after this one. Both set is an error
}

// JoinResult says how a join went.
type JoinResult struct {
	Status   AddStatus
	Position Position // of the group at the moment of joining
	Replayed int      // saved messages that were queued

	// Recovered: ReplayAfter was given, and every saved message between it and
	// Position was replayed. It is false across an evicted message, a flush, another
	// epoch, or a position from the future: then what is still held was replayed,
	// and the application tells its client to start over. Messages that were not
	// saved are nobody's loss.
	Recovered bool
}

// replays reports whether o asks for saved messages.
func (o *JoinOptions) replays() bool {
	return o != nil && (o.ReplayLast > 0 || o.ReplayAfter != nil)
}

func (o *JoinOptions) validate() error {
	switch {
	case o == nil:
	case o.ReplayLast != 0 && o.ReplayAfter != nil:
		return badOption("JoinOptions", "has both ReplayLast and ReplayAfter")
	case o.ReplayLast < 0:
		return badOption("JoinOptions.ReplayLast", "is negative")
	}
	return nil
}
