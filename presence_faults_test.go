package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// A node that dies says no more: it is cut off, and nobody shuts it down.
func TestANodeThatDiesIsGoneWhenItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 3, nil)
		presenceUser(t, nodes[0], "ann", "g")
		presenceUser(t, nodes[1], "bob", "g")
		presenceUser(t, nodes[1], "ann", "h")
		presenceUser(t, nodes[0], "bob", "h")
		for _, n := range nodes {
			n.events()
		}
		time.Sleep(time.Minute)
		nodes[1].link.cutOff()
		time.Sleep(10*time.Second - 1) // it renewed at most 5 s ago
		presenceWant(t, "g", "ann bob, 2 channels, 2 users", nodes[0], nodes[2])
		presenceEvents(t, "before its lease ends", nodes[0])
		time.Sleep(5*time.Second + 1)
		presenceWant(t, "g", "ann, 1 channels, 1 users", nodes[0], nodes[2])
		time.Sleep(5 * time.Second) // until another renews
		told := nodes[0].events()
		slices.Sort(told)
		boxWant(t, "when it has ended", told, []string{"g-bob", "h-ann"})
		if _, err := nodes[1].Presence(t.Context(), "g"); !errors.Is(err, wschannels.ErrUnavailable) {
			t.Errorf("on the dead node: %v, want ErrUnavailable", err)
		}
		presenceEvents(t, "on the dead node", nodes[1])

		nodes[1].link.restore()
		time.Sleep(2 * time.Second)
		presenceWant(t, "g", "ann bob, 2 channels, 2 users", nodes...)
		told = nodes[0].events()
		slices.Sort(told)
		boxWant(t, "when it is back", told, []string{"g+bob", "h+ann"})
		time.Sleep(time.Hour)
		presenceEvents(t, "on the node that was dead", nodes[1])
	})
}

// A process that did not run for longer than its lease says everything again.
func TestANodeThatWasSuspendedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		presenceUser(t, nodes[0], "ann", "g")
		presenceUser(t, nodes[1], "bob", "g")
		presenceEvents(t, "ann's node", nodes[0], "g+ann", "g+bob")
		presenceEvents(t, "bob's node", nodes[1], "g+bob")
		wschannels.HoldTimers(nodes[1].ChannelBox, time.Minute)
		time.Sleep(time.Minute - 1)
		presenceEvents(t, "while it is suspended", nodes[0], "g-bob")
		time.Sleep(time.Second)
		presenceEvents(t, "when it goes on", nodes[0], "g+bob")
		presenceWant(t, "g", "ann bob, 2 channels, 2 users", nodes...)
		presenceEvents(t, "bob's node", nodes[1])
	})
}

// All nodes lose the engine for longer than their leases, and find it again one by one. Only
// what has really changed is told.
func TestPresenceComesBackWithTheEngine(t *testing.T) {
	for name, silent := range map[string]bool{"that refused": false, "that was silent": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := presenceNodes(t, 3, nil)
				users := []string{"ann", "bob", "cid"}
				var goes *wschannels.Channel
				for i, n := range nodes {
					n.link.silent = silent
					presenceUser(t, n, users[i], "g")
					goes = presenceUser(t, n, "dan", "g")
				}
				stays, _ := boxMember(t, nodes[1].ChannelBox, nil, "g")
				fay := presenceUser(t, nodes[2], "fay", "g")
				for _, n := range nodes {
					n.events()
					n.link.cutOff()
				}
				fay.CloseNow()
				boxSetUser(t, stays, "eve")
				goes.CloseNow()
				time.Sleep(time.Minute)
				nodes[1].mu.Lock()
				told := slices.Clone(nodes[1].told)
				nodes[1].mu.Unlock()
				boxWant(t, "at once, where it happened", told, []string{"g-" + stays.ID().String(), "g+eve"})
				for _, n := range nodes {
					n.link.restore()
					time.Sleep(3 * time.Second)
				}
				time.Sleep(30 * time.Second)
				presenceWant(t, "g", "ann bob cid dan dan eve, 6 channels, 5 users", nodes...)
				presenceEvents(t, "where it happened", nodes[1], "g-"+stays.ID().String(), "g+eve", "g-fay")
				want := []string{"g+eve", "g-" + stays.ID().String(), "g-fay"}
				slices.Sort(want) // an ID may come after a name
				for _, i := range []int{0, 2} {
					told := nodes[i].events()
					slices.Sort(told)
					boxWant(t, "elsewhere", told, want)
				}
				for i, n := range nodes {
					if got := n.Stats().BrokerErrors; got != 1 {
						t.Errorf("node %d: %d errors of the broker, want 1 for the outage", i, got)
					}
				}
			})
		})
	}
}

