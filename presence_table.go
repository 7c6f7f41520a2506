package wschannels

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// A presenceTable is what a box says of its own channels in groups and, if somebody wants
// to be told of changes, what other nodes say of theirs. All changes are made here, at once,
// and nothing waits; presenceTable.work tells the engine and asks it, and tellAll tells
// OnPresence, each on a goroutine that is there only while there is something to do.
//
// Nodes' clocks differ. So a time that another node set is never compared with ours: what
// it says ends when it says so, when its lease ends, or a grace after we heard of it.
type presenceTable struct {
	PresenceOptions
	node     string
	rooms    *roomTable
	engine   *engine // nil: there are no other nodes
	timers   *timers
	alarm    *alarm
	listener func(PresenceEvent) // nil: nobody wants to be told
	failed   func(error)         // gets what went wrong with the engine
	panicked func(error)

	mu      sync.Mutex // guards what follows; taken under a room's mu, before a channel's
	groups  map[string]*presenceGroup
	nodes   map[string]map[*presenceRecord]struct{} // what others said
	graces  list.List                               // records whose grace runs; the first ends first
	touched []*attendee                             // that may have come or gone
	news    list.List                               // attendees that OnPresence is to be told of
	telling bool                                    // tellAll runs
	closed  bool
	done    chan struct{} // made by close: closed when nothing runs any more

	presenceWork
}

// A presenceGroup is a group that has, or has just had, channels of this box.
type presenceGroup struct {
	name      string
	records   map[entryKey]*presenceRecord
	attendees map[identity]*attendee
	here      int // channels of this box; others are of interest only if there are any

	known   bool // what others have said is known
	asked   *list.Element
	reading bool
	gone    map[entryKey]struct{} // said to be gone while reading
	again   bool                  // what was missing is to be looked for once more

	unsaid list.List // own records that the engine is to be told of
	saying *list.Element
}

// A presenceRecord is one channel's entry, of this box or of another.
type presenceRecord struct {
	PresenceEntry
	group *presenceGroup
	who   *attendee     // whom it counts for; nil: nobody any more
	grace *list.Element // in graces
	ends  time.Time     // its grace, by our clock
	heard uint64        // others': in which turn

	unsaid *list.Element // own: in group.unsaid
	tried  bool          // own: the engine may know of it
}

// An identity is who somebody is in a group: a user, or a channel without one.
type identity struct {
	user string
	id   uuid.UUID // if there is no user
}

// An attendee is somebody in a group, or about whom OnPresence is still to be told.
type attendee struct {
	identity
	group   *presenceGroup
	records []*presenceRecord // that say so
	mine    bool              // some were of this box
	last    PresenceMember    // who it was
	told    bool              // OnPresence knows, or need not be told: they were there before
	news    *list.Element
}

func newPresenceTable(b *ChannelBox) *presenceTable {
	t := &presenceTable{
		PresenceOptions: *b.opts.Presence, node: b.node, rooms: b.rooms, timers: &b.timers, listener: b.opts.Events.OnPresence,
		failed: b.brokerFailed, panicked: b.presencePanicked,
		groups: make(map[string]*presenceGroup), nodes: make(map[string]map[*presenceRecord]struct{}),
	}
	if !b.ours {
		t.engine = b.engine
	}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.alarm = &alarm{waker: t}
	return t
}

// group returns the group of that name, new if need be. t.mu is held, as in all of the
// following.
func (t *presenceTable) group(name string) *presenceGroup {
	g := t.groups[name]
	if g == nil {
		g = &presenceGroup{
			name: name, known: t.engine == nil,
			records: make(map[entryKey]*presenceRecord), attendees: make(map[identity]*attendee),
		}
		t.groups[name] = g
	}
	return g
}

// tidy forgets g if there is nothing to know of it: then there is nothing to ask either.
func (t *presenceTable) tidy(g *presenceGroup) {
	if len(g.records)+len(g.attendees) > 0 || g.reading {
		return
	}
	if g.asked != nil {
		t.reads.Remove(g.asked)
		g.asked = nil
	}
	delete(t.groups, g.name)
}

func (t *presenceTable) own(r *presenceRecord) bool { return r.Node == t.node }

// in reports whether e is that of a channel in the group.
func (e *PresenceEntry) in() bool { return !e.Gone && e.Until.IsZero() }

