package wschannels

import (
	"cmp"
	"slices"
	"sync"
	"syscall"
)

// A queue holds what waits to be written on one channel, bounded in bytes, and runs
// the channel's only writer: a goroutine that lives while there is something to
// write. Order of frames is order of arrival. Control frames do not wait behind data.
type queue struct {
	limit int    // bytes that may wait
	run   func() // q.flush as a value, made once
	owner queueOwner

	// Whoever writes to the connection without waiting, and the connection to do it on;
	// nil: run does, on a goroutine.
	workers *workers
	raw     syscall.RawConn
	next    *queue // in the workers' line

	mu          sync.Mutex // guards what follows; held for moments only
	state       queueState
	single      bool // one frame a write call; set before the first
	running     bool // the writer is at work
	ended       bool // the writer will not come back
	slow        bool // a group send found no room: the channel is about to be closed
	hungry      bool // call refill when there is room
	ping        bool // a ping is to be sent
	bytes       int  // of the waiting frames
	head        int
	frames      []*frame      // frames[head:] wait
	pushed      uint64        // frames accepted so far: the number of the last one that waits
	flight      *batch        // in a write call
	flightFirst uint64        // number of the first of its frames
	pong        []byte        // a pong that is to be sent, as a frame
	farewell    *farewell     // the close frame that is to be sent
	idle        chan struct{} // if not nil: closed when ended, or not running
	waiting     []*sender     // sends that wait for room, first come first served
	flushes     []*flushing   // Flush calls that wait

	held, heldBytes          int // of groups that are being joined: queued, but not here
	sent, sentBytes, dropped uint64
}

// A queueOwner is what a queue's writer calls: its channel.
type queueOwner interface {
	transmit(*batch) (frames int, err error) // returns how many were wholly handed over
	writeFailed(error)                       // called once
	refill()                                 // there is room again, for who was hungry
}

type queueState uint8

const (
	queueOpen     queueState = iota
	queueDraining            // nothing comes in
	queueDead                // nothing goes out
)

// outcome says what a queue did with a frame of a group.
type outcome uint8

const (
	offered outcome = iota
	offeredFull
	offeredClosed // neither taken nor lost: the channel is no member any more
)

// offer queues f if it fits, and otherwise does what policy says. It never waits.
// evicted counts the older frames that were dropped for it. A writer that is to be woken
// is left to woken.
func (q *queue) offer(f *frame, policy SlowPolicy, woken *awakening) (out outcome, evicted int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state != queueOpen || q.slow {
		return offeredClosed, 0
	}
	if !q.hasRoom(f) && policy == SlowDropOldest && f.size() <= q.limit {
		for !q.hasRoom(f) {
			if m := q.pop().mail; m != nil {
				m.evicted()
			}
			evicted++
		}
		q.dropped += uint64(evicted)
		q.settle()
	}
	if !q.hasRoom(f) {
		if policy == SlowDisconnect {
			q.slow = true
		} else {
			q.dropped++
		}
		return offeredFull, 0
	}
	q.push(f)
	if q.workers == nil || q.running || q.ended {
		q.wake()
	} else {
		q.running = true
		woken.add(q)
	}
	if evicted > 0 {
		q.admit() // there may be room for more than f
	}
	return offered, evicted
}

// fits queues f and returns true if there is room for it now. If not, room is called
// when there is more, except for one that is held.
func (q *queue) fits(f *frame, held bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state != queueOpen || !q.hasRoom(f) {
		q.hungry = q.hungry || !held
		return false
	}
	q.unhold(f, held, false)
	q.push(f)
	q.wake()
	return true
}

// maxTiny is how many messages may wait in any queue, if there are bytes for them. A
// frame takes some 80 bytes beside its payload: a peer that makes the server answer with
// single bytes, and does not read, must not cost that much for each byte of the limit.
const maxTiny = 1 << 16

// most is how many messages may wait.
func (q *queue) most() int { return max(maxTiny, q.limit/16) }

// hasRoom reports whether f may wait. q.mu is held.
func (q *queue) hasRoom(f *frame) bool {
	return f.size() <= q.limit-q.bytes && q.length() < q.most()
}

// push appends f, for which there is room; the writer is the caller's to wake. q.mu is
// held.
func (q *queue) push(f *frame) {
	if len(q.frames) == cap(q.frames) {
		q.grow()
	}
	q.frames = append(q.frames, f)
	q.bytes += f.size()
	q.pushed++
}

// pop takes the first frame. q.mu is held.
func (q *queue) pop() *frame {
	f := q.frames[q.head]
	q.frames[q.head] = nil
	q.head++
	q.bytes -= f.size()
	q.tidy()
	return f
}

