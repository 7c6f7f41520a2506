package wschannels_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
)

func TestPresenceIsKnownAndToldOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 3, nil)
		ann := presenceUser(t, nodes[0], "ann", "g")
		presenceEvents(t, "the first", nodes[0], "g+ann")
		time.Sleep(time.Second)
		bob := presenceUser(t, nodes[1], "bob", "g")
		presenceEvents(t, "there before", nodes[0], "g+bob")
		presenceEvents(t, "only who comes", nodes[1], "g+bob")
		presenceEvents(t, "nobody is here", nodes[2])
		presenceWant(t, "g", "ann bob, 2 channels, 2 users", nodes...)
		presenceWant(t, "h", ", 0 channels, 0 users", nodes...)

		nobody := presenceUser(t, nodes[1], "", "g")
		for _, n := range nodes[:2] {
			presenceEvents(t, "a channel without a user", n, "g+"+nobody.ID().String())
		}
		presenceWant(t, "g", " ann bob, 3 channels, 2 users", nodes...)
		p, err := nodes[2].Presence(t.Context(), "g")
		if err != nil || p.Members[0].ID != ann.ID() || p.Members[0].Node != nodes[0].Node() {
			t.Errorf("%+v, %v; want ann on her node first", p.Members[0], err)
		}

		nobody.CloseNow()
		for _, n := range nodes[:2] {
			presenceEvents(t, "it leaves at once", n, "g-"+nobody.ID().String())
		}
		bob.CloseNow()
		time.Sleep(5*time.Second - 1)
		presenceEvents(t, "1 ns before the grace ends", nodes[0])
		presenceWant(t, "g", "ann bob, 1 channels, 2 users", nodes...)
		time.Sleep(time.Nanosecond)
		presenceEvents(t, "the grace has ended", nodes[0], "g-bob")
		presenceEvents(t, "also where bob was the last", nodes[1], "g-bob")
		presenceWant(t, "g", "ann, 1 channels, 1 users", nodes...)
	})
}

func TestPresenceCountsAUserOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		presenceUser(t, nodes[1], "bob", "g")
		one := presenceUser(t, nodes[0], "ann", "g")
		two := presenceUser(t, nodes[0], "ann", "g")
		three := presenceUser(t, nodes[1], "ann", "g")
		presenceEvents(t, "here", nodes[0], "g+ann")
		presenceEvents(t, "there", nodes[1], "g+bob", "g+ann")
		presenceWant(t, "g", "ann ann ann bob, 4 channels, 2 users", nodes...)
		for _, c := range []*wschannels.Channel{one, three, two} {
			presenceEvents(t, "while there is another", nodes[1])
			c.CloseNow()
			time.Sleep(time.Hour)
		}
		presenceEvents(t, "here", nodes[0], "g-ann")
		presenceEvents(t, "there", nodes[1], "g-ann")
	})
}

// Who is on the other node already is no news there.
func TestAUserWhoIsInTheGroupElsewhereHasNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		presenceUser(t, nodes[0], "ann", "g")
		presenceEvents(t, "the first", nodes[0], "g+ann")
		c := presenceUser(t, nodes[1], "ann", "g")
		for _, n := range nodes {
			presenceEvents(t, "the second", n)
		}
		c.CloseNow() // and there is nobody left on that node who could be told
		time.Sleep(time.Minute)
		for _, n := range nodes {
			presenceEvents(t, "one is left", n)
		}
		presenceWant(t, "g", "ann, 1 channels, 1 users", nodes...)
	})
}

// Nobody is missed who comes on two nodes at once.
func TestAUserWhoComesOnTwoNodesAtOnceHasJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		nodes[0].link.late = func() { // the engine knows of neither
			presenceJoin(t, nodes[1], "ann", "g")
			time.Sleep(time.Second)
		}
		presenceUser(t, nodes[0], "ann", "g")
		time.Sleep(time.Minute)
		for _, n := range nodes {
			presenceEvents(t, "told", n, "g+ann")
		}
	})
}

func TestAQuickReturnIsNoFlicker(t *testing.T) {
	for name, to := range map[string]int{"to the same node": 0, "to another node": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := presenceNodes(t, 3, nil)
				presenceUser(t, nodes[2], "bob", "g")
				presenceUser(t, nodes[0], "bob", "g") // so that both nodes hear of the group
				c := presenceUser(t, nodes[0], "ann", "g")
				presenceEvents(t, "bob's node", nodes[2], "g+bob", "g+ann")
				presenceEvents(t, "ann's node", nodes[0], "g+ann")
				for range 3 {
					c.CloseNow()
					time.Sleep(5*time.Second - 1)
					c = presenceUser(t, nodes[to], "ann", "g")
					presenceWant(t, "g", "ann bob bob, 3 channels, 2 users", nodes...)
					// Who is back needs no grace any more.
					want := []string{nodes[0].Node() + " bob", nodes[to].Node() + " ann", nodes[2].Node() + " bob"}
					slices.Sort(want)
					boxWant(t, "the engine", memoryUsers(t, nodes[0].link.MemoryBroker, "g"), want)
				}
				time.Sleep(time.Hour)
				for _, n := range nodes {
					presenceEvents(t, "nothing happened", n)
				}
				presenceWant(t, "g", "ann bob bob, 3 channels, 2 users", nodes...)
				c.CloseNow()
				time.Sleep(5 * time.Second)
				presenceEvents(t, "then she goes", nodes[2], "g-ann")
			})
		})
	}
}

