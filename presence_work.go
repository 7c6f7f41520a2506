package wschannels

import (
	"cmp"
	"container/list"
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// presenceBatch is how many entries the engine is told of at a time.
const presenceBatch = 256

// How long is waited before the engine is tried again.
const (
	presenceBackoff    = 100 * time.Millisecond
	presenceBackoffMax = 2 * time.Second
)

// presenceWork is what is between a presenceTable and its engine. There is a lease to
// renew while this box has something to say, there are entries to be told, each once for
// the last of its states, and groups to be asked about. One goroutine does it, one call at
// a time. After a failure it ends, and the alarm starts another.
type presenceWork struct {
	ctx  context.Context // of all calls
	stop context.CancelFunc

	working bool
	turn    uint64 // of the calls

	owned   int       // own records
	renewed time.Time // when the last renewal began
	kept    bool      // there was something to renew it for, since
	renewAt time.Time
	lease   time.Duration // not zero: for how long, the last time

	unsaid list.List // groups with unsaid records
	reads  list.List // groups that are to be asked about

	retryAt time.Time
	backoff time.Duration // not zero: the last call failed

	// patience, if not zero, is until when others may be missing without being gone: this
	// box was away, or the engine lost its data, so they have to say all again, too.
	patience time.Time
}

// say sees to it that the engine is told of r. t.mu is held.
func (t *presenceTable) say(r *presenceRecord) {
	switch {
	case r.Gone && !r.tried:
		t.drop(r)
	case t.engine != nil && r.unsaid == nil:
		g := r.group
		r.unsaid = g.unsaid.PushBack(r)
		if g.saying == nil {
			g.saying = t.unsaid.PushBack(g)
		}
	}
}

// said says that the engine need not be told of r. t.mu is held.
func (t *presenceTable) said(r *presenceRecord) {
	g := r.group
	if r.unsaid != nil {
		g.unsaid.Remove(r.unsaid)
		r.unsaid = nil
	}
	if g.saying != nil && g.unsaid.Len() == 0 {
		t.unsaid.Remove(g.saying)
		g.saying = nil
	}
}

// ask sees to it that the engine is asked who is in g. t.mu is held.
func (t *presenceTable) ask(g *presenceGroup) {
	if t.engine != nil && g.asked == nil && !t.closed {
		g.asked = t.reads.PushBack(g)
	}
}

// lastWill makes the lease the last, for as long as users may need it, if any do. t.mu is
// held.
func (t *presenceTable) lastWill() {
	t.renewAt = time.Now().Add(forever)
	for _, g := range t.groups {
		for _, r := range g.records {
			if t.own(r) && r.who != nil {
				t.lease, t.renewAt = t.Grace, time.Time{}
			}
		}
	}
}

// job returns what is to be done now, or nil. t.mu is held.
func (t *presenceTable) job(now time.Time) func() error {
	switch {
	case now.Before(t.retryAt):
	case t.owned > 0 && !now.Before(t.renewAt):
		return t.renew
	case t.unsaid.Len() > 0:
		return t.sayNext
	case t.reads.Len() > 0 && !t.closed:
		return t.askNext
	}
	return nil
}

// nextWork is when there may be something to do again; zero: nobody knows. t.mu is held.
func (t *presenceTable) nextWork() (when time.Time) {
	switch {
	case t.engine == nil || t.working:
		return when
	case t.owned > 0:
		when = t.renewAt
	}
	if t.unsaid.Len()+t.reads.Len() > 0 {
		when = t.retryAt
	}
	if when.Before(t.retryAt) && !when.IsZero() {
		when = t.retryAt
	}
	return earlier(when, t.patience)
}

// kick starts to work, if there is something to do. t.mu is held.
func (t *presenceTable) kick(now time.Time) {
	if t.engine != nil && !t.working && t.job(now) != nil {
		t.working = true
		go t.work() // ends when there is nothing to do
	}
}

func (t *presenceTable) work() {
	for {
		t.mu.Lock()
		job := t.job(time.Now())
		if job == nil {
			t.working = false
			t.arm()
			t.finished()
			t.mu.Unlock()
			return
		}
		t.turn++
		err := job() // unlocks t.mu while it waits
		first := err != nil && t.backoff == 0
		t.after(err)
		t.mu.Unlock()
		if first {
			t.failed(err) // the first of an outage
		}
	}
}

// after decides when to go on, after a call that ended with err. t.mu is held.
func (t *presenceTable) after(err error) {
	if err == nil {
		t.backoff, t.retryAt = 0, time.Time{}
		return
	}
	t.backoff = min(presenceBackoffMax, cmp.Or(2*t.backoff, presenceBackoff))
	t.retryAt = time.Now().Add(t.backoff - rand.N(t.backoff/4)) // once closed, never: the end of the lease says it, too
}

// call calls f without the lock.
func (t *presenceTable) call(f func() error) error {
	t.mu.Unlock()
	defer t.mu.Lock()
	return f()
}

// renew renews the lease, and looks who else lives. t.mu is held.
func (t *presenceTable) renew() error {
	var alive []string
	start, turn, lease := time.Now(), t.turn, cmp.Or(t.lease, t.Lease)
	next := start.Add(t.Lease/3 - rand.N(t.Lease/30)) // so that nodes do not renew in step
	if t.closed {
		next = start.Add(forever)
	}
	t.renewAt = next
	err := t.call(func() (err error) {
		alive, err = t.engine.renew(t.ctx, t.node, lease)
		return err
	})
	if err != nil {
		if t.renewAt.Equal(next) {
			t.renewAt = start
		}
		return err
	}
	end := time.Now()
	if t.kept && end.Sub(t.renewed) >= t.Lease {
		t.sayAgain(end)
	}
	t.renewed, t.kept = start, true
	if !t.patience.IsZero() {
		return nil
	}
	for node, said := range t.nodes {
		if slices.Contains(alive, node) {
			continue
		}
		for r := range said {
			if r.heard < turn { // else it came to life meanwhile
				t.ask(r.group) // it is dead, or the engine has lost its data: then this box's, too
			}
		}
	}
	return nil
}

// lost removes what another node said, and cannot take back itself. t.mu is held.
func (t *presenceTable) lost(r *presenceRecord) {
	gone := r.PresenceEntry
	gone.Gone = true
	t.put(r.group, gone)
}

// sayAgain says everything again, and asks everything again: the engine has forgotten this
// box. t.mu is held.
func (t *presenceTable) sayAgain(now time.Time) {
	t.patience = now.Add(t.Lease)
	for _, g := range t.groups {
		for _, r := range g.records {
			if t.own(r) {
				t.say(r)
			}
		}
		if g.known {
			t.ask(g)
		}
	}
}

// regain looks once more for what was missing, when it should be back. t.mu is held.
func (t *presenceTable) regain(now time.Time) {
	if t.patience.IsZero() || now.Before(t.patience) {
		return
	}
	t.patience = time.Time{}
	for _, g := range t.groups {
		if g.again {
			g.again = false
			t.ask(g)
		}
	}
}

// sayNext tells the engine of one group. t.mu is held.
func (t *presenceTable) sayNext() error {
	g := t.unsaid.Front().Value.(*presenceGroup)
	var batch []*presenceRecord
	var entries []PresenceEntry
	for e := g.unsaid.Front(); e != nil && len(batch) < presenceBatch; e = g.unsaid.Front() {
		r := e.Value.(*presenceRecord)
		t.said(r)
		r.tried = true
		batch, entries = append(batch, r), append(entries, r.PresenceEntry)
	}
	if g.saying != nil {
		t.unsaid.MoveToBack(g.saying)
	}
	err := t.call(func() error { return t.engine.setPresence(t.ctx, g.name, entries) })
	for _, r := range batch {
		switch {
		case err != nil:
			t.say(r)
		case r.Gone && r.unsaid == nil:
			t.drop(r)
		}
	}
	t.tidy(g)
	return err
}