// move moves as many frames to b as a write call gets. q.mu is held.
func (q *queue) move(b *batch) {
	all, limit := q.frames[q.head:], cmp.Or(b.limit, maxBatch)
	n, bytes := 0, 0
	for _, f := range all {
		bytes += max(1, len(f.payload))
		if n > 0 && (q.single || bytes > limit) {
			break
		}
		n++
		q.bytes -= f.size()
		b.plain += int64(f.plain)
		b.mail = b.mail || f.mail != nil
	}
	b.frames = append(b.frames, all[:n]...)
	clear(all[:n])
	q.head += n
	q.tidy()
}

// listLen is the length of the lists that longer queues share. A channel that is
// neither idle nor far behind needs none, one that is idle keeps none.
const listLen = 256

var lists = sync.Pool{New: func() any { return new([listLen]*frame) }}

// grow makes room in q.frames, which is full, for one more. q.mu is held.
func (q *queue) grow() {
	switch n := len(q.frames); {
	case n == 0: // mostly, there is only one
	case n < 16:
		q.frames = slices.Grow(q.frames, 16-n)
	case n < listLen:
		list := lists.Get().(*[listLen]*frame)
		n = copy(list[:], q.frames[q.head:])
		q.frames, q.head = list[:n], 0
	}
}

// tidy keeps what is unused of q.frames small. q.mu is held.
func (q *queue) tidy() {
	switch {
	case q.head == len(q.frames):
		if cap(q.frames) == listLen {
			lists.Put((*[listLen]*frame)(q.frames[:listLen])) // all of it is nil
		}
		q.head = 0
		q.frames = q.frames[:0]
		if cap(q.frames) > 16 {
			q.frames = nil
		}
	case q.head >= 64 && q.head > len(q.frames)/2:
		n := copy(q.frames, q.frames[q.head:])
		clear(q.frames[n:])
		q.frames, q.head = q.frames[:n], 0
	}
}

func (q *queue) length() int { return len(q.frames) - q.head }

// refuse lets nothing in any more; what is queued stays.
func (q *queue) refuse() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state == queueOpen {
		q.state = queueDraining
	}
	for _, s := range q.waiting {
		q.unhold(s.f, s.held, true)
		close(s.done)
	}
	q.waiting = nil
}

// terminate ends the queue and returns the messages to users that were not
// written, in order; the rest of what was not written counts as dropped.
func (q *queue) terminate() []*mail {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state = queueDead
	var back []*mail
	var unwritten []*frame
	if q.flight != nil {
		unwritten = q.flight.frames
	}
	for _, f := range slices.Concat(unwritten, q.frames[q.head:]) {
		if f.mail != nil {
			back = append(back, f.mail)
		} else {
			q.dropped++
		}
	}
	q.dropped += uint64(q.held)
	q.held, q.heldBytes = 0, 0
	q.settle()
	for _, w := range q.flushes {
		w.failed = true
		close(w.done)
	}
	q.flight, q.frames, q.head, q.bytes, q.flushes = nil, nil, 0, 0, nil
	return back
}

// hold counts f, which a group that is being joined holds for the channel, and says
// whether it may: all of them together hold no more than the queue does. A replay that
// waits for room must not wait for what is held behind it, so the two do not share.
func (q *queue) hold(f *frame) outcome {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.state != queueOpen || q.slow:
		return offeredClosed
	case f.size() > q.limit-q.heldBytes || q.held >= q.most():
		return offeredFull
	}
	q.held++
	q.heldBytes += f.size()
	return offered
}

// letGo drops f, which was held.
func (q *queue) letGo(f *frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unhold(f, true, true)
}

// unhold ends the hold of f, if it is held. q.mu is held.
func (q *queue) unhold(f *frame, held, dropped bool) {
	if !held || q.state == queueDead { // terminate has accounted for all
		return
	}
	q.held--
	q.heldBytes -= f.size()
	if dropped {
		q.dropped++
	}
}

// markSlow makes the queue take no more offers, as the channel is about to be closed,
// and reports whether it did until now.
func (q *queue) markSlow() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.slow
	q.slow = true
	return !was
}

// drop counts a message that could not be offered.
func (q *queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped++
}

// counts returns what waits and what became of the rest.
func (q *queue) counts() (n counts) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return counts{
		queued: int64(q.length() + q.held), queuedBytes: int64(q.bytes + q.heldBytes),
		sent: q.sent, sentBytes: q.sentBytes, dropped: q.dropped,
	}
}

type counts struct {
	queued, queuedBytes      int64
	sent, sentBytes, dropped uint64
}

// unheld lets go of f, which was held and need not be sent.
func (q *queue) unheld(f *frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unhold(f, true, false)
}
