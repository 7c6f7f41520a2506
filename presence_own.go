package wschannels

import (
	"context"
	"slices"
	"time"
)

// joined says that c is a member of the group called name. The room's mu is held.
func (t *presenceTable) joined(name string, c *Channel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	g := t.group(name)
	if g.here == 0 && !g.known && t.listener != nil {
		t.ask(g)
	}
	t.comes(g, PresenceEntry{ID: c.id, User: c.User(), Node: t.node, Since: time.Now()})
}

// comes says that a channel of this box is in g, as e.
func (t *presenceTable) comes(g *presenceGroup, e PresenceEntry) {
	t.put(g, e)
	t.back(g, e)
	t.flush()
	t.changed()
}

// back ends the graces that this box gave to the user of e: they are in g.
func (t *presenceTable) back(g *presenceGroup, e PresenceEntry) {
	a := g.attendees[identity{user: e.User}]
	if e.User == "" || a == nil {
		return
	}
	for _, r := range slices.Clone(a.records) {
		if t.own(r) && !r.in() {
			gone := r.PresenceEntry
			gone.Gone = true
			t.put(g, gone)
		}
	}
}

// left says that c is no member any more. The room's mu is held.
func (t *presenceTable) left(name string, c *Channel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[name]
	if g == nil || t.closed {
		return
	}
	r := g.records[entryKey{t.node, c.id}]
	if r == nil || !r.in() {
		return
	}
	t.put(g, t.parting(r))
	t.flush()
	if g.here == 0 {
		t.unwatch(g)
	}
	t.tidy(g)
	t.changed()
}

// parting returns what is to be said of r, whose channel has left.
func (t *presenceTable) parting(r *presenceRecord) PresenceEntry {
	e := r.PresenceEntry
	other := func(o *presenceRecord) bool { return o != r && o.in() }
	if e.User != "" && t.Grace > 0 && !slices.ContainsFunc(r.who.records, other) {
		e.Until = time.Now().Add(t.Grace)
	} else {
		e.Gone = true
	}
	return e
}

// renamed says that c has another user. Who it was has left, without a grace: nobody's
// connection broke.
func (t *presenceTable) renamed(c *Channel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	var groups []*presenceGroup
	c.mu.Lock()
	user := c.user
	for _, m := range c.rooms {
		if g := t.groups[m.room.name]; g != nil && m.room.rooms == t.rooms {
			groups = append(groups, g)
		}
	}
	c.mu.Unlock()
	for _, g := range groups {
		if r := g.records[entryKey{t.node, c.id}]; r != nil && r.in() && r.User != user {
			e := r.PresenceEntry
			e.User = user
			t.comes(g, e)
		}
	}
}

// unwatch forgets what others say: nobody of this box is in g any more.
func (t *presenceTable) unwatch(g *presenceGroup) {
	if t.engine == nil {
		return
	}
	g.known, g.again = false, false
	for _, r := range g.records {
		if t.own(r) {
			continue
		}
		a := r.who
		t.uncount(r)
		t.drop(r)
		if a != nil && len(a.records) == 0 { // they are still there; it is not ours to tell any more
			t.settle(a)
		}
	}
	for _, a := range g.attendees {
		if !a.mine {
			t.settle(a)
		}
	}
}

// changed does what follows from any change.
func (t *presenceTable) changed() {
	t.kick(time.Now())
	t.arm()
}

// over returns the entries of a group, of other nodes, whose grace is over by our clock: they are as
// good as gone. Without t.mu.
func (t *presenceTable) over(name string) map[entryKey]time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	over := make(map[entryKey]time.Time)
	if g := t.groups[name]; g != nil {
		for key, r := range g.records {
			if r.who == nil && !t.own(r) {
				over[key] = r.Until
			}
		}
	}
	return over
}

// amend puts what this box knows better in place of what the engine says; over is from
// before the engine was asked. Without t.mu.
func (t *presenceTable) amend(name string, entries []PresenceEntry, over map[entryKey]time.Time) []PresenceEntry {
	entries = slices.DeleteFunc(entries, func(e PresenceEntry) bool {
		until, ok := over[entryKey{e.Node, e.ID}]
		return e.Gone || e.Node == t.node || ok && e.Until.Equal(until)
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.groups[name]; g != nil {
		for _, r := range g.records {
			if t.own(r) && r.who != nil {
				entries = append(entries, r.PresenceEntry)
			}
		}
	}
	return entries
}

// close says that all channels of this box have left, and returns when the engine knows
// it as far as it can be told, and OnPresence has returned for the last time; or when ctx
// ends. Users whose grace runs may be about to come back on another node: instead of their
// entries going, this node's lease is made to end with their grace.
func (t *presenceTable) close(ctx context.Context) error {
	t.mu.Lock()
	for _, g := range t.groups {
		for _, r := range g.records {
			if t.own(r) && r.in() {
				t.put(g, t.parting(r))
			}
		}
	}
	t.flush()
	done := make(chan struct{})
	t.closed, t.done, t.retryAt = true, done, time.Time{}
	t.lastWill()
	t.kick(time.Now())
	t.finished()
	t.mu.Unlock()
	t.timers.stop(t.alarm)
	defer t.stop() // calls, and what was still to be told
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// finished says that nothing runs, if that is so.
func (t *presenceTable) finished() {
	if t.closed && !t.working && !t.telling && t.done != nil {
		close(t.done)
		t.done = nil
	}
}
