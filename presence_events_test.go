package wschannels_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

func TestOnPresenceMayCallAnyMethod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, nil)
		n := nodes[0]
		done := 0
		n.on = func(e wschannels.PresenceEvent) {
			if e.Member.User != "bob" {
				return
			}
			p, err := n.Presence(context.Background(), e.Group)
			if there := slices.ContainsFunc(p.Members, func(m wschannels.PresenceMember) bool { return m.User == "bob" }); err != nil || there != e.Joined {
				t.Errorf("joined %v, and then he is there: %v, %v", e.Joined, there, err)
			}
			if _, err := n.GroupSend(context.Background(), "g", "hello", nil); err != nil {
				t.Error(err)
			}
			for _, c := range n.Members("g") {
				if err := c.SetUser(c.User()); err != nil {
					t.Error(err)
				}
				if _, err := n.Leave(context.Background(), c, "g"); err != nil {
					t.Error(err)
				}
				if _, err := n.Join(context.Background(), c, "g", nil); err != nil {
					t.Error(err)
				}
			}
			done++
		}
		presenceUser(t, n, "ann", "g")
		presenceUser(t, n, "ann", "g") // or the node would stop to listen when one leaves
		bob := presenceUser(t, nodes[1], "bob", "g")
		bob.CloseNow()
		time.Sleep(5 * time.Second)
		presenceEvents(t, "told", n, "g+ann", "g+bob", "g-bob")
		if done != 2 {
			t.Errorf("bob was seen %d times, want 2", done)
		}
	})
}

func TestOnPresenceMayPanicOrEndItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := presenceNodes(t, 1, nil)[0]
		n.on = func(e wschannels.PresenceEvent) {
			switch e.Member.User {
			case "ann":
				panic("ann")
			case "bob":
				runtime.Goexit()
			}
		}
		presenceUser(t, n, "ann", "g")
		presenceUser(t, n, "bob", "g")
		presenceUser(t, n, "cid", "g")
		presenceEvents(t, "told", n, "g+ann", "g+bob", "g+cid")
		if got := n.Stats().Panics; got != 1 {
			t.Errorf("%d panics were counted, want 1", got)
		}
	})
}

// While OnPresence is busy, what is kept is bounded by who is there, and what it is told
// afterwards is what has changed.
func TestWhatOnPresenceHasNoTimeForComesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 2, &wschannels.PresenceOptions{Grace: -1})
		n := nodes[0]
		busy := make(chan struct{})
		n.on = func(wschannels.PresenceEvent) { <-busy }
		presenceUser(t, n, "ann", "g")
		presenceUser(t, nodes[1], "bob", "g")
		goes := presenceUser(t, nodes[1], "cid", "g")
		for i := range 1_000 {
			presenceUser(t, nodes[i%2], fmt.Sprint(i), "g").CloseNow()
		}
		goes.CloseNow()
		presenceUser(t, nodes[1], "dan", "g")
		if size := wschannels.PresenceSize(n.ChannelBox); size.Records != 3 || size.Attendees > 4 || size.News > 3 {
			t.Errorf("kept: %+v", size)
		}
		close(busy)
		presenceEvents(t, "told", n, "g+ann", "g+bob", "g+dan")
	})
}

// OnPresence is waited for, as other events are, but no longer than Shutdown may take.
func TestShutdownWaitsForOnPresence(t *testing.T) {
	for name, long := range map[string]bool{"that returns in time": false, "that does not": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := presenceNodes(t, 1, nil)[0]
				took := time.Second
				if long {
					took = time.Minute
				}
				n.on = func(wschannels.PresenceEvent) { time.Sleep(took) }
				presenceUser(t, n, "", "g")
				presenceUser(t, n, "", "g")
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				start := time.Now()
				err := n.Shutdown(ctx)
				if (err != nil) != long || (time.Since(start) == 10*time.Second) != long {
					t.Errorf("Shutdown: %v after %v", err, time.Since(start))
				}
				time.Sleep(time.Hour)
				if told := len(n.events()); long && told != 1 {
					t.Errorf("%d events, want none after Shutdown", told)
				}
				boxNothingLeft(t, n.ChannelBox)
			})
		})
	}
}

