package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wschannels/wschannels"
)

// A ledger counts what the box was asked for and what it answered, to be compared with
// what it counts itself.
type ledger struct {
	connects, disconnects, refused, panics atomic.Uint64
	joins, cutReplays, groupSends          atomic.Uint64
	userSends, clears                      atomic.Uint64

	// Messages that the box has accepted, or said that it dropped.
	direct, replayed, queued, waiting, dropped atomic.Uint64

	// By clients.
	upgraded, received, checked, recovered atomic.Uint64
	ends                                   endings
	longest                                longest // until a close frame came that was due at once
}

// sent books the result of a send to many.
func (l *ledger) sent(r wschannels.SendResult) {
	l.queued.Add(uint64(r.Queued))
	l.waiting.Add(uint64(r.Waiting))
	l.dropped.Add(uint64(r.Dropped))
}

// accepted is how many messages the box has to account for. A join that its channel's
// end cut short may have queued up to unknown more: it does not say how many.
func (l *ledger) accepted() (n, unknown uint64) {
	n = l.direct.Load() + l.replayed.Load() + l.queued.Load() + l.waiting.Load() + l.dropped.Load()
	return n, l.cutReplays.Load() * historyLen
}

// Longest keeps the longest of times.
type longest struct{ ns atomic.Int64 }

func (l *longest) note(d time.Duration) {
	for old := l.ns.Load(); int64(d) > old && !l.ns.CompareAndSwap(old, int64(d)); old = l.ns.Load() {
	}
}

// Endings counts connections by how they ended.
type endings struct {
	mu sync.Mutex // guards n
	n  map[string]int
}

func (e *endings) add(how string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n == nil {
		e.n = make(map[string]int)
	}
	e.n[how]++
}

// An ended is one way to end, and how often it was.
type ended struct {
	how string
	n   int
}

// sorted returns the most frequent first.
func (e *endings) sorted() (all []ended) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for how, n := range e.n {
		all = append(all, ended{how, n})
	}
	slices.SortFunc(all, func(a, b ended) int { return cmp.Or(b.n-a.n, strings.Compare(a.how, b.how)) })
	return all
}

// Faults collects what must not be.
type faults struct {
	mu    sync.Mutex // guards what follows
	count int
	first []string
	since time.Time
}

func (f *faults) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; len(f.first) < 20 {
		f.first = append(f.first, fmt.Sprintf("%.1fs: ", time.Since(f.since).Seconds())+fmt.Sprintf(format, args...))
	}
}

// all returns the first ones, and how many more there are.
func (f *faults) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if more := f.count - len(f.first); more > 0 {
		return append(f.first[:len(f.first):len(f.first)], fmt.Sprintf("and %d more", more))
	}
	return f.first[:len(f.first):len(f.first)]
}

func (f *faults) addAll(texts []string) {
	for _, text := range texts {
		f.add("%s", text)
	}
}
