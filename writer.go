package wschannels

import "slices"

// wake starts the writer if it is not at work. q.mu is held.
func (q *queue) wake() {
	if q.running || q.ended {
		return
	}
	q.running = true
	if q.workers != nil {
		q.workers.add(q)
	} else {
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

// flush is the writer, as a goroutine.
func (q *queue) flush() { q.resume(batches.Get().(*batch)) }

// resume is flush, with a batch that may have been begun by a worker.
func (q *queue) resume(b *batch) {
	for !b.empty() || q.take(b) {
		n, err := q.owner.transmit(b)
		if !q.written(b, n, err) {
			break
		}
		if b.limit > maxBatch { // a worker's: not for one who may wait for long
			b.free()
			b = batches.Get().(*batch)
		}
	}
	b.free()
}

// take moves what is written next into b, which is empty. With nothing to write it
// returns false, and the writer is no more.
func (q *queue) take(b *batch) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.ping, b.pong = q.ping, q.pong
	q.ping, q.pong = false, nil
	if fw := q.farewell; fw == nil || fw.last {
		q.flightFirst = q.pushed - uint64(q.length()) + 1
		q.move(b)
		if len(b.frames) > 0 {
			q.flight = b
		}
	}
	if q.farewell != nil && (!q.farewell.last || q.length() == 0) {
		b.farewell = q.farewell
	}
	if q.state == queueDead || b.empty() {
		b.reset()
		q.stop()
		return false
	}
	q.admit()
	return true
}

// written accounts for a write call that handed over the first n frames of b, empties
// b, and reports whether there is more to write: if not, the writer is no more.
func (q *queue) written(b *batch, n int, err error) (more bool) {
	n, more, room := q.account(b, n, err)
	if b.mail {
		for _, f := range b.frames[:n] {
			if f.mail != nil {
				f.mail.arrived()
			}
		}
	}
	b.reset()
	if room {
		q.owner.refill()
	}
	if err != nil {
		q.owner.writeFailed(err)
	}
	return more
}

func (q *queue) account(b *batch, n int, err error) (counted int, more, room bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state == queueDead { // all of b was accounted for by terminate
		q.stop()
		return 0, false, false
	}
	q.sent += uint64(n)
	for _, f := range b.frames[n:] {
		b.plain -= int64(f.plain)
	}
	q.sentBytes += uint64(b.plain)
	q.flight = nil
	if err != nil && n < len(b.frames) {
		q.flight = &batch{frames: slices.Clone(b.frames[n:])}
		q.flightFirst += uint64(n)
	}
	q.settle()
	q.ended = err != nil || b.farewell != nil
	more = !q.ended && (q.length() > 0 || q.ping || q.pong != nil || q.farewell != nil)
	if !more {
		q.stop()
	}
	room, q.hungry = q.hungry && !q.ended && q.state == queueOpen, false
	return n, more, room
}

// stop marks the end of the writer, for now or for good. q.mu is held.
func (q *queue) stop() {
	q.running = false
	if q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
}