// A join and a leave are one entry each; a user's leave has two, one for its grace. The
// lease is renewed three times as often as it ends, and only while there is somebody.
func TestWhatPresenceCostsTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := presenceNodes(t, 1, nil)[0]
		cost := func(what string, entries, reads int64) {
			t.Helper()
			synctest.Wait()
			if e, r := n.link.entries.Swap(0), n.link.reads.Swap(0); e != entries || r != reads {
				t.Errorf("%s: %d entries and %d reads, want %d and %d", what, e, r, entries, reads)
			}
		}
		time.Sleep(time.Hour)
		if got := n.link.renews.Load(); got != 0 {
			t.Errorf("%d renewals with nobody there", got)
		}
		nobody := presenceUser(t, n, "", "g")
		cost("the first of a group", 1, 1)
		c := presenceUser(t, n, "", "g")
		cost("a join", 1, 0)
		c.CloseNow()
		cost("a leave", 1, 0)
		ann := presenceUser(t, n, "ann", "g")
		cost("a user's join", 1, 0)
		ann.CloseNow()
		cost("a user's leave", 1, 0)
		time.Sleep(time.Minute)
		cost("the end of the grace", 1, 0)
		one := presenceUser(t, n, "ann", "g")
		two := presenceUser(t, n, "ann", "g")
		cost("two channels of a user", 2, 0)
		one.CloseNow()
		time.Sleep(time.Minute)
		cost("one of them leaves, which needs no grace", 1, 0)
		two.CloseNow()
		time.Sleep(time.Minute)
		cost("the other one leaves", 2, 0)

		n.link.renews.Store(0)
		time.Sleep(time.Hour)
		if got := n.link.renews.Load(); got < 720 || got > 800 {
			t.Errorf("%d renewals in an hour, want one in 5 s or a little less", got)
		}
		cost("an hour", 0, 0)
		nobody.CloseNow()
		cost("the last of a group", 1, 0)
		time.Sleep(time.Minute)
		n.link.renews.Store(0)
		time.Sleep(time.Hour)
		if got := n.link.renews.Load(); got != 0 {
			t.Errorf("%d renewals with nobody there", got)
		}
		if size := wschannels.PresenceSize(n.ChannelBox); size.Groups != 0 {
			t.Errorf("left: %+v", size)
		}
	})
}

// Ten thousand members on a node that dies and comes back.
func TestPresenceOfTenThousandMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 10_000
		nodes := presenceNodes(t, 2, nil)
		presenceUser(t, nodes[0], "ann", "g")
		box := nodes[1]
		nobody := wschannels.ChannelOptions{PayloadType: wschannels.Text, Heartbeat: -1}
		var all []*wschannels.Channel
		for i := range many {
			c, _ := boxMember(t, box.ChannelBox, &nobody)
			boxSetUser(t, c, fmt.Sprint(i))
			boxJoin(t, box.ChannelBox, c, "g", nil)
			all = append(all, c)
		}
		count := func(what string, want int) {
			t.Helper()
			synctest.Wait()
			p, err := nodes[0].Presence(t.Context(), "g")
			if err != nil || p.Users != want+1 {
				t.Errorf("%s: %d users, %v; want %d", what, p.Users, err, want+1)
			}
			if size := wschannels.PresenceSize(nodes[0].ChannelBox); size.Records != want+1 {
				t.Errorf("%s: %+v is known", what, size)
			}
		}
		count("there", many)
		if got := len(nodes[0].events()); got != many+1 {
			t.Errorf("%d joins were told, want %d", got, many+1)
		}
		box.link.cutOff()
		time.Sleep(time.Minute)
		count("dead", 0)
		if got := len(nodes[0].events()); got != many {
			t.Errorf("%d leaves were told, want %d", got, many)
		}
		sets := box.link.sets.Load()
		box.link.restore()
		count("back", many)
		if got := box.link.sets.Load() - sets; got > many/256+1 {
			t.Errorf("it took %d calls to say everything again", got)
		}
		for _, c := range all {
			if _, err := box.Leave(t.Context(), c, "g"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		count("gone", 0)
		if size := wschannels.PresenceSize(box.ChannelBox); size.Groups != 0 || size.Graces != 0 {
			t.Errorf("left: %+v", size)
		}
	})
}

