package contestant_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/wschannels/wschannels/bench/contestant"
)

// Close ends members, those that have left, and all goroutines.
func TestClose(t *testing.T) {
	for _, c := range contestant.All() {
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprint(c.Name, "-", compress), func(t *testing.T) {
				if compress && c.Name == "centrifuge-experimental" {
					t.Skip("its cache of compressed messages cannot be closed, and keeps a goroutine")
				}
				testClose(t, c, contestant.Config{Window: 64, MaxMessage: 16 << 10, Compress: compress})
			})
		}
	}
}

func testClose(t *testing.T, c contestant.Contestant, cfg contestant.Config) {
	before := runtime.NumGoroutine()
	s := start(t, c, cfg)
	join(t, s, "a").close()
	open := []*client{join(t, s, "a"), join(t, s, "b"), join(t, s, "a")}
	s.expectMembers(t, 3)
	s.Broadcast("a", []byte(payload("a", 1, 16<<10))) // some close with it unread
	open[2].receive()
	open[2].leave()
	open[2].expect("left")
	gone := make(chan struct{})
	go func() { // some servers wait for the answer to their close frames
		defer close(gone)
		for _, c := range open {
			for ok := true; ok; _, ok = c.receive() {
			}
			c.conn.Close()
		}
	}()
	s.Close()
	<-gone
	eventually(t, "all goroutines gone", func() bool { return runtime.NumGoroutine() <= before })
}