// Changes that a node did not hear, as its subscription was broken for a moment.
func TestPresenceAfterAnInterruption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		presenceUser(t, nodes[0], "ann", "g")
		presenceUser(t, nodes[1], "bob", "g")
		gone := presenceUser(t, nodes[1], "", "g")
		nodes[0].events()
		nodes[0].link.cutOff()
		gone.CloseNow()
		presenceUser(t, nodes[1], "cid", "g")
		presenceEvents(t, "while nothing is heard", nodes[0])
		nodes[0].link.restore()
		told := nodes[0].events()
		slices.Sort(told)
		boxWant(t, "afterwards, at once", told, []string{"g+cid", "g-" + gone.ID().String()})
	})
}

// An engine that lost its data has it again from the nodes, and nobody was away: whether what
// comes first, when it is back, is a renewal, a question, or what another node says.
func TestPresenceComesBackWhenTheEngineLostIt(t *testing.T) {
	for _, away := range []time.Duration{0, 3 * time.Second, 6 * time.Second, 14 * time.Second, time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := presenceNodes(t, 2, nil)
				presenceUser(t, nodes[0], "ann", "g")
				presenceUser(t, nodes[1], "bob", "g", "h")
				presenceUser(t, nodes[1], "", "g").CloseNow()
				time.Sleep(time.Second)
				for _, n := range nodes {
					n.events()
					n.link.cutOff()
				}
				time.Sleep(away)
				wschannels.ForgetPresence(nodes[0].link.MemoryBroker)
				for _, n := range nodes {
					n.link.restore()
					synctest.Wait()
				}
				time.Sleep(time.Second)
				presenceWant(t, "g", "ann bob, 2 channels, 2 users", nodes...)
				presenceWant(t, "h", "bob, 1 channels, 1 users", nodes...)
				time.Sleep(time.Minute)
				for _, n := range nodes {
					presenceEvents(t, "nothing has changed", n)
				}
			})
		})
	}
}

// A renewal may find that out before anything else has: it was no end of the other nodes.
func TestARenewalFindsThatTheEngineLostPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		presenceUser(t, nodes[0], "ann", "g")
		presenceUser(t, nodes[1], "bob", "g")
		time.Sleep(time.Second)
		for _, n := range nodes {
			n.events()
		}
		wschannels.ForgetPresence(nodes[0].link.MemoryBroker)
		time.Sleep(5 * time.Second) // both have renewed
		for _, n := range nodes {
			n.link.cutOff()
			n.link.restore()
		}
		time.Sleep(time.Minute)
		presenceWant(t, "g", "ann bob, 2 channels, 2 users", nodes...)
		for _, n := range nodes {
			presenceEvents(t, "nothing has changed", n)
		}
	})
}

