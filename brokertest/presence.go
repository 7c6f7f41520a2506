package brokertest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

var presencePromises = []promise{
	{"NodesWithALeaseAreAliveForAllNodes", testAlive},
	{"EntriesAreSeenOnAllNodes", testEntries},
	{"AnEntryIsReplacedAndRemoved", testEntryChanges},
	{"ChangesReachTheSubscribersOfTheGroupOnAllNodesOnceAndInOrder", testAppear},
	{"ADeadNodeIsGoneWhenItsLeaseEnds", testDeadNode},
	{"ANodeThatRenewsStays", testRenewal},
	{"EntriesOfANodeWithoutALeaseAreNotSeen", testNoLease},
	{"ManyEntries", testManyEntries},
}

func renew(t *testing.T, b wschannels.Broker, node string, lease time.Duration) (alive []string) {
	t.Helper()
	do(t, fmt.Sprintf("Renew %q", node), func(ctx context.Context) (err error) {
		alive, err = b.(wschannels.PresenceBroker).Renew(ctx, node, lease)
		return err
	})
	slices.Sort(alive)
	return alive
}

func setPresence(t *testing.T, b wschannels.Broker, group string, es ...wschannels.PresenceEntry) {
	t.Helper()
	do(t, fmt.Sprintf("SetPresence of %q", group), func(ctx context.Context) error {
		return b.(wschannels.PresenceBroker).SetPresence(ctx, group, es...)
	})
}

func presence(t *testing.T, b wschannels.Broker, group string) (es []wschannels.PresenceEntry) {
	t.Helper()
	do(t, fmt.Sprintf("Presence of %q", group), func(ctx context.Context) (err error) {
		es, err = b.(wschannels.PresenceBroker).Presence(ctx, group)
		return err
	})
	return es
}

func entry(node, user string) wschannels.PresenceEntry {
	return wschannels.PresenceEntry{ID: uuid.New(), User: user, Node: node, Since: time.Now()}
}

// users returns the users of es, in order.
func users(es []wschannels.PresenceEntry) []string {
	all := make([]string, len(es))
	for i, e := range es {
		all[i] = e.User
	}
	slices.Sort(all)
	return all
}

func wantEntries(t *testing.T, what string, got, want []wschannels.PresenceEntry) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %q, want %q", what, users(got), users(want))
		return
	}
	sorted := func(es []wschannels.PresenceEntry) []wschannels.PresenceEntry {
		es = slices.Clone(es)
		slices.SortFunc(es, func(a, b wschannels.PresenceEntry) int {
			return cmp.Or(cmp.Compare(a.ID.String(), b.ID.String()), cmp.Compare(a.Node, b.Node))
		})
		return es
	}
	want = sorted(want)
	for i, e := range sorted(got) {
		wantEntry(t, what, e, want[i])
	}
}

