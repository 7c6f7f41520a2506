package natsbroker

import (
	"sync"
	"time"
)

// A pace bounds how many batches of this node's are on their way at a time. What waits here
// instead of at the server is of more use: its group's next batch gets larger meanwhile, and
// other nodes outrun it less.
//
// The bound goes by how long answers take. Where they take about as long as the quickest
// one, more at a time are no burden, and the way may be long: the bound grows. Where they
// take three times as long, most of that is waiting at the server: it shrinks.
type pace struct {
	mu      sync.Mutex // guards what follows
	flying  int
	limit   int
	waiting []chan struct{} // oldest first; each is closed when it has a seat
	least   time.Duration   // that an answer took since then
	since   time.Time
}

const (
	minFlying = 4
	maxFlying = 1024

	// leastTime is for how long the quickest answer counts. Then it is looked for anew, with
	// few on their way, as the way may have changed.
	leastTime = 10 * time.Second
)

func newPace() *pace { return &pace{limit: minFlying} }

// A seat is one of those that may be on their way. It is left once; leaving none does nothing.
type seat struct{ pace *pace }

// try returns a seat if there is one.
func (p *pace) try() (seat, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flying >= p.limit {
		return seat{}, false
	}
	p.flying++
	return seat{p}, true
}

// enter waits for a seat.
func (p *pace) enter() seat {
	p.mu.Lock()
	if p.flying < p.limit {
		p.flying++
		p.mu.Unlock()
		return seat{p}
	}
	mine := make(chan struct{})
	p.waiting = append(p.waiting, mine)
	p.mu.Unlock()
	<-mine
	return seat{p}
}

func (s *seat) leave() {
	if p := s.pace; p != nil {
		s.pace = nil
		p.mu.Lock()
		defer p.mu.Unlock()
		p.flying--
		p.admit()
	}
}

// admit gives seats to those that wait. p.mu is held.
func (p *pace) admit() {
	for len(p.waiting) > 0 && p.flying < p.limit {
		close(p.waiting[0])
		p.waiting = p.waiting[1:]
		p.flying++
	}
}

// note says how long an answer took that came now.
func (p *pace) note(took time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) > leastTime {
		p.limit, p.least, p.since = minFlying, took, now
	}
	p.least = min(p.least, took)
	switch {
	case took > 3*p.least:
		p.limit = max(p.limit-1, minFlying)
	case len(p.waiting) > 0:
		p.limit = min(p.limit+1, maxFlying)
		p.admit()
	}
}

// open lets all go, as answers do not come: nobody is to wait for others that wait in vain.
func (p *pace) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = maxFlying
	p.admit()
}
