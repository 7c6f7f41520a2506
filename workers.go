package wschannels

import (
	"runtime"
	"sync"
	"syscall"
	"time"
)

// workers write for those channels of a box whose connections can be written to
// without waiting: a goroutine for every second CPU, for every one while the writes are
// long, alive only while some queue is not empty. More would only be in each other's
// way, and in that of who sends and reads. A connection that has no room is left to a
// goroutine of its own.
type workers struct {
	few, most int

	mu          sync.Mutex // guards what follows; taken under a queue's mu, with nothing under it
	first, last *queue     // those that have something to write, linked by next
	running     int
	added       int       // queues so far
	came        time.Time // the last message for a group
}

func newWorkers() *workers {
	n := runtime.GOMAXPROCS(0)
	return &workers{few: (n + 1) / 2, most: n}
}

// add puts q, which has something to write and no writer, at the end of the line.
func (w *workers) add(q *queue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.append(q, q)
	w.added++
	w.start(w.few)
}

// An awakening collects queues that have something to write and no writer yet, so that
// the workers' lock, which workers take all the time, is taken for many at once. The
// zero value is ready.
type awakening struct {
	workers     *workers
	first, last *queue
	n           int32

	keep bool // who delivers may write; then write is to be called
}

// add adds q, whose mu is held.
func (a *awakening) add(q *queue) {
	if a.n == 64 || a.n > 0 && a.workers != q.workers {
		a.done() // the workers need not wait for all
	}
	if a.n == 0 {
		a.workers, a.first = q.workers, q
	} else {
		a.last.next = q
	}
	a.last = q
	a.n++
}

// done hands over to the workers. It must be called, soon.
func (a *awakening) done() {
	if a.n == 0 {
		return
	}
	w := a.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	w.append(a.first, a.last)
	w.added += int(a.n)
	for range min(int(a.n), w.few) {
		w.start(w.few)
	}
	*a = awakening{}
}

// pause is how long no message must have come for the next to be written by who delivers it.
const pause = time.Millisecond

// calm reports whether a is a single queue, and nothing else has happened for a while. Waking
// a worker would then take longer than the write does. Where more may follow, workers are
// better: they write what comes meanwhile in one call.
func (a *awakening) calm(now time.Time) bool {
	if a.n == 0 {
		return false
	}
	w := a.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	calm := a.n == 1 && w.running == 0 && now.Sub(w.came) > pause
	w.came = now
	return calm
}

// write writes to the queue that is left, if there is one. It waits for nothing; the caller
// holds no lock.
func (a *awakening) write() {
	if a.n == 0 {
		return
	}
	w := a.workers
	t := trials.Get().(*trial)
	t.batch = workerBatch()
	if t.serve(a.first, w) {
		a.done()
	}
	t.end()
}

// start starts one more worker if there are fewer than limit. w.mu is held.
func (w *workers) start(limit int) {
	if w.running < limit {
		w.running++
		go w.run() // ends when nothing is left in the line
	}
}

// help is called before a write that takes its time.
func (w *workers) help() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first != nil {
		w.start(w.most)
	}
}

// append puts first to last, which are linked, at the end of the line. w.mu is held.
func (w *workers) append(first, last *queue) {
	if w.last == nil {
		w.first = first
	} else {
		w.last.next = first
	}
	w.last = last
}

// next returns the queue whose turn it is, nil if the worker, which t is of, is no longer
// needed. unfinished, if not nil, goes to the end of the line.
func (w *workers) next(t *trial, unfinished *queue) *queue {
	w.mu.Lock()
	defer w.mu.Unlock()
	if unfinished != nil {
		w.append(unfinished, unfinished)
	}
	q := w.first
	if q == nil || w.running > w.few && !t.long {
		w.running--
		return nil
	}
	if w.first = q.next; w.first == nil {
		w.last = nil
	}
	q.next = nil
	if t.added != w.added {
		t.added, t.sending = w.added, true
	}
	return q
}

func (w *workers) run() {
	t := trials.Get().(*trial)
	t.batch = workerBatch()
	t.long = true // or it might not be needed before it has begun
	for q, turn := w.next(t, nil), 1; q != nil; turn++ {
		if !t.serve(q, w) {
			q = nil
		}
		if turn%8 == 0 && t.sending {
			t.sending = false
			runtime.Gosched() // whoever sends goes first: more is written at a time then
		}
		q = w.next(t, q)
	}
	t.end()
}

// A trial writes what a connection has room for.
type trial struct {
	batch *batch
	long  bool // what was written last

	added   int  // workers.added when it looked last
	sending bool // somebody has been sending meanwhile

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

// end gives t back.
func (t *trial) end() {
	t.batch.free()
	t.batch = nil
	trials.Put(t)
}

// serve writes one batch of q, and reports whether q has more.
func (t *trial) serve(q *queue, w *workers) (more bool) {
	b := t.batch
	if !q.take(b) {
		return false
	}
	if !b.long() {
		p := b.layOut()
		if t.long = len(p) >= maxBatch; t.long {
			w.help()
		}
		n, err := t.try(q.raw, p)
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
