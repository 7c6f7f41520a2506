package wschannels

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A nodeTable is what nodes have said of who is in which group, and until when it is true.
// It is as large as what the nodes that live have said.
type nodeTable struct {
	mu     sync.Mutex // guards what follows; taken under a topic's mu
	nodes  map[string]*nodeLease
	groups map[string]map[entryKey]PresenceEntry
}

type nodeLease struct {
	ends time.Time // zero: it has yet to begin
	said map[string]map[uuid.UUID]struct{}
}

type entryKey struct {
	node string
	id   uuid.UUID
}

// Renew is [PresenceBroker]'s.
func (b *MemoryBroker) Renew(ctx context.Context, node string, lease time.Duration) (alive []string, err error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	t := &b.presence
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if n := t.nodes[node]; n != nil && !n.ends.IsZero() && !n.ends.After(now) {
		t.forget(node) // it has to say everything again
	}
	t.node(node).ends = now.Add(lease)
	for name, n := range t.nodes {
		if n.ends.After(now) {
			alive = append(alive, name)
		} else {
			t.forget(name)
		}
	}
	return alive, nil
}

// SetPresence is [PresenceBroker]'s.
func (b *MemoryBroker) SetPresence(ctx context.Context, group string, entries ...PresenceEntry) error {
	tp, err := b.pin(ctx, group, false)
	if err != nil {
		return err
	}
	defer b.unpin(tp)
	tp.mu.Lock()
	defer tp.mu.Unlock()
	b.presence.set(group, entries)
	for _, s := range tp.subs {
		for _, e := range entries {
			s.Appear(group, e)
		}
	}
	return nil
}

// Presence is [PresenceBroker]'s.
func (b *MemoryBroker) Presence(ctx context.Context, group string) ([]PresenceEntry, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	t := &b.presence
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	var entries []PresenceEntry
	for key, e := range t.groups[group] {
		if t.nodes[key.node].ends.After(now) {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// usable returns why nothing can be done with b, or nil.
func (b *MemoryBroker) usable(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	return nil
}

// set records entries, and forgets the nodes whose lease has ended.
func (t *nodeTable) set(group string, entries []PresenceEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for name, n := range t.nodes {
		if !n.ends.IsZero() && !n.ends.After(now) {
			t.forget(name)
		}
	}
	for _, e := range entries {
		if e.Gone {
			t.remove(group, entryKey{e.Node, e.ID})
		} else {
			t.put(group, e)
		}
	}
}

// node returns what is known of the node of that name. t.mu is held.
func (t *nodeTable) node(name string) *nodeLease {
	n := t.nodes[name]
	if n == nil {
		n = &nodeLease{said: make(map[string]map[uuid.UUID]struct{})}
		if t.nodes == nil {
			t.nodes = make(map[string]*nodeLease)
			t.groups = make(map[string]map[entryKey]PresenceEntry)
		}
		t.nodes[name] = n
	}
	return n
}

// put records e. t.mu is held.
func (t *nodeTable) put(group string, e PresenceEntry) {
	said := t.node(e.Node).said
	if said[group] == nil {
		said[group] = make(map[uuid.UUID]struct{})
	}
	said[group][e.ID] = struct{}{}
	if t.groups[group] == nil {
		t.groups[group] = make(map[entryKey]PresenceEntry)
	}
	t.groups[group][entryKey{e.Node, e.ID}] = e
}

// remove removes an entry, if there is one. t.mu is held.
func (t *nodeTable) remove(group string, key entryKey) {
	delete(t.groups[group], key)
	if len(t.groups[group]) == 0 {
		delete(t.groups, group)
	}
	n := t.nodes[key.node]
	if n == nil {
		return
	}
	delete(n.said[group], key.id)
	if len(n.said[group]) == 0 {
		delete(n.said, group)
	}
}

// forget removes a node and all that it said. t.mu is held.
func (t *nodeTable) forget(name string) {
	for group, ids := range t.nodes[name].said {
		for id := range ids {
			t.remove(group, entryKey{name, id})
		}
	}
	delete(t.nodes, name)
}

// clear forgets everything.
func (t *nodeTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nodes, t.groups = nil, nil
}
