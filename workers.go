package wschannels

import (
	"runtime"
	"sync"
	"syscall"
)

// workers write for those channels of a box whose connections can be written to
// without waiting: as many goroutines as there are CPUs, alive only while some queue
// is not empty. A connection that has no room is left to a goroutine of its own.
type workers struct {
	max int

	mu          sync.Mutex // guards what follows; taken under a queue's mu, with nothing under it
	first, last *queue     // those that have something to write, linked by next
	running     int
}

func newWorkers() *workers { return &workers{max: runtime.GOMAXPROCS(0)} }

// add puts q, which has something to write and no writer, at the end of the line.
func (w *workers) add(q *queue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.append(q)
	if w.running < w.max {
		w.running++
		go w.run() // ends when nothing is left in the line
	}
}

func (w *workers) append(q *queue) {
	if w.last == nil {
		w.first = q
	} else {
		w.last.next = q
	}
	w.last = q
}

// next returns the queue whose turn it is, nil if the worker is no longer needed.
// unfinished, if not nil, goes to the end of the line.
func (w *workers) next(unfinished *queue) *queue {
	w.mu.Lock()
	defer w.mu.Unlock()
	if unfinished != nil {
		w.append(unfinished)
	}
	q := w.first
	if q == nil {
		w.running--
		return nil
	}
	if w.first = q.next; w.first == nil {
		w.last = nil
	}
	q.next = nil
	return q
}

func (w *workers) run() {
	t := trials.Get().(*trial)
	t.batch = workerBatch()
	for q, turn := w.next(nil), 1; q != nil; turn++ {
		if t.serve(q) {
			q = w.next(q)
		} else {
			q = w.next(nil)
		}
		if turn%8 == 0 {
			runtime.Gosched() // whoever sends goes first: more is written at a time then
		}
	}
	t.batch.free()
	t.batch = nil
	trials.Put(t)
}

// A trial writes what a connection has room for.
type trial struct {
	batch *batch

	conn syscall.RawConn
	p    []byte
	n    int
	err  error
	once func(fd uintptr) bool // write as a value, made once
}

var trials = sync.Pool{New: func() any {
	t := new(trial)
	t.once = t.write
	return t
}}

// serve writes one batch of q, and reports whether q has more.
func (t *trial) serve(q *queue) (more bool) {
	b := t.batch
	if !q.take(b) {
		return false
	}
	if !b.long() {
		n, err := t.try(q.raw, b.layOut())
		if b.sent = n; err != nil || n == len(b.wire) {
			return q.written(b, b.whole(n), err)
		}
	}
	go q.resume(b) // ends when q is empty
	t.batch = workerBatch()
	return false
}

func workerBatch() *batch {
	b := batches.Get().(*batch)
	b.limit = maxWorkerBatch
	return b
}

// try writes as much of p as there is room for.
func (t *trial) try(conn syscall.RawConn, p []byte) (int, error) {
	t.p, t.n, t.err = p, 0, nil
	err := conn.Write(t.once)
	t.p = nil
	if err == nil {
		err = t.err
	}
	return t.n, err
}
