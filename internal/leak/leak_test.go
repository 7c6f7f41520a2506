package leak

import (
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

func TestLeftFindsWhatStays(t *testing.T) {
	before := Snapshot()
	end, ended := make(chan struct{}), make(chan struct{})
	go lingers(end, ended)
	left := Left(before, 0)
	if len(left) != 1 || !strings.Contains(left[0], "created by") || !strings.Contains(left[0], "TestLeftFindsWhatStays") {
		t.Errorf("Left: %q, want the one goroutine that this test began", left)
	}
	if left := Left(Snapshot(), time.Minute); len(left) > 0 {
		t.Errorf("Left: %q, and it was there before", left)
	}
	if left := Left(before, time.Minute, "TestLeftFindsWhatStays"); len(left) > 0 {
		t.Errorf("Left: %q, and it is foreign", left)
	}
	close(end)
	<-ended
	if left := Left(before, time.Minute); len(left) > 0 {
		t.Errorf("Left: %q, and it has ended", left)
	}
}

func TestLeftWaits(t *testing.T) {
	before := Snapshot()
	end := make(chan struct{})
	go lingers(end, make(chan struct{}))
	time.AfterFunc(20*time.Millisecond, func() { close(end) })
	if left := Left(before, time.Minute); len(left) > 0 {
		t.Errorf("Left: %q, and it ends in time", left)
	}
}

func lingers(end <-chan struct{}, ended chan<- struct{}) {
	<-end
	close(ended)
}