func wantEntry(t *testing.T, what string, got, want wschannels.PresenceEntry) {
	t.Helper()
	if got.ID != want.ID || got.User != want.User || got.Node != want.Node || got.Gone != want.Gone ||
		!got.Since.Equal(want.Since) || !got.Until.Equal(want.Until) || got.Until.IsZero() != want.Until.IsZero() {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func testAlive(t *testing.T, s *suite) {
	s.needs(t, Presence)
	nodes := s.nodes(t, 3)
	var want []string
	for i, b := range nodes {
		name := fmt.Sprint("node/", i)
		want = append(want, name)
		if got := renew(t, b, name, patience); !slices.Equal(got, want) {
			t.Errorf("alive: %q, want %q", got, want)
		}
	}
	if got := renew(t, nodes[0], want[0], patience); !slices.Equal(got, want) {
		t.Errorf("alive: %q, want %q", got, want)
	}
}

func testEntries(t *testing.T, s *suite) {
	s.needs(t, Presence)
	nodes := s.nodes(t, 2)
	var g, h []wschannels.PresenceEntry
	twice := uuid.New()
	for i, b := range nodes {
		name := fmt.Sprint("n", i)
		renew(t, b, name, patience)
		es := []wschannels.PresenceEntry{entry(name, "ann"), entry(name, ""), entry(name, "a \"user\", {x}: \\ 日本")}
		es[1].Until = time.Now().Add(time.Hour)
		es[2].Since = time.Now().Add(-24 * time.Hour).UTC()
		es[0].ID = twice // one ID on two nodes is two entries
		setPresence(t, b, "g", es...)
		g = append(g, es...)
		other := entry(name, "bob")
		setPresence(t, b, "h", other)
		h = append(h, other)
	}
	for _, b := range nodes {
		wantEntries(t, "present", presence(t, b, "g"), g)
		wantEntries(t, "present in another group", presence(t, b, "h"), h)
		wantEntries(t, "present in a group where nobody ever was", presence(t, b, "i"), nil)
	}
}

func testEntryChanges(t *testing.T, s *suite) {
	s.needs(t, Presence)
	nodes := s.nodes(t, 2)
	renew(t, nodes[0], "n", patience)
	e, other := entry("n", "ann"), entry("n", "bob")
	setPresence(t, nodes[0], "g", e, other)
	e.User, e.Until = "eve", time.Now().Add(time.Minute)
	setPresence(t, nodes[0], "g", e)
	for _, b := range nodes {
		wantEntries(t, "after a change", presence(t, b, "g"), []wschannels.PresenceEntry{e, other})
	}
	gone := e
	gone.Gone = true
	setPresence(t, nodes[0], "g", gone)
	setPresence(t, nodes[0], "g", gone) // it is not there
	for _, b := range nodes {
		wantEntries(t, "after a removal", presence(t, b, "g"), []wschannels.PresenceEntry{other})
	}
	setPresence(t, nodes[0], "g", e)
	for _, b := range nodes {
		wantEntries(t, "after a return", presence(t, b, "g"), []wschannels.PresenceEntry{e, other})
	}
}

func testAppear(t *testing.T, s *suite) {
	s.needs(t, Presence)
	nodes := s.nodes(t, 3)
	rs := recordAll(t, nodes, "g")
	elsewhere := record(t, nodes[1], "h")
	renew(t, nodes[0], "n", patience)
	var want []wschannels.PresenceEntry
	set := func(es ...wschannels.PresenceEntry) {
		setPresence(t, nodes[0], "g", es...)
		want = append(want, es...)
	}
	e := entry("n", "0")
	set(e, entry("n", "other"))
	for i := range 30 {
		e.User = fmt.Sprint(i + 1)
		set(e)
	}
	e.Gone = true
	set(e)
	for _, r := range rs {
		eventually(t, "all changes come", func() bool { return len(r.changes("g")) >= len(want) })
	}
	settle(t, nodes...)
	for _, r := range rs {
		got := r.changes("g")
		if len(got) != len(want) {
			t.Fatalf("%d changes came, want %d", len(got), len(want))
		}
		for i := range got {
			wantEntry(t, fmt.Sprint("change ", i), got[i], want[i])
		}
	}
	if got := elsewhere.changes("h"); len(got) != 0 || len(elsewhere.changes("g")) != 0 {
		t.Errorf("the subscriber of another group got %v and %v", got, elsewhere.changes("g"))
	}
}

func testDeadNode(t *testing.T, s *suite) {
	s.needs(t, Presence)
	nodes := s.nodes(t, 2)
	lease := cmp.Or(s.f.Lease, time.Second)
	renew(t, nodes[0], "lives", patience)
	stays := entry("lives", "stays")
	setPresence(t, nodes[0], "g", stays)
	start := time.Now()
	renew(t, nodes[1], "dies", lease)
	goes := entry("dies", "goes")
	setPresence(t, nodes[1], "g", goes)
	for _, b := range nodes {
		got := presence(t, b, "g")
		if time.Since(start) < lease-tick {
			wantEntries(t, "while both live", got, []wschannels.PresenceEntry{stays, goes})
		}
	}
	for i, b := range nodes {
		eventually(t, fmt.Sprint("the dead node's entry is gone for node ", i), func() bool { return len(presence(t, b, "g")) == 1 })
		if took := time.Since(start); took < lease-tick {
			t.Errorf("it was gone after %v of its lease of %v", took, lease)
		}
		wantEntries(t, "after the death", presence(t, b, "g"), []wschannels.PresenceEntry{stays})
	}
	if alive := renew(t, nodes[0], "lives", patience); !slices.Equal(alive, []string{"lives"}) {
		t.Errorf("alive: %q, want the living", alive)
	}
	renew(t, nodes[1], "dies", patience) // and returns
	setPresence(t, nodes[1], "g", goes)
	wantEntries(t, "after the return", presence(t, nodes[0], "g"), []wschannels.PresenceEntry{stays, goes})
}

func testRenewal(t *testing.T, s *suite) {
	s.needs(t, Presence)
	nodes := s.nodes(t, 2)
	lease := cmp.Or(s.f.Lease, time.Second)
	renew(t, nodes[0], "renews", lease)
	e := entry("renews", "ann")
	setPresence(t, nodes[0], "g", e)
	renew(t, nodes[0], "renews", patience)
	renew(t, nodes[1], "dies", lease) // its end shows that a lease has passed
	eventually(t, "the other node is gone", func() bool { return !slices.Contains(renew(t, nodes[0], "watches", patience), "dies") })
	if alive := renew(t, nodes[1], "watches", patience); !slices.Contains(alive, "renews") {
		t.Errorf("alive: %q, want the one that has renewed among them", alive)
	}
	wantEntries(t, "after the first lease", presence(t, nodes[1], "g"), []wschannels.PresenceEntry{e})
}

func testNoLease(t *testing.T, s *suite) {
	s.needs(t, Presence)
	nodes := s.nodes(t, 2)
	renew(t, nodes[0], "n", patience)
	e := entry("n", "ann")
	setPresence(t, nodes[0], "g", e)
	setPresence(t, nodes[1], "g", entry("never renewed", "bob"))
	for _, b := range nodes {
		wantEntries(t, "present", presence(t, b, "g"), []wschannels.PresenceEntry{e})
	}
}

func testManyEntries(t *testing.T, s *suite) {
	s.needs(t, Presence)
	const each, calls = 500, 4
	nodes := s.nodes(t, 2)
	renew(t, nodes[0], "n", patience)
	r := record(t, nodes[1], "g")
	var all, gone []wschannels.PresenceEntry
	for range calls {
		var es []wschannels.PresenceEntry
		for i := range each {
			es = append(es, entry("n", fmt.Sprint("user ", i)))
		}
		setPresence(t, nodes[0], "g", es...)
		all = append(all, es...)
	}
	for _, b := range nodes {
		wantEntries(t, "present", presence(t, b, "g"), all)
	}
	for _, e := range all {
		e.Gone = true
		gone = append(gone, e)
	}
	setPresence(t, nodes[0], "g", gone...)
	wantEntries(t, "after all have left", presence(t, nodes[1], "g"), nil)
	eventually(t, "all changes come", func() bool { return len(r.changes("g")) >= 2*len(all) })
}
