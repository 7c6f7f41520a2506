package contestant_test

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
)

// A server is a contestant that listens.
type server struct {
	contestant.Contestant
	contestant.Config
	contestant.Hub
	*httptest.Server
}

func (s *server) Close() {
	s.Hub.Close()
	s.Server.Close()
}

func start(t *testing.T, c contestant.Contestant, cfg contestant.Config) *server {
	hub := c.New(cfg)
	s := &server{Contestant: c, Config: cfg, Hub: hub, Server: httptest.NewServer(hub)}
	t.Cleanup(s.Close)
	return s
}

// each runs a test for every contestant, but for those called one of skipped.
func each(t *testing.T, cfg contestant.Config, test func(t *testing.T, s *server), skipped ...string) {
	for _, c := range contestant.All() {
		t.Run(c.Name, func(t *testing.T) {
			for _, name := range skipped {
				if c.Name == name {
					t.Skip("it has no notion of that")
				}
			}
			test(t, start(t, c, cfg))
		})
	}
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("never: ", what)
		}
	}
}

func (s *server) expectMembers(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " members"), func() bool { return s.Members() == n })
}

// payload returns the nth message, of size bytes, or a little more for small sizes.
func payload(group string, n, size int) string {
	head := fmt.Sprintf(`{"t":%d,"n":%d,"g":%q,"p":"`, time.Now().UnixNano(), n, group)
	words := []string{"alpha", "beta", "gamma", "delta"}
	var fill strings.Builder
	for i := 0; fill.Len() < size; i++ {
		fmt.Fprintf(&fill, "%s %d ", words[(i*i+n)%len(words)], i*n)
	}
	return head + fill.String()[:max(0, size-len(head)-2)] + `"}`
}

var modest = contestant.Config{Window: 64, MaxMessage: 20 << 10}

func TestBroadcast(t *testing.T) {
	each(t, modest, func(t *testing.T, s *server) {
		members := map[string][]*client{}
		for i := range 8 {
			group := []string{"a", "b"}[i/5] // 5 and 3
			members[group] = append(members[group], join(t, s, group))
		}
		s.expectMembers(t, 8)
		var sent []string
		for n := range 20 {
			size := []int{60, 200, 1 << 10, 16 << 10}[n%4] // every form of a frame's length that is in use
			sent = append(sent, payload("a", n, size))
			s.Broadcast("a", []byte(sent[n]))
			s.Broadcast("b", []byte(payload("b", n, 100)))
		}
		for _, c := range members["a"] {
			for _, want := range sent {
				c.expect(want)
			}
		}
		for _, c := range members["b"] {
			for n := range 20 {
				if got, _ := c.receive(); !strings.Contains(got, fmt.Sprintf(`"n":%d,"g":"b"`, n)) {
					t.Fatalf("got %.60q instead of message %d", got, n)
				}
			}
		}
		for _, list := range members {
			for _, c := range list {
				c.close() // and there was nothing more
			}
		}
		s.expectMembers(t, 0)
	})
}

func TestLeave(t *testing.T) {
	each(t, modest, func(t *testing.T, s *server) {
		stays, leaves := join(t, s, "a"), join(t, s, "a")
		s.expectMembers(t, 2)
		before, after := payload("a", 1, 60), payload("a", 2, 60)
		s.Broadcast("a", []byte(before))
		leaves.expect(before)
		leaves.leave()
		leaves.expect("left")
		s.expectMembers(t, 1)
		s.Broadcast("a", []byte(after))
		stays.expect(before)
		stays.expect(after)
		leaves.close() // checks that nothing came
		s.expectMembers(t, 1)
		stays.close()
		s.expectMembers(t, 0)
		s.Broadcast("a", []byte(after)) // to nobody
	})
}

// Who is cut off without a close handshake is a member no more.
func TestCutOff(t *testing.T) {
	each(t, modest, func(t *testing.T, s *server) {
		stays, goes := join(t, s, "a"), join(t, s, "a")
		goes.conn.Close()
		s.expectMembers(t, 1)
		want := payload("a", 1, 60)
		s.Broadcast("a", []byte(want))
		stays.expect(want)
	})
}

// Every member may be Window messages of MaxMessage bytes behind, also where that is
// more than the operating system holds for it.
func TestWindow(t *testing.T) {
	cfg := contestant.Config{Window: 1 << 12, MaxMessage: 4 << 10}
	each(t, cfg, func(t *testing.T, s *server) {
		c := join(t, s, "a")
		s.expectMembers(t, 1)
		want := payload("a", 1, cfg.MaxMessage)
		done := make(chan struct{})
		go func() { // the floor's waits for the reader
			defer close(done)
			for range cfg.Window {
				s.Broadcast("a", []byte(want))
			}
		}()
		if s.Name != "floor" {
			<-done
		}
		for range cfg.Window {
			c.expect(want)
		}
		<-done
		c.close()
	})
}

// With Limit, a member that does not read costs itself messages or the connection, is
// counted, and does no harm to another.
func TestLimit(t *testing.T) {
	cfg := contestant.Config{Window: 1 << 20, MaxMessage: 16 << 10, Limit: true}
	each(t, cfg, func(t *testing.T, s *server) {
		reads, sleeps := join(t, s, "a"), join(t, s, "a")
		s.expectMembers(t, 2)
		if err := sleeps.conn.SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		want := payload("a", 1, cfg.MaxMessage)
		counted := func() bool { return s.Counts()["slow_closed"]+s.Counts()["dropped"] > 0 }
		for range 2000 {
			s.Broadcast("a", []byte(want))
			reads.expect(want)
			if counted() {
				break
			}
		}
		eventually(t, "a slow member", counted) // centrifuge counts it when its write has failed
	}, "floor", "gws") // nothing bounds what waits
}

func TestCompress(t *testing.T) {
	for _, compress := range []bool{false, true} {
		cfg := contestant.Config{Window: 64, MaxMessage: 1 << 10, Compress: compress}
		t.Run(fmt.Sprint(compress), func(t *testing.T) {
			each(t, cfg, func(t *testing.T, s *server) {
				members := []*client{join(t, s, "a"), join(t, s, "a"), join(t, s, "a")}
				s.expectMembers(t, 3)
				for n := range 10 {
					want := payload("a", n, 1<<10)
					s.Broadcast("a", []byte(want))
					for _, c := range members {
						c.expect(want)
						if c.rsv1 != compress {
							t.Fatalf("RSV1 is %t", c.rsv1)
						}
					}
				}
				for _, c := range members {
					c.close()
				}
			})
		})
	}
}

func TestAll(t *testing.T) {
	want := []string{
		"floor", "wschannels", "melody", "gws", "centrifuge", "gorilla", "gorilla-prepared", "coder", "wschannels-handler", "centrifuge-experimental",
	}
	var names []string
	for _, c := range contestant.All() {
		names = append(names, c.Name)
		if c.Setup == "" || (c.Module == "") != (c.Name == "floor") {
			t.Errorf("%s does not say what it is", c.Name)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("the contestants are %q", names)
	}
}
