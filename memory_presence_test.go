package wschannels_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// An appearances is a Subscriber that keeps what appeared.
type appearances struct {
	wschannels.Subscriber // nothing else is to come

	mu   sync.Mutex // guards what follows
	seen []string
}

func (a *appearances) Appear(group string, e wschannels.PresenceEntry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, fmt.Sprint(group, " ", e.Node, " ", e.User, " ", e.Gone))
}

func memoryUsers(t *testing.T, b *wschannels.MemoryBroker, group string) []string {
	t.Helper()
	entries, err := b.Presence(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, e := range entries {
		users = append(users, e.Node+" "+e.User)
	}
	slices.Sort(users)
	return users
}

func memoryRenew(t *testing.T, b *wschannels.MemoryBroker, node string, want ...string) {
	t.Helper()
	alive, err := b.Renew(t.Context(), node, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(alive)
	boxWant(t, "alive", alive, want)
}

func memorySet(t *testing.T, b *wschannels.MemoryBroker, group string, entries ...wschannels.PresenceEntry) {
	t.Helper()
	if err := b.SetPresence(t.Context(), group, entries...); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryBrokerKnowsWhoIsThereWhileTheirLeaseRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := wschannels.NewMemoryBroker(nil)
		if err != nil {
			t.Fatal(err)
		}
		var _ wschannels.PresenceBroker = b
		subs := &appearances{}
		if err := b.Subscribe(t.Context(), "g", subs); err != nil {
			t.Fatal(err)
		}
		ann := wschannels.PresenceEntry{ID: uuid.New(), User: "ann", Node: "1"}
		bob := wschannels.PresenceEntry{ID: uuid.New(), User: "bob", Node: "2"}
		memoryRenew(t, b, "1", "1")
		memorySet(t, b, "g", ann)
		memorySet(t, b, "h", ann)
		time.Sleep(5 * time.Second)
		memoryRenew(t, b, "2", "1", "2")
		memorySet(t, b, "g", bob)
		boxWant(t, "both", memoryUsers(t, b, "g"), []string{"1 ann", "2 bob"})

		bob.User = "bobby" // in place of the one before
		memorySet(t, b, "g", bob)
		boxWant(t, "after a change", memoryUsers(t, b, "g"), []string{"1 ann", "2 bobby"})

		time.Sleep(5*time.Second - 1)
		boxWant(t, "1 ns before the lease ends", memoryUsers(t, b, "g"), []string{"1 ann", "2 bobby"})
		time.Sleep(time.Nanosecond)
		boxWant(t, "when it has ended", memoryUsers(t, b, "g"), []string{"2 bobby"})
		memoryRenew(t, b, "2", "2")
		if nodes, groups := wschannels.PresenceKept(b); nodes != 1 || groups != 1 {
			t.Errorf("%d nodes and %d groups are kept, want what lives", nodes, groups)
		}

		memoryRenew(t, b, "1", "1", "2") // it has to say everything again
		boxWant(t, "when it is back", memoryUsers(t, b, "g"), []string{"2 bobby"})
		memorySet(t, b, "g", ann)
		bob.Gone = true
		memorySet(t, b, "g", bob)
		boxWant(t, "after one has gone", memoryUsers(t, b, "g"), []string{"1 ann"})
		boxWant(t, "what appeared", subs.seen, []string{
			"g 1 ann false", "g 2 bob false", "g 2 bobby false", "g 1 ann false", "g 2 bobby true",
		})

		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, renewed := b.Renew(t.Context(), "1", time.Second)
		_, read := b.Presence(t.Context(), "g")
		set := b.SetPresence(t.Context(), "g", ann)
		for _, err := range []error{renewed, read, set} {
			if !errors.Is(err, wschannels.ErrClosed) {
				t.Errorf("after Close: %v, want ErrClosed", err)
			}
		}
	})
}

// A node that lapsed and comes back has none of what it said before.
func TestMemoryBrokerForgetsALapsedNodeAlsoWhenItComesBackItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := wschannels.NewMemoryBroker(nil)
		if err != nil {
			t.Fatal(err)
		}
		memoryRenew(t, b, "1", "1")
		memorySet(t, b, "g", wschannels.PresenceEntry{ID: uuid.New(), User: "ann", Node: "1"})
		time.Sleep(10 * time.Second)
		memoryRenew(t, b, "1", "1")
		boxWant(t, "present", memoryUsers(t, b, "g"), nil)
	})
}
