package wschannels

import (
	"slices"
	"time"
)

// appear hears what a node has said. It is the broker's way in.
func (t *presenceTable) appear(name string, e PresenceEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[name]
	if g == nil || t.closed || e.Node == t.node {
		return
	}
	if t.listener != nil && g.here > 0 {
		if g.reading && e.Gone {
			g.gone[entryKey{e.Node, e.ID}] = struct{}{}
		}
		t.put(g, e)
	}
	if e.in() {
		t.back(g, e)
	}
	t.flush()
	t.changed()
}

// interrupted asks again who is in the group called name: changes may have been missed.
func (t *presenceTable) interrupted(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[name]
	if g == nil || t.closed {
		return
	}
	t.retryAt = time.Time{} // the engine is back
	t.ask(g)
	t.changed()
}

// askNext asks the engine about one group. t.mu is held.
func (t *presenceTable) askNext() error {
	g := t.reads.Remove(t.reads.Front()).(*presenceGroup)
	g.asked, g.reading, g.gone = nil, true, make(map[entryKey]struct{})
	turn := t.turn
	var entries []PresenceEntry
	err := t.call(func() (err error) {
		entries, err = t.engine.whoIsIn(t.ctx, g.name)
		return err
	})
	g.reading = false
	switch {
	case err != nil:
		t.ask(g)
		t.tidy(g) // once closed, nothing is asked any more
		return err
	case g.asked == nil: // else that answer is too old
		t.learn(g, turn, entries)
	}
	g.gone = nil
	return nil
}

// learn makes what is known of g what the engine answered to a question of that turn, but
// for what was heard since.
func (t *presenceTable) learn(g *presenceGroup, turn uint64, entries []PresenceEntry) {
	answered := make(map[entryKey]PresenceEntry, len(entries))
	slices.SortFunc(entries, PresenceEntry.compare)
	for _, e := range entries {
		key := entryKey{e.Node, e.ID}
		answered[key] = e
		if t.listener == nil || e.Node == t.node || e.Gone {
			continue
		}
		r := g.records[key]
		if _, gone := g.gone[key]; gone || r != nil && r.heard >= turn {
			continue
		}
		heard := r != nil
		if r = t.put(g, e); !heard && !g.known && r.who != nil {
			r.who.told = true // they were there before this box listened
		}
	}
	forgotten := false
	for key, r := range g.records {
		e, ok := answered[key]
		switch {
		case t.own(r):
			forgotten = t.correct(r, e, ok) || forgotten
		case ok || r.heard >= turn:
		case t.patience.IsZero():
			t.lost(r)
		default:
			g.again = true
		}
	}
	for key, e := range answered {
		if key.node == t.node && g.records[key] == nil { // it was to be gone
			e.Gone = true
			t.add(g, e).tried = true
			t.say(g.records[key])
		}
	}
	if forgotten && t.patience.IsZero() {
		t.renewAt = time.Now()
		t.sayAgain(t.renewAt)
	}
	g.known = true
	for _, a := range g.attendees {
		t.touched = append(t.touched, a)
	}
	slices.SortFunc(t.touched, compareAttendees)
	t.flush()
	if g.here == 0 {
		t.unwatch(g)
	}
	t.tidy(g)
}

// correct sees to it that the engine says of r what this box says, and reports whether it
// has forgotten r.
func (t *presenceTable) correct(r *presenceRecord, said PresenceEntry, ok bool) (forgotten bool) {
	if r.unsaid != nil || r.Gone {
		return false // it is yet to be told
	}
	if !ok || said.User != r.User || said.Until.IsZero() != r.Until.IsZero() {
		t.say(r)
	}
	return !ok
}

// compareAttendees orders by what OnPresence will be told of them; nil goes first.
func compareAttendees(a, b *attendee) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return a.member().compare(b.member())
}

// member returns who a is, or was.
func (a *attendee) member() PresenceMember {
	if len(a.records) > 0 {
		return a.records[0].member()
	}
	return a.last
}
