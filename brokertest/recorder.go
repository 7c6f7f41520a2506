package brokertest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// A recorder is a Subscriber that keeps what it gets, and notices what no subscriber may be
// given.
type recorder struct {
	hook func(p *wschannels.Publication) // if not nil: called by Deliver, before it records

	mu          sync.Mutex // guards what follows
	busy        map[string]bool
	got         map[string][]wschannels.Publication
	appeared    map[string][]wschannels.PresenceEntry
	interrupted map[string]int
	failed      []error
	wrong       []string
}

// record returns a recorder that is subscribed to groups at b.
func record(t *testing.T, b wschannels.Broker, groups ...string) *recorder {
	t.Helper()
	r := newRecorder(t)
	r.subscribe(t, b, groups...)
	return r
}

// recordAll returns a recorder for each node, subscribed to groups there.
func recordAll(t *testing.T, nodes []wschannels.Broker, groups ...string) []*recorder {
	t.Helper()
	var all []*recorder
	for _, b := range nodes {
		all = append(all, record(t, b, groups...))
	}
	return all
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{
		busy:        make(map[string]bool),
		got:         make(map[string][]wschannels.Publication),
		appeared:    make(map[string][]wschannels.PresenceEntry),
		interrupted: make(map[string]int),
	}
	t.Cleanup(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, w := range r.wrong {
			t.Error(w)
		}
	})
	return r
}

func (r *recorder) subscribe(t *testing.T, b wschannels.Broker, groups ...string) {
	t.Helper()
	for _, g := range groups {
		do(t, fmt.Sprintf("Subscribe %q", g), func(ctx context.Context) error { return b.Subscribe(ctx, g, r) })
	}
}

// Deliver keeps a copy of p.
func (r *recorder) Deliver(p *wschannels.Publication) {
	defer r.alone(p.Group)()
	if r.hook != nil {
		r.hook(p)
	}
	m := p.Message
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got[p.Group] = append(r.got[p.Group], wschannels.Publication{
		Message: m, Epoch: p.Epoch, Save: p.Save, Saved: p.Saved, Except: slices.Clone(p.Except),
	})
}

// Appear keeps e.
func (r *recorder) Appear(group string, e wschannels.PresenceEntry) {
	defer r.alone(group)()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.appeared[group] = append(r.appeared[group], e)
}

// Interrupted counts.
func (r *recorder) Interrupted(group string) {
	defer r.alone(group)()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.interrupted[group]++
}

// Failed keeps err.
func (r *recorder) Failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.wrong = append(r.wrong, "Failed was called with nil")
	}
	r.failed = append(r.failed, err)
}

// alone notices a second call for group before the returned function is called.
func (r *recorder) alone(group string) (done func()) {
	r.mu.Lock()
	if r.busy[group] {
		r.wrong = append(r.wrong, fmt.Sprintf("two calls for group %q at the same time", group))
	}
	r.busy[group] = true
	r.mu.Unlock()
	runtime.Gosched() // let another one in, if there is one
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.busy[group] = false
	}
}

// of returns what has come for group so far.
func (r *recorder) of(group string) []wschannels.Publication {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[group])
}

// all returns how much has come, for any group.
func (r *recorder) all() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ps := range r.got {
		n += len(ps)
	}
	return n
}

// await waits until n messages have come for group, and returns what has come.
func (r *recorder) await(t *testing.T, group string, n int) []wschannels.Publication {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages for group %.40q", n, group),
		func() bool { return len(r.of(group)) >= n }, func() any { return texts(r.of(group)) })
	return r.of(group)
}

// has reports whether the message with that ID has come for group.
func (r *recorder) has(group string, id uuid.UUID) bool {
	return slices.ContainsFunc(r.of(group), func(p wschannels.Publication) bool { return p.ID == id })
}

// awaitID waits until the message with that ID has come.
func (r *recorder) awaitID(t *testing.T, p *wschannels.Publication) {
	t.Helper()
	eventually(t, fmt.Sprintf("message %q of group %q", p.Text(), p.Group), func() bool { return r.has(p.Group, p.ID) })
}

// interruptions returns how often Interrupted has been called for group.
func (r *recorder) interruptions(group string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.interrupted[group]
}

// failures returns what Failed has been called with.
func (r *recorder) failures() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.failed)
}

// changes returns what Appear has been called with for group.
func (r *recorder) changes(group string) []wschannels.PresenceEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.appeared[group])
}
