package redisbroker

import (
	"testing"
	"testing/synctest"
)

// A message that is being handed over when its connection ends is the last one of it, and
// the next connection's wait for it.
func TestNothingComesFromAConnectionThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		var got []int
		hold := make(chan struct{})
		hear := through(&g, func(n int) {
			<-hold
			got = append(got, n)
		})
		go hear(1)
		synctest.Wait()
		closed := false
		go func() {
			g.close()
			closed = true
		}()
		synctest.Wait()
		if closed {
			t.Error("closed while a message is handed over")
		}
		close(hold)
		synctest.Wait()
		hear(2)
		if len(got) != 1 || !closed {
			t.Errorf("got %v, closed %v; want the first message alone", got, closed)
		}
	})
}