// Members come, go, change their names and move between nodes, all at once, while links
// break. In the end everybody knows who is there, and was told of no one twice.
func TestPresenceOfABusyCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := presenceNodes(t, 3, &wschannels.PresenceOptions{Lease: time.Second, Grace: 500 * time.Millisecond})
		for i, n := range nodes {
			presenceUser(t, n, fmt.Sprint("fixed", i), "a", "b")
		}
		seen := make([]map[string]bool, len(nodes))
		for i, n := range nodes {
			seen[i] = make(map[string]bool)
			for _, who := range []string{"a fixed0", "a fixed1", "a fixed2", "b fixed0", "b fixed1", "b fixed2"} {
				seen[i][who] = true
			}
			n.on = func(e wschannels.PresenceEvent) {
				who := e.Group + " " + e.Member.User
				if e.Member.User == "" {
					who = e.Group + " " + e.Member.ID.String()
				}
				if seen[i][who] == e.Joined {
					t.Errorf("node %d: %s was told of twice: %v", i, who, e.Joined)
				}
				seen[i][who] = e.Joined
			}
		}
		stop := make(chan struct{})
		running := func() bool {
			select {
			case <-stop:
				return false
			default:
				return true
			}
		}
		ended := make(chan struct{})
		const workers = 20
		for w := range workers {
			go func() {
				defer func() { ended <- struct{}{} }()
				for i := w; running(); i += 7 {
					n := nodes[i%3]
					c, _ := boxChannel(t, nil)
					if err := n.Add(c); err != nil {
						t.Error(err)
					}
					for step, group := range []string{"a", "b", "a"} {
						if err := c.SetUser([]string{"", "ann", "bob", "cid", "dan"}[(i+step)%5]); err != nil {
							t.Error(err)
						}
						if _, err := n.Join(context.Background(), c, group, nil); err != nil {
							continue // its link is cut
						}
						time.Sleep(time.Duration(i%11) * 37 * time.Millisecond)
						if i%3 == step {
							if _, err := n.Leave(context.Background(), c, group); err != nil {
								t.Error(err)
							}
						}
					}
					_ = c.Close(websocket.StatusNormalClosure, "")
					time.Sleep(time.Millisecond)
				}
			}()
		}
		for i := range 40 {
			link := nodes[i%3].link
			link.cutOff()
			time.Sleep(time.Duration(i) * 53 * time.Millisecond)
			link.restore()
			time.Sleep(300 * time.Millisecond)
		}
		close(stop)
		for range workers {
			<-ended
		}
		time.Sleep(10 * time.Second)
		for _, group := range []string{"a", "b"} {
			presenceWant(t, group, "fixed0 fixed1 fixed2, 3 channels, 3 users", nodes...)
		}
		for i, n := range nodes {
			for who, is := range seen[i] {
				if is != strings.Contains(who, " fixed") {
					t.Errorf("node %d: is %s there, for who was told? %v", i, who, is)
				}
			}
			if size := wschannels.PresenceSize(n.ChannelBox); size.Records != 6 || size.Attendees != 6 || size.Work+size.News+size.Graces != 0 {
				t.Errorf("node %d: left: %+v", i, size)
			}
		}
	})
}