// What other nodes say of times is by their clocks, which may be wrong.
func TestAnotherNodesClockMeansNothing(t *testing.T) {
	const day = 24 * time.Hour
	for name, wrong := range map[string]time.Duration{"slow": -day, "fast": day} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := presenceNodes(t, 1, nil)[0]
				engine := n.link.MemoryBroker
				presenceUser(t, n, "ann", "g")
				presenceEvents(t, "ann", n, "g+ann")
				if _, err := engine.Renew(t.Context(), "other", day); err != nil {
					t.Fatal(err)
				}
				e := wschannels.PresenceEntry{ID: uuid.New(), User: "bob", Node: "other", Since: time.Now().Add(wrong)}
				memorySet(t, engine, "g", e)
				presenceEvents(t, "bob comes", n, "g+bob")
				e.Until = time.Now().Add(wrong + 5*time.Second)
				memorySet(t, engine, "g", e)
				time.Sleep(3 * time.Second)
				n.link.cutOff() // his node says it again
				n.link.restore()
				time.Sleep(2*time.Second - 1)
				presenceEvents(t, "in his grace", n)
				presenceWant(t, "g", "ann bob, 1 channels, 2 users", n)
				time.Sleep(time.Nanosecond)
				presenceEvents(t, "after it", n, "g-bob")
				presenceWant(t, "g", "ann, 1 channels, 1 users", n)
				time.Sleep(time.Minute) // his node has yet to say that he has gone
				n.link.cutOff()
				n.link.restore()
				presenceEvents(t, "for good", n)
			})
		})
	}
}

// What a node hears while it asks is newer than the answer.
func TestWhatIsHeardWhileAskingIsNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		bob := presenceUser(t, nodes[1], "", "g")
		dan := presenceUser(t, nodes[1], "dan", "g")
		nodes[0].link.hook = func() { // the answer has bob and dan
			time.Sleep(time.Millisecond)
			bob.CloseNow()
			presenceJoin(t, nodes[1], "cid", "g")
			boxSetUser(t, dan, "eve")
			time.Sleep(time.Second)
		}
		presenceUser(t, nodes[0], "ann", "g")
		time.Sleep(time.Minute)
		told := nodes[0].events()
		slices.Sort(told)
		boxWant(t, "on ann's node", told, []string{"g+ann", "g+cid", "g+eve"})
		presenceWant(t, "g", "ann cid eve, 3 channels, 3 users", nodes...)
		if size := wschannels.PresenceSize(nodes[0].ChannelBox); size.Records != 3 || size.Attendees != 3 {
			t.Errorf("known on ann's node: %+v, want three of everything", size)
		}
	})
}

func TestPresenceThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		presenceUser(t, nodes[1], "bob", "g")
		nodes[0].link.fails.Store(3)
		presenceUser(t, nodes[0], "ann", "g")
		gone := presenceUser(t, nodes[0], "", "g")
		gone.CloseNow() // it may have been written
		presenceEvents(t, "before", nodes[1], "g+bob")
		time.Sleep(2 * time.Second)
		presenceEvents(t, "after", nodes[1], "g+ann")
		presenceWant(t, "g", "ann bob, 2 channels, 2 users", nodes...)
		if got := nodes[0].Stats().BrokerErrors; got != 1 {
			t.Errorf("%d errors of the broker, want 1 for one after another", got)
		}
	})
}

// While a node asks who is alive, another comes to life.
func TestANodeThatIsJustBornIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		presenceUser(t, nodes[0], "ann", "g")
		link := nodes[0].link
		link.mu.Lock()
		link.late = func() { // the answer has only ann's
			presenceJoin(t, nodes[1], "bob", "g")
			time.Sleep(time.Second)
		}
		link.mu.Unlock()
		time.Sleep(7 * time.Second)
		presenceEvents(t, "on ann's node", nodes[0], "g+ann", "g+bob")
		presenceWant(t, "g", "ann bob, 2 channels, 2 users", nodes...)
	})
}

// Who joins while a node asks who was there before does not make it ask again, and again.
func TestABusyGroupIsAskedAboutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := presenceNodes(t, 1, nil)[0]
		n.link.hook = func() {
			time.Sleep(time.Millisecond)
			presenceJoin(t, n, "bob", "g")
			time.Sleep(time.Second)
		}
		presenceUser(t, n, "ann", "g")
		time.Sleep(time.Minute)
		presenceEvents(t, "told", n, "g+ann", "g+bob")
		if got := n.link.reads.Load(); got != 1 {
			t.Errorf("the engine was asked %d times, want once", got)
		}
	})
}