func TestSetUserLeavesAsOneAndJoinsAsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		presenceUser(t, nodes[1], "bob", "g")
		c := presenceUser(t, nodes[0], "", "g")
		id := c.ID().String()
		presenceEvents(t, "here", nodes[0], "g+"+id)
		presenceEvents(t, "there", nodes[1], "g+bob", "g+"+id)
		for _, step := range []struct {
			user string
			want []string
		}{
			{"ann", []string{"g-" + id, "g+ann"}},
			{"ann", nil},
			{"bob", []string{"g-ann"}}, // who is there
			{"", []string{"g+" + id}},
		} {
			boxSetUser(t, c, step.user)
			for _, n := range nodes {
				presenceEvents(t, "now "+step.user, n, step.want...)
			}
		}
		presenceWant(t, "g", " bob, 2 channels, 1 users", nodes...)
	})
}

func TestPresenceWithoutGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, &wschannels.PresenceOptions{Grace: -1})
		presenceUser(t, nodes[1], "bob", "g")
		c := presenceUser(t, nodes[0], "ann", "g")
		if _, err := nodes[0].Leave(t.Context(), c, "g"); err != nil {
			t.Fatal(err)
		}
		presenceEvents(t, "here", nodes[0], "g+ann", "g-ann")
		presenceEvents(t, "there", nodes[1], "g+bob", "g+ann", "g-ann")
		presenceWant(t, "g", "bob, 1 channels, 1 users", nodes...)
	})
}

// A box alone knows who is there, with and without Options.Presence; only with it, since when.
func TestPresenceOfABoxAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := &presenceNode{ChannelBox: boxOf(t, nil)}
		full := &presenceNode{}
		full.ChannelBox = boxOf(t, &wschannels.Options{
			Presence: &wschannels.PresenceOptions{}, Events: wschannels.Events{OnPresence: full.hear},
		})
		for _, n := range []*presenceNode{plain, full} {
			c := presenceUser(t, n, "ann", "g")
			presenceUser(t, n, "", "g", "h")
			presenceWant(t, "g", " ann, 2 channels, 1 users", n)
			p, err := n.Presence(t.Context(), "g")
			if err != nil || p.Members[0].Node != n.Node() || p.Members[0].Since.IsZero() != (n == plain) {
				t.Errorf("%+v, %v", p.Members[0], err)
			}
			c.CloseNow()
			if n == full {
				presenceWant(t, "g", " ann, 1 channels, 1 users", n)
				time.Sleep(5 * time.Second)
			}
			presenceWant(t, "g", ", 1 channels, 0 users", n)
		}
		if got := full.events(); len(got) != 4 || got[0] != "g+ann" || got[3] != "g-ann" {
			t.Errorf("told %q", got)
		}
	})
}

// noPresence is a Broker that can do no more than it must.
type noPresence struct{ wschannels.Broker }

func TestPresenceThatCannotBeHad(t *testing.T) {
	engine, err := wschannels.NewMemoryBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, broker := range map[string]wschannels.Broker{"no option": engine, "no PresenceBroker": noPresence{engine}} {
		b := boxOf(t, &wschannels.Options{Broker: broker})
		if _, err := b.Presence(t.Context(), "g"); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, want errors.ErrUnsupported", name, err)
		}
	}
	told := wschannels.Events{OnPresence: func(wschannels.PresenceEvent) {}}
	for name, o := range map[string]wschannels.Options{
		"no PresenceBroker":          {Broker: noPresence{engine}, Presence: &wschannels.PresenceOptions{}},
		"a Lease of half a second":   {Presence: &wschannels.PresenceOptions{Lease: time.Second / 2}},
		"a negative Lease":           {Presence: &wschannels.PresenceOptions{Lease: -1}},
		"OnPresence, and no Options": {Events: told},
	} {
		if _, err := wschannels.New(&o); !errors.Is(err, wschannels.ErrInvalidOption) {
			t.Errorf("%s: %v, want ErrInvalidOption", name, err)
		}
	}
	b := boxOf(t, &wschannels.Options{Presence: &wschannels.PresenceOptions{Lease: time.Second, Grace: 1 << 62}})
	if _, err := b.Presence(t.Context(), ""); !errors.Is(err, wschannels.ErrInvalidGroup) {
		t.Errorf("no name: %v, want ErrInvalidGroup", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Presence(ctx, "g"); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	if err := b.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Presence(t.Context(), "g"); !errors.Is(err, wschannels.ErrClosed) {
		t.Errorf("after Shutdown: %v, want ErrClosed", err)
	}
}
