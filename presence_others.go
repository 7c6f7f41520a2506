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
	t.correct(g, answered)
	for key, r := range g.records {
		_, ok := answered[key]
		switch {
		case ok || t.own(r) || r.heard >= turn:
		case t.patience.IsZero():
			t.lost(r)
		default:
			g.again = true
		}
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

// correct sees to it that the engine says of this box's channels in g what the box does.
func (t *presenceTable) correct(g *presenceGroup, answered map[entryKey]PresenceEntry) {
	forgotten := false
	for key, r := range g.records {
		if !t.own(r) || r.unsaid != nil || r.Gone {
			continue // it is yet to be told
		}
		e, ok := answered[key]
		if !ok || e.User != r.User || e.Until.IsZero() != r.Until.IsZero() {
			t.say(r)
		}
		forgotten = forgotten || !ok
	}
	for key, e := range answered {
		if key.node == t.node && g.records[key] == nil { // it was to be gone
			e.Gone = true
			r := t.add(g, e)
			r.tried = true
			t.say(r)
		}
	}
	if forgotten && t.patience.IsZero() {
		t.renewAt = time.Now()
		t.sayAgain(t.renewAt)
	}
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
