package wschannels

import (
	"context"
	"slices"
)

// Who waits for a queue: for room in it, or until it has been written.

// A sender waits for room for a frame.
type sender struct {
	f    *frame        // nil: it waits until the queue is roomy
	held bool          // f counts as held until then
	done chan struct{} // closed when f was queued, or the queue was closed
	ok   bool
}

// A flushing waits until what was queued before it has been written.
type flushing struct {
	upTo   uint64
	done   chan struct{}
	failed bool
}

// send queues f, and waits for room until ctx ends. held says that f was held, which
// it is not any more, whatever comes of it: what is not queued then is dropped.
func (q *queue) send(ctx context.Context, f *frame, held bool) error {
	s, err := q.try(f, held)
	if s == nil {
		return err
	}
	return q.await(ctx, s)
}

// try is send without the wait: s, if not nil, is to be awaited.
func (q *queue) try(f *frame, held bool) (s *sender, err error) {
	if f.size() > q.limit {
		return nil, ErrTooLarge
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state != queueOpen {
		q.unhold(f, held, true)
		return nil, ErrClosed
	}
	if len(q.waiting) == 0 && q.hasRoom(f) {
		q.unhold(f, held, false)
		q.push(f)
		q.wake()
		return nil, nil
	}
	return q.line(f, held), nil
}

// isRoomy reports whether a quarter of the queue is free, or it takes nothing any more.
func (q *queue) isRoomy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.roomy()
}

// roomy is isRoomy. q.mu is held.
func (q *queue) roomy() bool {
	return q.state != queueOpen || q.bytes <= q.limit-q.limit/4 && q.length() <= q.most()-q.most()/4
}

// awaitRoom waits until the queue is roomy.
func (q *queue) awaitRoom(ctx context.Context) error {
	q.mu.Lock()
	if q.roomy() {
		q.mu.Unlock()
		return nil
	}
	s := q.line(nil, false)
	q.mu.Unlock()
	return q.await(ctx, s)
}

// line makes a sender wait. q.mu is held.
func (q *queue) line(f *frame, held bool) *sender {
	s := &sender{f: f, held: held, done: make(chan struct{})}
	q.waiting = append(q.waiting, s)
	return s
}

// await waits for the turn of s, until ctx ends.
func (q *queue) await(ctx context.Context, s *sender) error {
	select {
	case <-s.done:
	case <-ctx.Done():
		if q.giveUp(s) {
			return context.Cause(ctx)
		}
	}
	if !s.ok {
		return ErrClosed
	}
	return nil
}

// giveUp ends the wait of s, and returns false if it has ended already.
func (q *queue) giveUp(s *sender) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, s)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.unhold(s.f, s.held, true)
	q.admit() // a smaller one may have waited behind it
	return true
}

// admit queues the sends that waited, as far as there is room. q.mu is held.
func (q *queue) admit() {
	for len(q.waiting) > 0 {
		s := q.waiting[0]
		if s.f == nil && !q.roomy() || s.f != nil && !q.hasRoom(s.f) {
			break
		}
		q.waiting = q.waiting[1:]
		if s.f != nil {
			q.unhold(s.f, s.held, false)
			q.push(s.f)
			q.wake()
		}
		s.ok = true
		close(s.done)
	}
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
}

// settle ends the Flush calls that have nothing left to wait for. q.mu is held.
func (q *queue) settle() {
	if len(q.flushes) == 0 {
		return
	}
	oldest := q.pushed - uint64(q.length()) + 1 // the first frame that still waits
	if q.flight != nil {
		oldest = q.flightFirst
	}
	q.flushes = slices.DeleteFunc(q.flushes, func(w *flushing) bool {
		if w.upTo >= oldest {
			return false
		}
		close(w.done)
		return true
	})
}

// wait returns once what was queued before has been written or dropped, or ctx ends.
func (q *queue) wait(ctx context.Context) error {
	q.mu.Lock()
	if q.state == queueDead {
		q.mu.Unlock()
		return ErrClosed
	}
	w := &flushing{upTo: q.pushed, done: make(chan struct{})}
	q.flushes = append(q.flushes, w)
	q.settle()
	q.mu.Unlock()
	select {
	case <-w.done:
		if w.failed {
			return ErrClosed
		}
		return nil
	case <-ctx.Done():
		q.mu.Lock()
		i := slices.Index(q.flushes, w)
		done := i < 0 && !w.failed // that, too
		if i >= 0 {
			q.flushes = slices.Delete(q.flushes, i, i+1)
		}
		q.mu.Unlock()
		if done {
			return nil
		}
		return context.Cause(ctx)
	}
}
