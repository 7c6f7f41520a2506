package wschannels

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
)

// A queueModel is what a queue is to do, in the plainest terms, beside a queue that is
// driven by hand: its writer is the test.
type queueModel struct {
	t   *testing.T
	q   *queue
	ctx context.Context // of all calls

	open    bool
	slow    bool
	failed  bool
	queued  []*frame
	flight  []*frame
	batch   *batch // of the write call under way, or nil
	senders []*queueCall
	flushes []*queueCall

	accepted, sent, dropped int
}

// A queueCall is a call that may wait.
type queueCall struct {
	f       *frame
	behind  []*frame // Flush: what it waits for
	cancel  context.CancelFunc
	result  error
	done    bool
	settled bool // result was checked
}

var (
	queueSizes  = []int{0, 1, 2, 5, 9, 10, 11, 100, 999, 1000, 1001, 30_000, 70_000}
	queueLimits = []int{1, 10, 1000, 100_000}
	queueZeros  = make([]byte, 100_000)
)

func newQueueModel(t *testing.T, limit int) *queueModel {
	q := &queue{limit: limit, run: func() {}, owner: noOwner{}}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return &queueModel{t: t, q: q, ctx: ctx, open: true}
}

type noOwner struct{}

func (noOwner) transmit(*batch) (int, error) { panic("the test writes") }
func (noOwner) writeFailed(error)            {}
func (noOwner) refill()                      {}

func (m *queueModel) bytes() (n int) {
	for _, f := range m.queued {
		n += f.size()
	}
	return n
}

func (m *queueModel) fits(f *frame) bool { return m.bytes()+f.size() <= m.q.limit }

func (m *queueModel) accept(f *frame) {
	m.queued = append(m.queued, f)
	m.accepted++
}

// admit lets senders in, the first first.
func (m *queueModel) admit() {
	for len(m.senders) > 0 && m.fits(m.senders[0].f) {
		s := m.senders[0]
		m.senders = m.senders[1:]
		m.accept(s.f)
		m.ends(s, nil)
	}
}

// ends checks that a call that waited has returned, with want.
func (m *queueModel) ends(c *queueCall, want error) {
	m.t.Helper()
	synctest.Wait()
	c.settled = true
	if !c.done || !errors.Is(c.result, want) {
		m.t.Fatalf("a call that waited: done %v, %v; want it done, %v", c.done, c.result, want)
	}
}

func (m *queueModel) call(c *queueCall, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(m.ctx)
	c.cancel = cancel
	go func() {
		c.result = f(ctx)
		c.done = true
	}()
	synctest.Wait()
}

// run does what each two bytes of program say.
func (m *queueModel) run(program []byte) {
	for len(program) >= 2 {
		op, arg := program[0]%8, int(program[1])
		program = program[2:]
		f := newFrame(websocket.MessageBinary, queueZeros[:queueSizes[arg%len(queueSizes)]])
		switch op {
		case 0, 1:
			m.send(f)
		case 2:
			m.offer(f, SlowPolicy(arg/64%3))
		case 3:
			m.take()
		case 4:
			m.written(nil, 0)
		case 5:
			if arg%4 == 0 {
				m.written(errors.New("broken pipe"), arg/4)
			} else if len(m.senders) > 0 {
				m.giveUp(arg % len(m.senders))
			}
		case 6:
			m.flush()
		case 7:
			if arg < 8 {
				m.refuse()
			} else if got, want := m.q.fits(f, false), m.open && m.fits(f); got != want {
				m.t.Fatalf("fits: %v, want %v", got, want)
			} else if got {
				m.accept(f)
			}
		}
		m.check()
	}
	m.end()
}

func (m *queueModel) send(f *frame) {
	c := &queueCall{f: f}
	m.call(c, func(ctx context.Context) error { return m.q.send(ctx, f, false) })
	switch {
	case f.size() > m.q.limit:
		m.ends(c, ErrTooLarge)
	case !m.open:
		m.ends(c, ErrClosed)
	case len(m.senders) == 0 && m.fits(f):
		m.accept(f)
		m.ends(c, nil)
	default:
		m.senders = append(m.senders, c)
	}
}

func (m *queueModel) offer(f *frame, policy SlowPolicy) {
	out, evicted := m.q.offer(f, policy, new(awakening))
	want, wantEvicted := offered, 0
	switch {
	case !m.open || m.slow:
		want = offeredClosed
	case m.fits(f):
		m.accept(f)
	case policy == SlowDropOldest && f.size() <= m.q.limit:
		for !m.fits(f) {
			m.queued = m.queued[1:]
			wantEvicted++
		}
		m.dropped += wantEvicted
		m.accept(f)
	default:
		want = offeredFull
		m.slow = policy == SlowDisconnect
		if !m.slow {
			m.accepted++ // for the count's sake: it was the queue's, to drop
			m.dropped++
		}
	}
	if out != want || evicted != wantEvicted {
		m.t.Fatalf("offer: %d, %d evicted; want %d, %d", out, evicted, want, wantEvicted)
	}
	if evicted > 0 {
		m.admit() // there may be room for more than f
	}
}

// take begins a write call.
func (m *queueModel) take() {
	if m.batch != nil || m.failed {
		return
	}
	b := new(batch)
	if got, want := m.q.take(b), len(m.queued) > 0; got != want {
		m.t.Fatalf("take: %v, want %v", got, want)
	} else if !got {
		return
	}
	n := 0
	for i, f := range m.queued {
		if n += f.size(); i > 0 && n > maxBatch {
			break
		}
		m.flight = append(m.flight, f)
	}
	m.queued = m.queued[len(m.flight):]
	if !slices.Equal(b.frames, m.flight) {
		m.t.Fatalf("take: %d frames, want the first %d in order", len(b.frames), len(m.flight))
	}
	m.batch = b
	m.admit()
}

