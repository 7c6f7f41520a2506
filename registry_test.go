package wschannels_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

func TestRegistryFindsChannelsByID(t *testing.T) {
	r := wschannels.NewRegistry()
	if n := r.Len(); n != 0 {
		t.Errorf("a new registry has %d channels", n)
	}
	a, _ := boxChannel(t, nil)
	b, _ := boxChannel(t, nil)
	for _, c := range []*wschannels.Channel{a, b} {
		if err := r.Add(c); err != nil {
			t.Fatal(err)
		}
		if got, ok := r.Get(c.ID()); !ok || got != c {
			t.Errorf("Get(%v) = %p, %t, want %p", c.ID(), got, ok, c)
		}
	}
	if c, ok := r.Get(uuid.New()); ok || c != nil {
		t.Errorf("Get of an unknown ID = %p, %t, want nil, false", c, ok)
	}
	if err := r.Add(a); err != nil {
		t.Errorf("adding the same channel again: %v, want nil", err)
	}
	if n := r.Len(); n != 2 {
		t.Errorf("Len() = %d, want 2", n)
	}
	all := r.All()
	all[0] = nil // the caller's
	if got := r.All(); len(got) != 2 || got[0] == nil || got[1] == nil {
		t.Errorf("All() = %v after a caller changed its snapshot", got)
	}
	if !r.Remove(a) || r.Remove(a) {
		t.Error("Remove(a), Remove(a): want true, false")
	}
	if _, ok := r.Get(a.ID()); ok || r.Len() != 1 {
		t.Error("a is found after Remove")
	}
}

func TestRegistryRefusesASecondChannelWithTheSameID(t *testing.T) {
	r := wschannels.NewRegistry()
	opts := boxText
	opts.ID = uuid.New()
	old, _ := boxChannel(t, &opts)
	next, _ := boxChannel(t, &opts)
	if err := r.Add(old); err != nil {
		t.Fatal(err)
	}
	if err := r.Add(next); !errors.Is(err, wschannels.ErrDuplicateID) {
		t.Fatalf("Add of a duplicate: %v, want ErrDuplicateID", err)
	}
	if r.Remove(next) {
		t.Error("Remove of the one that was refused = true")
	}
	if got, _ := r.Get(opts.ID); got != old {
		t.Error("the refused channel took the place of the first")
	}
	if !r.Remove(old) {
		t.Fatal("Remove(old) = false")
	}
	if err := r.Add(next); err != nil {
		t.Fatal(err)
	}
	// old is a stale pointer now: neither its removal nor its end is next's.
	if r.Remove(old) {
		t.Error("Remove of a stale pointer = true")
	}
	old.CloseNow()
	if got, ok := r.Get(opts.ID); !ok || got != next {
		t.Error("a stale pointer evicted its successor")
	}
}

func TestRegistryForgetsClosedChannels(t *testing.T) {
	r := wschannels.NewRegistry()
	c, _ := boxChannel(t, nil)
	if err := r.Add(c); err != nil {
		t.Fatal(err)
	}
	c.CloseNow()
	if n := r.Len(); n != 0 {
		t.Errorf("Len() = %d after the channel closed", n)
	}
	if err := r.Add(c); !errors.Is(err, wschannels.ErrClosed) || r.Len() != 0 {
		t.Errorf("Add of a closed channel: %v with Len() %d, want ErrClosed and 0", err, r.Len())
	}
	if r.Add(nil) == nil {
		t.Error("Add(nil) succeeded")
	}
	if r.Remove(nil) {
		t.Error("Remove(nil) = true")
	}
}

// A channel that closes while it is added must not stay, whoever is first.
func TestRegistryAddRacesWithClose(t *testing.T) {
	r := wschannels.NewRegistry()
	for range 200 {
		c, _ := boxChannel(t, nil)
		var wg sync.WaitGroup
		wg.Go(func() { r.Add(c) })
		wg.Go(func() { c.CloseNow() })
		wg.Wait()
		if n := r.Len(); n != 0 {
			t.Fatalf("Len() = %d after a race of Add and CloseNow", n)
		}
	}
}
