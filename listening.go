package wschannels

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// listening keeps a box listening at the addresses of whoever is in it, and runs what
// else they need the engine for: at first on a goroutine for each address, and, while the
// engine is away, from time to time on one for all.
type listening struct {
	engine *engine
	ear    Listener
	failed func(error) // told of the first failure of an outage

	calls     context.Context // of calls that nobody misses in the end
	stopCalls context.CancelFunc
	rest      context.Context // of others
	stopRest  context.CancelFunc

	mu      sync.Mutex // guards what follows; nothing is taken under it
	lines   map[string]*line
	later   []*line // to be tried again, in this order
	timer   *time.Timer
	armed   bool // the timer will fire
	trying  bool // it has, and what it began has yet to end
	delay   time.Duration
	down    bool // since the last time that all worked, something failed
	working busy // lines at work
	ended   bool
}

// Failures are tried again after so long, at first and at most.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 2 * time.Second
)

// A line is one address.
type line struct {
	address string
	subject subject
	open    bool // the box listens; of whoever works at the line

	// Guarded by listening.mu.
	busy  bool // somebody works at it
	dirty bool // and is to look again
	later bool // it is in the list
}

// A subject is whom an address stands for. No lock is held when it is asked.
type subject interface {
	wanted() bool              // the box is to listen
	needs() bool               // that, or there is something to run
	run(context.Context) error // does it, once the box listens, or not, as is wanted
	away()                     // that failed, and is tried again
}

func newListening(e *engine, ear Listener, failed func(error)) *listening {
	ls := &listening{engine: e, ear: ear, failed: failed, lines: make(map[string]*line), delay: retryFirst}
	ls.rest, ls.stopRest = context.WithCancel(context.Background())
	ls.calls, ls.stopCalls = context.WithCancel(ls.rest)
	return ls
}

// update has somebody look at the address of s, where something has changed. It does not
// block, and may be called with locks held.
func (ls *listening) update(address string, s subject) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.line(address, s); l != nil {
		ls.begin(l)
		go ls.tend(l) // ends when all is as wanted, or a call fails; close waits for it
	}
}

// updateLater is update for many addresses at once: one after another.
func (ls *listening) updateLater(address string, s subject) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.line(address, s); l != nil {
		ls.postpone(l)
	}
}

// line returns that of address for somebody to look at: nil if the box is shut down, or
// somebody is at it already, who looks again then. ls.mu is held.
func (ls *listening) line(address string, s subject) *line {
	if ls.ended {
		return nil
	}
	l := ls.lines[address]
	if l == nil {
		l = &line{address: address, subject: s}
		ls.lines[address] = l
	}
	if l.busy {
		l.dirty = true
		return nil
	}
	return l
}

// begin makes the caller the one who works at l. ls.mu is held.
func (ls *listening) begin(l *line) {
	l.busy, l.dirty = true, false
	ls.working.begin()
}

// tend brings l to where it should be, and reports whether that worked.
func (ls *listening) tend(l *line) bool {
	err := ls.step(l)
	if err != nil {
		l.subject.away()
	}
	if ls.end(l, err) {
		ls.failed(err)
	}
	return err == nil
}

// step does all that there is to do now.
func (ls *listening) step(l *line) (err error) {
	switch want := l.subject.wanted(); {
	case want && !l.open:
		err = ls.engine.listen(ls.calls, l.address, ls.ear)
		l.open = err == nil
	case !want && l.open:
		err = ls.engine.unlisten(ls.rest, l.address, ls.ear)
		l.open = err != nil
	}
	if err != nil {
		return err
	}
	return l.subject.run(ls.rest)
}

// end is where a work at l ends, and reports whether its err is to be told.
func (ls *listening) end(l *line, err error) (tell bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	defer ls.working.end()
	l.busy = false
	switch {
	case l.dirty && !ls.ended:
		ls.begin(l)
		go ls.tend(l) // as in update
	case err == nil && (l.open || l.later):
	case err == nil, ls.ended, errors.Is(err, ErrClosed):
		delete(ls.lines, l.address)
	default:
		tell = !ls.down
		ls.down = true
		ls.postpone(l)
	}
	return tell
}

// postpone has l looked at later. ls.mu is held.
func (ls *listening) postpone(l *line) {
	if !l.later {
		l.later = true
		ls.later = append(ls.later, l)
	}
	ls.arm()
}

// arm sets the timer if it is needed. ls.mu is held.
func (ls *listening) arm() {
	if len(ls.later) == 0 || ls.armed || ls.trying || ls.ended {
		return
	}
	ls.armed = true
	if ls.timer == nil {
		ls.timer = time.AfterFunc(ls.delay, ls.retry)
	} else {
		ls.timer.Reset(ls.delay)
	}
}

// retry looks at what was postponed, until something fails. The runtime calls it on a
// goroutine of its own.
func (ls *listening) retry() {
	ls.mu.Lock()
	ls.armed, ls.trying = false, true
	batch := ls.later
	ls.later = nil
	ls.mu.Unlock()
	ok := true
	var rest []*line
	for _, l := range batch {
		if ok {
			ok = ls.try(l)
		} else if ls.keep(l) {
			rest = append(rest, l)
		}
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.later = slices.Concat(rest, ls.later) // what has just failed is the last
	ls.trying = false
	if ok {
		ls.delay, ls.down = retryFirst, false
	} else {
		ls.delay = min(2*ls.delay, retryLast)
	}
	ls.arm()
}

// try is tend for a line that was postponed, unless somebody works at it already.
func (ls *listening) try(l *line) bool {
	ls.mu.Lock()
	l.later = false
	busy := l.busy || ls.ended
	if busy {
		l.dirty = true
	} else {
		ls.begin(l)
	}
	ls.mu.Unlock()
	return busy || ls.tend(l)
}

// keep reports whether l, which was postponed, is to be tried another time. If not, it is
// forgotten: it waits for nothing any more, or somebody works at it.
func (ls *listening) keep(l *line) bool {
	needs := l.subject.needs()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	switch {
	case l.busy:
		l.dirty = true
		l.later = false
		return false
	case needs || l.open:
		return true
	}
	l.later = false
	delete(ls.lines, l.address)
	return false
}

// close waits until nothing is at work but what nobody misses, or ctx ends, and then ends
// everything. What is to be done at the end has begun.
func (ls *listening) close(ctx context.Context) error {
	ls.stopCalls()
	err := ls.working.wait(ctx)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.ended = true
	ls.stopRest()
	if ls.timer != nil {
		ls.timer.Stop()
	}
	ls.later = nil
	return err
}
