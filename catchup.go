package wschannels

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// How streams catch up.
const (
	catchupWorkers = 16 // at a time
	catchupSoon    = 50 * time.Millisecond
	catchupLate    = 2 * time.Second // between tries while the engine is away
)

// A catchup asks the history for what streams have missed, and subscribes those that
// could not: a few at a time, those with held messages first. What fails as the engine is
// away is tried again, a few every now and then, until something works.
type catchup struct {
	rooms *roomTable
	ctx   context.Context // ends with the box
	stop  context.CancelFunc

	mu      sync.Mutex // guards what follows; taken around no other lock
	urgent  list.List  // of *stream
	calm    list.List
	later   map[*stream]struct{}
	workers int
	again   *time.Timer // if later is not empty
	wait    time.Duration
	closed  bool
}

// An errand is a stream's place in the catchup.
type errand struct {
	in    *list.List // if waiting
	place *list.Element
	state errandState
	again bool // if running: once more,
	now   bool // even if it fails
}

type errandState uint8

const (
	errandNone errandState = iota
	errandWaiting
	errandRunning
	errandLater
)

func newCatchup(rs *roomTable) *catchup {
	c := &catchup{rooms: rs, later: make(map[*stream]struct{})}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// add has s looked after.
func (c *catchup) add(s *stream, urgent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(s, urgent)
}

// addNew is add for a stream that may have been tried in vain: then it waits for its turn.
func (c *catchup) addNew(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.errand.state != errandLater {
		c.put(s, false)
	}
}

// put is add. c.mu is held.
func (c *catchup) put(s *stream, urgent bool) {
	e := &s.errand
	switch {
	case c.closed:
		return
	case e.state == errandRunning:
		e.again, e.now = true, e.now || urgent
		return
	case e.state == errandLater:
		delete(c.later, s)
	case e.state == errandWaiting && (!urgent || e.in == &c.urgent):
		return
	case e.state == errandWaiting:
		e.in.Remove(e.place)
	}
	to := &c.calm
	if urgent {
		to = &c.urgent
	}
	c.queue(s, to)
	c.staff()
}

// queue puts s in line. c.mu is held.
func (c *catchup) queue(s *stream, to *list.List) {
	s.errand = errand{state: errandWaiting, in: to, place: to.PushBack(s)}
}

// staff starts as many workers as there is work for. c.mu is held.
func (c *catchup) staff() {
	for n := c.urgent.Len() + c.calm.Len(); n > 0 && c.workers < catchupWorkers; n-- {
		c.workers++
		c.rooms.calls.begin()
		go c.work()
	}
}

// drop forgets s.
func (c *catchup) drop(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	switch e := &s.errand; e.state {
	case errandWaiting:
		e.in.Remove(e.place)
		*e = errand{}
	case errandLater:
		delete(c.later, s)
		*e = errand{}
	case errandRunning:
		e.again, e.now = false, false
	}
}

// close ends everything.
func (c *catchup) close() {
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.urgent.Init()
	c.calm.Init()
	clear(c.later)
	if c.again != nil {
		c.again.Stop()
	}
}

func (c *catchup) work() {
	defer c.rooms.calls.end()
	for s := c.next(); s != nil; s = c.next() {
		c.done(s, c.rooms.catchUp(c.ctx, s))
	}
}

// next returns the next stream to look after, nil if there is none.
func (c *catchup) next() *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := &c.urgent
	if from.Len() == 0 {
		from = &c.calm
	}
	if from.Len() == 0 {
		c.workers--
		return nil
	}
	s := from.Remove(from.Front()).(*stream)
	s.errand = errand{state: errandRunning}
	return s
}

// done sorts s by what came of it.
func (c *catchup) done(s *stream, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	again := s.errand.again && (err == nil || s.errand.now)
	s.errand = errand{}
	switch {
	case c.closed:
	case again:
		c.queue(s, &c.urgent)
	case err != nil:
		s.errand.state = errandLater
		c.later[s] = struct{}{}
		if c.again == nil {
			c.wait = min(catchupLate, max(catchupSoon, 2*c.wait))
			c.again = time.AfterFunc(c.wait, c.retry)
		}
	default: // it works again
		c.wait = 0
		c.resume(len(c.later))
	}
}

// retry tries a few again.
func (c *catchup) retry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.again = nil
	if !c.closed {
		c.resume(catchupWorkers)
	}
}

// resume puts up to n of those that are to be tried later in line. c.mu is held.
func (c *catchup) resume(n int) {
	for s := range c.later {
		if n == 0 {
			break
		}
		n--
		delete(c.later, s)
		c.queue(s, &c.calm)
	}
	c.staff()
}

// catchUp looks after s once. An error says that it is to be tried again.
func (rs *roomTable) catchUp(ctx context.Context, s *stream) error {
	if err := rs.resubscribe(ctx, s.room); err != nil {
		return err
	}
	wait := catchupSoon
	for {
		err := s.fill(ctx)
		if err != errTryAgain {
			return err
		}
		select {
		case <-time.After(wait):
			wait = min(time.Second, 2*wait)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
