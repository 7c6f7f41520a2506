package wschannels

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A calmWriter delivers messages as a stream does, at times of the test's choice.
type calmWriter struct {
	t    *testing.T
	now  time.Time
	sent []byte
}

// deliver offers one message to the queues, and reports whether it had to write itself.
func (c *calmWriter) deliver(size int, queues ...*queue) (wrote bool) {
	f := newFrame(websocket.MessageBinary, []byte(strings.Repeat(string(rune('a'+len(c.sent)%26)), size)))
	c.sent = f.appendTo(c.sent)
	var a awakening
	for _, q := range queues {
		if out, _ := q.offer(f, SlowDisconnect, &a); out != offered {
			c.t.Fatalf("the queue: %v", out)
		}
	}
	if wrote = a.calm(c.now); wrote {
		a.write()
	} else {
		a.done()
	}
	return wrote
}

// read expects what was delivered so far.
func (c *calmWriter) read(peer io.Reader) {
	c.t.Helper()
	got := make([]byte, len(c.sent))
	if n, err := io.ReadFull(peer, got); err != nil || string(got) != string(c.sent) {
		c.t.Errorf("%d bytes of %d came, %v", n, len(c.sent), err)
	}
}

// One message after a pause is written when it has been delivered. What comes at its heels is
// for a worker, which may write it together with more.
func TestAfterAPauseWhoDeliversWrites(t *testing.T) {
	w := newWorkers()
	q, _, peer := workersQueue(t, w, 1<<20)
	c := &calmWriter{t: t, now: time.Now()}
	for i, tt := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {2 * pause, true}, {pause / 2, false}, {pause / 2, false}, {pause, false}, {pause + 1, true}} {
		c.now = c.now.Add(tt.after)
		if got := c.deliver(100, q); got != tt.want {
			t.Errorf("message %d: it is written by who delivers: %v", i, got)
		}
		if n := q.counts(); tt.want && n.sent != uint64(i+1) {
			t.Errorf("message %d: %d are written", i, n.sent)
		}
		if err := q.wait(inTime(t)); err != nil {
			t.Error(err)
		}
		w.none(t)
	}
	c.read(peer)
}

// With several members, or while a worker is at work, nobody else writes.
func TestWorkersWriteWhatIsForMany(t *testing.T) {
	w := newWorkers()
	q1, _, peer1 := workersQueue(t, w, 1<<20)
	q2, _, peer2 := workersQueue(t, w, 1<<20)
	c := &calmWriter{t: t, now: time.Now()}
	if c.deliver(100, q1, q2) {
		t.Error("one writes for two")
	}
	c.read(peer1)
	c.read(peer2)
	w.none(t)
	w.running++ // one is at work
	c.now = c.now.Add(time.Hour)
	if c.deliver(100, q1) {
		t.Error("nobody helps a worker")
	}
	go w.run()
	_ = q1.wait(inTime(t))
	w.none(t)
}

// Where the connection has no room, who delivers does not wait; all goes out in order.
func TestWhoDeliversDoesNotWaitForAPeer(t *testing.T) {
	for _, size := range []int{1, 10_000, maxBatch + 1} {
		w := newWorkers()
		q, _, peer := workersQueue(t, w, 64<<20)
		c := &calmWriter{t: t, now: time.Now()}
		for range 100 {
			c.now = c.now.Add(2 * pause)
			c.deliver(size, q) // the peer does not read
		}
		c.read(peer)
		if err := q.wait(inTime(t)); err != nil {
			t.Error(err)
		}
		w.none(t)
		if n := q.counts(); n.sent != 100 || n.queued != 0 {
			t.Errorf("%d bytes: %+v", size, n)
		}
	}
}