// put makes what is known of a channel what e says, and returns it. Who that concerns is in
// t.touched.
func (t *presenceTable) put(g *presenceGroup, e PresenceEntry) *presenceRecord {
	r := g.records[entryKey{e.Node, e.ID}]
	switch {
	case r == nil && e.Gone && e.Node != t.node:
		return nil
	case r == nil:
		r = t.add(g, e)
	case !t.own(r) && !e.Until.IsZero() && e.Until.Equal(r.Until) && e.User == r.User && !e.Gone:
		r.heard = t.turn
		return r // its grace runs, or is over, since we first heard of it
	}
	before, was := r.who, r.in()
	t.uncount(r)
	r.PresenceEntry, r.heard = e, t.turn
	switch {
	case e.in():
		t.count(r)
	case !e.Gone && t.Grace > 0:
		t.count(r)
		r.ends = time.Now().Add(t.Grace)
		r.grace = t.graces.PushBack(r)
	}
	t.touched = append(t.touched, before, r.who)
	if !t.own(r) {
		if e.Gone {
			t.drop(r)
		}
		return r
	}
	g.here += btoi(r.in()) - btoi(was)
	t.say(r)
	return r
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// add adds a record that says nothing yet.
func (t *presenceTable) add(g *presenceGroup, e PresenceEntry) *presenceRecord {
	r := &presenceRecord{group: g, PresenceEntry: PresenceEntry{ID: e.ID, Node: e.Node, Gone: true}}
	g.records[entryKey{e.Node, e.ID}] = r
	if t.own(r) {
		if t.owned++; t.owned == 1 {
			t.kept = time.Since(t.renewed) < t.Lease
		}
		return r
	}
	if t.nodes[e.Node] == nil {
		t.nodes[e.Node] = make(map[*presenceRecord]struct{})
	}
	t.nodes[e.Node][r] = struct{}{}
	return r
}

// drop removes a record that counts for nobody.
func (t *presenceTable) drop(r *presenceRecord) {
	g := r.group
	delete(g.records, entryKey{r.Node, r.ID})
	if !t.own(r) {
		delete(t.nodes[r.Node], r)
		if len(t.nodes[r.Node]) == 0 {
			delete(t.nodes, r.Node)
		}
		return
	}
	t.said(r)
	t.owned--
}

// count makes r count for who it is.
func (t *presenceTable) count(r *presenceRecord) {
	who := identity{user: r.User}
	if r.User == "" {
		who.id = r.ID
	}
	a := r.group.attendees[who]
	if a == nil {
		a = &attendee{identity: who, group: r.group}
		r.group.attendees[who] = a
	}
	a.records = append(a.records, r)
	a.mine = a.mine || t.own(r)
	r.who = a
}

// uncount makes r count for nobody.
func (t *presenceTable) uncount(r *presenceRecord) {
	if r.grace != nil {
		t.graces.Remove(r.grace)
		r.grace = nil
	}
	a := r.who
	if a == nil {
		return
	}
	r.who = nil
	if i := slices.Index(a.records, r); i >= 0 {
		a.records = slices.Delete(a.records, i, i+1)
	}
	a.last = r.member()
}

// flush looks at everybody who was touched.
func (t *presenceTable) flush() {
	for _, a := range t.touched {
		if a != nil {
			t.review(a)
		}
	}
	clear(t.touched)
	t.touched = t.touched[:0]
}

// review sees to it that OnPresence is told, if there is something to tell of a.
func (t *presenceTable) review(a *attendee) {
	here := len(a.records) > 0
	switch {
	case t.listener == nil || here == a.told:
		t.settle(a)
	case a.news != nil:
	case !a.group.known && a.user != "": // they may be there on another node, too
		if a.group.here == 0 || !a.group.reading {
			t.ask(a.group)
		}
	default:
		a.news = t.news.PushBack(a)
		t.tell()
	}
}

// settle says that there is nothing to tell of a.
func (t *presenceTable) settle(a *attendee) {
	if a.news != nil {
		t.news.Remove(a.news)
		a.news = nil
	}
	if len(a.records) == 0 && a.group.attendees[a.identity] == a {
		delete(a.group.attendees, a.identity)
	}
}

// arm sees to it that t is woken in time.
func (t *presenceTable) arm() {
	if !t.closed {
		t.timers.set(t.alarm, t.next())
	}
}

// next is when t has something to do; zero: it does not know.
func (t *presenceTable) next() (when time.Time) {
	if first := t.graces.Front(); first != nil {
		when = first.Value.(*presenceRecord).ends
	}
	return earlier(when, t.nextWork())
}

// wake is the alarm's.
func (t *presenceTable) wake(now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return time.Time{}
	}
	for e := t.graces.Front(); e != nil; e = t.graces.Front() {
		r := e.Value.(*presenceRecord)
		if r.ends.After(now) {
			break
		}
		if t.own(r) {
			gone := r.PresenceEntry
			gone.Gone = true
			t.put(r.group, gone)
		} else { // until its node says that it is gone
			t.touched = append(t.touched, r.who)
			t.uncount(r)
		}
		t.flush()
		t.tidy(r.group)
	}
	t.regain(now)
	t.kick(now)
	return t.next()
}
