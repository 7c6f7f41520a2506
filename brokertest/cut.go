package brokertest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

var cutPromises = []promise{
	{"AfterABrokenConnectionEveryGroupIsInterruptedAndGoesOn", testCut},
	{"AConnectionThatCarriesNothingMoreIsReplaced", testDeaf},
	{"AfterABrokenConnectionRequestsArriveAgain", testCutRequests},
	{"AfterABrokenConnectionPresenceArrivesAgain", testCutPresence},
}

// comeback is how long a broker may take to have its subscriptions back.
const comeback = 10 * time.Second

// awaitBack waits until each of rs was interrupted in each of groups, once more than before
// says, and fails the test if that took longer than most since the engine could be reached.
func awaitBack(t *testing.T, since time.Time, most time.Duration, rs []*recorder, before int, groups ...string) {
	t.Helper()
	for _, r := range rs {
		for _, g := range groups {
			eventually(t, fmt.Sprintf("group %q is interrupted", g), func() bool { return r.interruptions(g) > before })
		}
	}
	if took := time.Since(since); took > most {
		t.Errorf("the subscriptions were back after %v, want %v at most", took.Round(time.Millisecond), most)
	}
}

// wantReported checks that r was told of outages, as of n events, and not for each group.
func wantReported(t *testing.T, r *recorder, groups int) {
	t.Helper()
	eventually(t, "the outage is reported", func() bool { return len(r.failures()) > 0 })
	if got := r.failures(); len(got) >= groups {
		t.Errorf("one outage was reported %d times to the subscriber of %d groups: %v", len(got), groups, got)
	}
}

// rising checks that what comes of got for the first time is in order, and that nothing comes
// of an epoch after that of another has begun.
func rising(t *testing.T, what string, got []wschannels.Publication) {
	t.Helper()
	var epochs []string
	last := uint64(0)
	had := make(map[uint64]bool)
	for _, p := range got {
		if len(epochs) == 0 || p.Epoch != epochs[len(epochs)-1] {
			if slices.Contains(epochs, p.Epoch) {
				t.Errorf("%s: %d of epoch %q comes after one of another epoch", what, p.Seq, p.Epoch)
				return
			}
			epochs, last, had = append(epochs, p.Epoch), 0, make(map[uint64]bool)
		}
		if p.Seq <= last && !had[p.Seq] {
			t.Errorf("%s: %d comes after %d", what, p.Seq, last)
			return
		}
		last, had[p.Seq] = max(last, p.Seq), true
	}
}

func testCut(t *testing.T, s *suite) {
	need(t, "Node", s.apart())
	need(t, "Cut", s.f.Cut != nil)
	s.testBroken(t, s.f.Cut, comeback)
}

func testDeaf(t *testing.T, s *suite) {
	need(t, "Node", s.apart())
	need(t, "Deaf", s.f.Deaf != nil)
	if testing.Short() {
		t.Skip("it takes as long as the broker takes to notice")
	}
	s.testBroken(t, s.f.Deaf, comeback+cmp.Or(s.f.DeafFor, 10*time.Second))
}

// testBroken breaks one node's connections, while the other goes on.
func (s *suite) testBroken(t *testing.T, breakIt func(t *testing.T, b wschannels.Broker), most time.Duration) {
	nodes := s.nodes(t, 2)
	var groups []string
	for i := range 8 {
		groups = append(groups, fmt.Sprint("g", i))
	}
	hit, other := record(t, nodes[0], groups...), record(t, nodes[1], groups...)
	for round := range 2 {
		sent := make(map[string][]*wschannels.Publication)
		for _, g := range groups {
			p := publish(t, nodes[1], saved(g, "before"))
			hit.awaitID(t, p)
		}
		breakIt(t, nodes[0])
		start := time.Now()
		for i := range 5 {
			for _, g := range groups {
				sent[g] = append(sent[g], publish(t, nodes[1], saved(g, fmt.Sprint("meanwhile ", i))))
			}
		}
		awaitBack(t, start, most, []*recorder{hit}, round, groups...)
		for _, g := range groups {
			p := publish(t, nodes[1], saved(g, "after"))
			hit.awaitID(t, p)
			other.awaitID(t, p)
			eventually(t, "the node publishes again", func() bool { return nodes[0].Publish(lasting(t, time.Second), saved(g, "own")) == nil })
		}
	}
	wantReported(t, hit, 2*len(groups))
	settle(t, nodes...)
	for _, g := range groups {
		rising(t, "the node in "+g, hit.of(g))
		inOrder(t, "the other node in "+g, other.of(g))
		if n := other.interruptions(g); n != 0 {
			t.Errorf("the other node was interrupted in %s %d times", g, n)
		}
		if s.f.Lacks&History == 0 { // as a box fills what is missing
			samePlaces(t, "the history of "+g, publications(page(t, nodes[0], g, nil)), other.of(g))
		}
	}
	if got := other.failures(); len(got) != 0 {
		t.Errorf("the other node was told of %v", got)
	}
}

func publications(p wschannels.HistoryPage) (ps []wschannels.Publication) {
	for _, m := range p.Messages {
		ps = append(ps, wschannels.Publication{Message: m, Epoch: p.Position.Epoch})
	}
	return ps
}

func testCutRequests(t *testing.T, s *suite) {
	s.needs(t, Requests)
	need(t, "Node", s.apart())
	need(t, "Cut", s.f.Cut != nil)
	nodes := s.nodes(t, 2)
	l, gone := newListener(echo), newListener(echo)
	listen(t, nodes[0], "a", l)
	listen(t, nodes[0], "b", gone)
	request(t, nodes[1], "a", "before")
	s.f.Cut(t, nodes[0])
	unlisten(t, nodes[0], "b", gone)
	eventually(t, "the listener is interrupted", func() bool { return l.interruptions("a") > 0 })
	request(t, nodes[1], "a", "after")
	eventually(t, "the node sends again", func() bool {
		_, err := nodes[0].(wschannels.RequestBroker).Request(lasting(t, time.Second), "a", []byte("own"))
		return err == nil
	})
	wantNobody(t, nodes[1], "b")
	if _, err := nodes[0].(wschannels.RequestBroker).Request(patient(t), "nobody", []byte("x")); !errors.Is(err, wschannels.ErrNobody) {
		t.Errorf("Request: %v, want ErrNobody", err)
	}
	if got := l.heard(); len(got) < 3 || got[0] != "a: before" || got[1] != "a: after" {
		t.Errorf("heard %q", got)
	}
}

func testCutPresence(t *testing.T, s *suite) {
	s.needs(t, Presence)
	need(t, "Node", s.apart())
	need(t, "Cut", s.f.Cut != nil)
	nodes := s.nodes(t, 2)
	r := record(t, nodes[0], "g")
	renew(t, nodes[1], "n", patience)
	e := entry("n", "ann")
	setPresence(t, nodes[1], "g", e)
	s.f.Cut(t, nodes[0])
	eventually(t, "the group is interrupted", func() bool { return r.interruptions("g") > 0 })
	before := len(r.changes("g"))
	e.User = "eve"
	setPresence(t, nodes[1], "g", e)
	eventually(t, "a change comes", func() bool { return len(r.changes("g")) > before })
	changes := r.changes("g")
	wantEntry(t, "the change", changes[len(changes)-1], e)
	eventually(t, "the node asks again", func() bool {
		got, err := nodes[0].(wschannels.PresenceBroker).Presence(lasting(t, time.Second), "g")
		return err == nil && len(got) == 1 && got[0].User == "eve"
	})
}