// With the engine away nothing that comes and goes is kept.
func TestPresenceIsBoundedWithoutTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &wschannels.PresenceOptions{Grace: -1}
		n := presenceNodes(t, 1, opts)[0]
		presenceUser(t, n, "ann", "g")
		n.link.cutOff()
		for range 1_000 {
			c := presenceUser(t, n, "", "g")
			c.CloseNow()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if size := wschannels.PresenceSize(n.ChannelBox); size.Records > 10 || size.Attendees > 2 || size.Work > 10 {
			t.Errorf("kept for one member: %+v", size)
		}
		n.link.restore()
		synctest.Wait()
		if size := wschannels.PresenceSize(n.ChannelBox); size.Records != 1 || size.Attendees != 1 || size.Work != 0 {
			t.Errorf("kept when the engine is back: %+v", size)
		}
		presenceWant(t, "g", "ann, 1 channels, 1 users", n)
	})
}

// Nor is anything kept of groups that were joined, and left again, without it.
func TestPresenceForgetsGroupsThatWereLeftWithoutTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := presenceNodes(t, 1, nil)[0]
		opts := wschannels.Options{
			Broker: n.link, LocalFallback: true, Presence: &wschannels.PresenceOptions{},
			Events: wschannels.Events{OnPresence: n.hear},
		}
		box := boxOf(t, &opts)
		n.link.cutOff()
		c, _ := boxMember(t, box, nil)
		boxSetUser(t, c, "ann")
		for i := range 1_000 {
			group := fmt.Sprint(i)
			boxJoin(t, box, c, group, nil)
			if _, err := box.Leave(t.Context(), c, group); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // her graces are over
		synctest.Wait()
		if size := wschannels.PresenceSize(box); size.Groups > 10 || size.Records > 10 || size.Work > 10 {
			t.Errorf("kept of 1,000 groups that nobody is in: %+v", size)
		}
	})
}

func TestShutdownTakesAChannelOutAndLeavesUsersTheirGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		engine := nodes[0].link.MemoryBroker
		presenceUser(t, nodes[1], "ann", "g")
		presenceUser(t, nodes[0], "bob", "g")
		presenceUser(t, nodes[0], "cid", "g")
		nobody := presenceUser(t, nodes[0], "", "g")
		nodes[1].events()
		if err := nodes[0].Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		presenceEvents(t, "at once", nodes[1], "g-"+nobody.ID().String())
		time.Sleep(time.Second)
		presenceUser(t, nodes[1], "bob", "g") // where the load balancer took him
		time.Sleep(4*time.Second - 1)
		presenceEvents(t, "in the grace", nodes[1])
		time.Sleep(time.Nanosecond)
		presenceEvents(t, "after it", nodes[1], "g-cid")
		presenceWant(t, "g", "ann bob, 2 channels, 2 users", nodes[1])
		time.Sleep(5 * time.Second) // another renews
		if nodes, groups := wschannels.PresenceKept(engine); nodes != 1 || groups != 1 {
			t.Errorf("%d nodes and %d groups are left, want the other's", nodes, groups)
		}
		if size := wschannels.PresenceSize(nodes[0].ChannelBox); size.Graces+size.News+size.Work > 4 || size.Nodes != 1 {
			t.Logf("left: %+v", size)
		}
	})
}

// The engine is told of what has gone before Shutdown returns, and asked for as long as
// its context, no longer.
func TestShutdownIsBoundedAlsoForPresence(t *testing.T) {
	for name, silent := range map[string]bool{"the engine refuses": false, "the engine is silent": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before := promiseGoroutines()
				n := presenceNodes(t, 1, nil)[0]
				n.link.silent = silent
				presenceUser(t, n, "", "g")
				presenceUser(t, n, "ann", "g")
				n.link.cutOff()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				err := n.Shutdown(ctx)
				if took := time.Since(start); silent != errors.Is(err, context.DeadlineExceeded) || silent != (took == time.Second) {
					t.Errorf("Shutdown: %v after %v", err, took)
				}
				synctest.Wait()
				if left := promiseGoroutines(); left > before {
					t.Errorf("%d goroutines are left", left-before)
				}
				boxNothingLeft(t, n.ChannelBox)
			})
		})
	}
}
