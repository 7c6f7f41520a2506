package wschannels

import (
	"slices"
	"sync"

	"github.com/coder/websocket"
)

// maxBatch is how much is handed to the connection in one call, unless a single
// message is longer.
const maxBatch = 64 << 10

// A batch is what one write call gets.
type batch struct {
	frames   []*frame
	ping     bool
	pong     []byte // a frame
	farewell *farewell
}

// A farewell is a close frame: as code and reason, and ready for the wire.
type farewell struct {
	code   websocket.StatusCode
	reason string
	wire   []byte
	last   bool // after what is queued, instead of at once
}

// wake starts the writer if it is not at work. q.mu is held.
func (q *queue) wake() {
	if !q.running && !q.ended {
		q.running = true
		go q.run() // ends when there is nothing left to write
	}
}

// control asks for a ping or a pong ahead of all data. Of several pongs only the
// latest is sent, as RFC 6455 section 5.5.3 allows: a peer that floods without
// reading costs no memory.
func (q *queue) control(ping bool, pong []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state == queueDead || q.ended {
		return
	}
	q.ping = q.ping || ping
	if pong != nil {
		q.pong = pong
	}
	q.wake()
}

// finish sends fw, the first one only: after what is queued if fw.last, else as
// soon as the current write is done. Nothing is written after it.
func (q *queue) finish(fw *farewell) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state == queueDead || q.farewell != nil {
		return
	}
	q.farewell = fw
	q.wake()
}

// quiet returns a channel that is closed once the writer has stopped.
func (q *queue) quiet() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	idle := q.idle
	if idle == nil {
		idle = make(chan struct{})
		if q.running {
			q.idle = idle
		} else {
			close(idle)
		}
	}
	return idle
}

// flush is the writer.
func (q *queue) flush() {
	b := batches.Get().(*batch)
	for q.take(b) {
		n, err := q.write(b)
		n, more, room := q.written(b, n, err)
		for _, f := range b.frames[:n] {
			if f.mail != nil {
				f.mail.arrived()
			}
		}
		if room {
			q.room()
		}
		if err != nil {
			q.fail(err)
		}
		if !more {
			break
		}
	}
	b.reset()
	batches.Put(b)
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) reset() {
	clear(b.frames)
	*b = batch{frames: b.frames[:0]}
}

// take moves what is written next into b. With nothing to write it returns false,
// and the writer is no more.
func (q *queue) take(b *batch) bool {
	b.reset()
	q.mu.Lock()
	defer q.mu.Unlock()
	b.ping, b.pong = q.ping, q.pong
	q.ping, q.pong = false, nil
	if fw := q.farewell; fw == nil || fw.last {
		q.flightFirst = q.pushed - uint64(q.length()) + 1
		for n := 0; q.length() > 0; {
			n += q.frames[q.head].size()
			if len(b.frames) > 0 && (q.single || n > maxBatch) {
				break
			}
			b.frames = append(b.frames, q.pop())
		}
		q.flight = b.frames
	}
	if q.farewell != nil && (!q.farewell.last || q.length() == 0) {
		b.farewell = q.farewell
	}
	if q.state == queueDead || len(b.frames) == 0 && !b.ping && b.pong == nil && b.farewell == nil {
		q.stop()
		return false
	}
	q.admit()
	return true
}

// written accounts for a write call that handed over the first n frames of b. It
// returns how many it counted, and what the writer does next.
func (q *queue) written(b *batch, n int, err error) (counted int, more, room bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state == queueDead { // all of b was accounted for by terminate
		q.stop()
		return 0, false, false
	}
	q.sent += uint64(n)
	for _, f := range b.frames[:n] {
		q.sentBytes += uint64(len(f.payload))
	}
	q.flight = nil
	if err != nil {
		q.flight = slices.Clone(b.frames[n:])
		q.flightFirst += uint64(n)
	}
	q.settle()
	if err != nil || b.farewell != nil {
		q.ended = true
		q.stop()
		return n, false, false
	}
	room, q.hungry = q.hungry && q.state == queueOpen, false
	return n, true, room
}

// stop marks the end of the writer, for now or for good. q.mu is held.
func (q *queue) stop() {
	q.running = false
	if q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}
