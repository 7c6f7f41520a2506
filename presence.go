package wschannels

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// PresenceOptions says for how long a node or a user may be away before they are missed.
type PresenceOptions struct {
	// Lease is how long this node counts as alive after its last renewal, which it makes
	// three times in each: should it die, its channels are no longer in [ChannelBox.Presence]
	// when its lease ends, and OnPresence hears of it up to a third of a lease later. 0:
	// 15 s; at least 1 s.
	Lease time.Duration

	// Grace is how long a user who was in a group counts as present after their last
	// channel has left it: one who is back by then, on whatever node, was never away.
	// 0: 5 s; negative: none.
	Grace time.Duration
}

// resolve returns a copy of o with the defaults filled in; nil for nil.
func (o *PresenceOptions) resolve() (*PresenceOptions, error) {
	if o == nil {
		return nil, nil
	}
	c := PresenceOptions{Lease: cmp.Or(o.Lease, 15*time.Second), Grace: cmp.Or(o.Grace, 5*time.Second)}
	if c.Lease < time.Second {
		return nil, badOption("Options.Presence.Lease", "is shorter than a second")
	}
	c.Lease, c.Grace = min(forever, c.Lease), min(forever, c.Grace)
	return &c, nil
}

// Presence is who is in a group, on all nodes.
type Presence struct {
	// Members are the channels in the group, and the last channel of each user who has
	// none there and whose grace runs; by Since, then by ID.
	Members []PresenceMember

	Channels int // in the group: those of Members that have not left
	Users    int // of Members, each counted once
}

// A PresenceMember is a channel in a group, on some node.
type PresenceMember struct {
	ID    uuid.UUID
	User  string    // as [Channel.SetUser] said, "" if it has not
	Node  string    // as [ChannelBox.Node] of its box
	Since time.Time // when it joined, by its node's clock
}

// A PresenceEvent tells that somebody has come into a group, or has gone: a user, however
// many channels they have there, or a channel without one.
type PresenceEvent struct {
	Group  string
	Joined bool           // else they have left
	Member PresenceMember // the channel that was their first in the group, or their last
}

// Presence returns who is in group, on all nodes, as the Broker knows it: it asks no node.
// What this box knows better, as it concerns its own channels, is the box's word.
//
// A box with a broker of its own always knows, but without Options.Presence no Since. A
// box that was given one needs Options.Presence, else the error matches
// [errors.ErrUnsupported]; it matches [ErrUnavailable] where the Broker cannot be reached.
func (b *ChannelBox) Presence(ctx context.Context, group string) (Presence, error) {
	if err := b.check(group); err != nil {
		return Presence{}, err
	}
	if ctx.Err() != nil {
		return Presence{}, context.Cause(ctx)
	}
	switch t := b.presence; {
	case t == nil && b.ours:
		return presenceOf(b.localPresence(group)), nil
	case t == nil:
		return Presence{}, errNoPresence
	case t.engine == nil:
		return presenceOf(t.amend(group, nil, nil)), nil
	default:
		over := t.over(group)
		entries, err := t.engine.whoIsIn(ctx, group)
		if err != nil {
			return Presence{}, err
		}
		return presenceOf(t.amend(group, entries, over)), nil
	}
}

var errNoPresence = fmt.Errorf("wschannels: presence on all nodes needs Options.Presence: %w", errors.ErrUnsupported)

// localPresence returns the members in this box.
func (b *ChannelBox) localPresence(group string) []PresenceEntry {
	var entries []PresenceEntry
	for _, c := range b.rooms.members(group) {
		entries = append(entries, PresenceEntry{ID: c.id, User: c.User(), Node: b.node})
	}
	return entries
}

// presenceOf says what entries amount to.
func presenceOf(entries []PresenceEntry) (p Presence) {
	users := make(map[string]struct{})
	add := func(e PresenceEntry) {
		p.Members = append(p.Members, e.member())
		if e.User != "" {
			users[e.User] = struct{}{}
		}
	}
	slices.SortFunc(entries, PresenceEntry.compare)
	for _, e := range entries {
		if e.Until.IsZero() {
			add(e)
		}
	}
	p.Channels = len(p.Members)
	for _, e := range slices.Backward(entries) {
		if _, there := users[e.User]; !there && !e.Until.IsZero() {
			add(e)
		}
	}
	p.Users = len(users)
	slices.SortFunc(p.Members, PresenceMember.compare)
	return p
}

func (e PresenceEntry) member() PresenceMember {
	return PresenceMember{ID: e.ID, User: e.User, Node: e.Node, Since: e.Since}
}

func (e PresenceEntry) compare(o PresenceEntry) int { return e.member().compare(o.member()) }

func (m PresenceMember) compare(o PresenceMember) int {
	if c := m.Since.Compare(o.Since); c != 0 {
		return c
	}
	return bytes.Compare(m.ID[:], o.ID[:])
}
