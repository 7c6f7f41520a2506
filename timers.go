package wschannels

import (
	"container/heap"
	"sync"
	"time"
)

// timers wakes the channels of a box when something may be due on them: one heap
// and one time.Timer, whatever their number, and no goroutine between wake-ups.
type timers struct {
	mu    sync.Mutex // guards what follows; not held while waking
	heap  alarmHeap
	timer *time.Timer
	armed time.Time // when timer fires; zero: it does not
	ended bool      // nothing is set any more
}

// An alarm is one thing that timers wakes.
type alarm struct {
	when  time.Time
	index int  // in the heap, plus 1; 0: not in it
	dead  bool // it is never set again
	waker
}

// A waker does what is due and returns when to be woken next; zero: never.
type waker interface {
	wake(now time.Time) (next time.Time)
}

// set wakes a at when, or earlier if it was to be woken earlier.
func (t *timers) set(a *alarm, when time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended || a.dead || when.IsZero():
		return
	case a.index == 0:
		a.when = when
		heap.Push(&t.heap, a)
	case when.Before(a.when):
		a.when = when
		heap.Fix(&t.heap, a.index-1)
	}
	t.arm()
}

// stop ends a: it is not woken any more, though a wake may be under way.
func (t *timers) stop(a *alarm) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.dead = true
	if a.index > 0 {
		heap.Remove(&t.heap, a.index-1)
	}
	t.arm()
}

// close drops all alarms, also those to come.
func (t *timers) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.heap {
		a.index = 0
	}
	t.heap, t.ended = nil, true
	t.arm()
}

// arm sets the timer for the first alarm. t.mu is held.
func (t *timers) arm() {
	if len(t.heap) == 0 {
		if t.timer != nil {
			t.timer.Stop()
		}
		t.armed = time.Time{}
		return
	}
	first := t.heap[0].when
	if first.Equal(t.armed) {
		return
	}
	t.armed = first
	if t.timer == nil {
		t.timer = time.AfterFunc(time.Until(first), t.fire)
	} else {
		t.timer.Reset(time.Until(first))
	}
}

// fire wakes what is due. The runtime calls it on a goroutine of its own.
func (t *timers) fire() {
	for {
		now := time.Now()
		t.mu.Lock()
		if len(t.heap) == 0 || t.heap[0].when.After(now) {
			t.armed = time.Time{}
			t.arm()
			t.mu.Unlock()
			return
		}
		a := heap.Pop(&t.heap).(*alarm)
		t.mu.Unlock()

		t.set(a, a.wake(now))
	}
}

type alarmHeap []*alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].when.Before(h[j].when) }
func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}
func (h *alarmHeap) Push(x any) {
	a := x.(*alarm)
	*h = append(*h, a)
	a.index = len(*h)
}
func (h *alarmHeap) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	a.index = 0
	return a
}