// written ends it; after an error some of the frames were written.
func (m *queueModel) written(err error, some int) {
	if m.batch == nil {
		return
	}
	n := len(m.flight)
	if err != nil {
		n = some % (n + 1)
		m.failed = true
	}
	m.q.written(m.batch, n, err)
	m.sent += n
	m.flight = m.flight[n:]
	m.batch = nil
}

func (m *queueModel) giveUp(i int) {
	c := m.senders[i]
	m.senders = slices.Delete(m.senders, i, i+1)
	c.cancel()
	m.ends(c, context.Canceled)
	m.admit()
}

func (m *queueModel) flush() {
	c := &queueCall{behind: slices.Concat(m.flight, m.queued)}
	m.flushes = append(m.flushes, c)
	m.call(c, m.q.wait)
}

func (m *queueModel) refuse() {
	m.open = false
	m.q.refuse()
	for _, c := range m.senders {
		m.ends(c, ErrClosed)
	}
	m.senders = nil
}

// check compares all that can be seen.
func (m *queueModel) check() {
	m.t.Helper()
	synctest.Wait()
	n := m.q.counts()
	if n.queued != int64(len(m.queued)) || n.queuedBytes != int64(m.bytes()) || n.sent != uint64(m.sent) || n.dropped != uint64(m.dropped) {
		m.t.Fatalf("counts: %+v; want %d of %d bytes queued, %d sent, %d dropped", n, len(m.queued), m.bytes(), m.sent, m.dropped)
	}
	if m.bytes() > m.q.limit {
		m.t.Fatalf("%d bytes are queued, and the limit is %d", m.bytes(), m.q.limit)
	}
	if all := m.sent + m.dropped + len(m.queued) + len(m.flight); m.accepted != all {
		m.t.Fatalf("%d were accepted, and %d are accounted for", m.accepted, all)
	}
	for _, c := range m.senders {
		if c.done {
			m.t.Fatalf("a send returned %v out of turn", c.result)
		}
	}
	for _, c := range m.flushes {
		left := slices.Concat(m.flight, m.queued)
		due := !slices.ContainsFunc(c.behind, func(f *frame) bool { return slices.Contains(left, f) })
		if c.done != due || c.done && c.result != nil {
			m.t.Fatalf("Flush: done %v, %v; want done %v", c.done, c.result, due)
		}
	}
}

// end closes the queue: nothing is left, nobody waits.
func (m *queueModel) end() {
	m.refuse()
	m.q.terminate()
	synctest.Wait()
	m.dropped += len(m.flight) + len(m.queued)
	if n := m.q.counts(); n.queued != 0 || n.queuedBytes != 0 || int(n.sent+n.dropped) != m.accepted || int(n.dropped) != m.dropped {
		m.t.Fatalf("at the end: %+v; want %d sent and %d dropped of %d", n, m.sent, m.dropped, m.accepted)
	}
	for _, c := range m.flushes {
		if !c.done {
			m.t.Fatal("a Flush waits after the end")
		}
	}
}

func TestQueueBehavesAsItsModel(t *testing.T) {
	for seed := range uint64(120) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			program := make([]byte, 400)
			for i := range program {
				program[i] = byte(rnd.UintN(256))
			}
			for i := 0; i < len(program); i += 2 { // the two that end it all come late
				if late := i > 300; program[i]%8 >= 5 && !late && (program[i+1]%4 == 0 || program[i+1] < 8) {
					program[i] = 3
				}
			}
			newQueueModel(t, queueLimits[seed%4]).run(program)
		})
	}
}

func TestQueueBoundsAreExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frame := func(n int) *frame { return newFrame(websocket.MessageBinary, queueZeros[:n]) }
		m := newQueueModel(t, 100)
		for _, n := range []int{60, 39, 0} { // an empty one counts 1
			m.send(frame(n))
		}
		m.check()
		if out, _ := m.q.offer(frame(0), SlowDropNewest, new(awakening)); out != offeredFull {
			t.Errorf("a queue of 100 of 100 bytes took one more: %d", out)
		}
		m.accepted, m.dropped = m.accepted+1, m.dropped+1
		m.take() // what is being written does not count
		m.send(frame(100))
		m.check()
		m.end()
	})
}

// An idle queue keeps no memory of a burst.
func TestQueueForgetsABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newQueueModel(t, 100_000)
		for range 1000 {
			m.offer(newFrame(websocket.MessageBinary, queueZeros[:1]), SlowDropNewest)
		}
		for m.take(); m.batch != nil; m.take() {
			m.written(nil, 0)
		}
		if n := cap(m.q.frames); n > 64 {
			t.Errorf("an empty queue holds room for %d frames", n)
		}
		m.end()
	})
}

// A channel that is about to be closed for a message that it missed gets nothing that
// came after that one, not from the groups that it is joining either.
func TestQueueHoldsNothingForASlowChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, end := range []func(*queue){
			func(q *queue) { q.markSlow() },
			func(q *queue) {
				q.offer(newFrame(websocket.MessageBinary, queueZeros[:101]), SlowDisconnect, new(awakening))
			},
			(*queue).refuse,
		} {
			q := &queue{limit: 100}
			if out := q.hold(newFrame(websocket.MessageBinary, queueZeros[:1])); out != offered {
				t.Fatalf("hold: %v, want it to be held", out)
			}
			end(q)
			if out := q.hold(newFrame(websocket.MessageBinary, queueZeros[:1])); out != offeredClosed || q.held != 1 {
				t.Errorf("hold: %v, and %d are held; want it to be refused", out, q.held)
			}
		}
	})
}
