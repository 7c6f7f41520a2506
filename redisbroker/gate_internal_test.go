package redisbroker

import "testing"

// A message that is being handed over when its connection ends is the last one of it, and
// the next connection's wait for it.
func TestNothingComesFromAConnectionThatHasEnded(t *testing.T) {
	var g gate
	var got []int
	begun, goOn, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	hear := through(&g, func(n int) {
		close(begun)
		<-goOn
		got = append(got, n)
	})
	go hear(1)
	<-begun
	if g.mu.TryLock() {
		t.Fatal("close would not wait for a message that is being handed over")
	}
	go func() {
		g.close()
		close(closed)
	}()
	close(goOn)
	<-closed
	hear(2)
	if len(got) != 1 || got[0] != 1 {
		t.Errorf("got %v, want the first message alone", got)
	}
}
