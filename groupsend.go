package wschannels

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// send sends payload to the group called name.
func (rs *roomTable) send(ctx context.Context, name string, payload any, opts *SendOptions) (SendResult, error) {
	switch {
	case !validName(name):
		return SendResult{}, ErrInvalidGroup
	case ctx.Err() != nil:
		return SendResult{}, context.Cause(ctx)
	}
	t, data, err := canonical(rs.codec, payload)
	if err != nil {
		return SendResult{}, counted(err, &rs.counters.panics)
	}
	w := &sending{p: Publication{Message: newMessage(name, t, data, rs.codec)}}
	p, f := &w.p, &w.fanout
	if opts != nil {
		p.Save, p.Except = opts.SaveHistory, opts.Except
	}
	f.rooms = rs
	r := rs.get(name)
	if r != nil {
		to := r.present(newExcept(p.Except))
		if f.forms, err = prepare(rs.codec, payload, p.Message, &to, rs.deflateFrom); err != nil {
			return SendResult{}, counted(err, &rs.counters.panics)
		}
	}
	defer f.closeSlow() // also if it fails after it delivered
	f.result.ID = p.ID
	if rs.engine.local() {
		p.local = f
		err = rs.engine.publish(ctx, p)
		f.result.Seq, f.result.Saved = p.Seq, p.Saved
	} else {
		err = rs.sendOver(ctx, r, w)
	}
	if err != nil {
		rs.countRefusal(err)
		return SendResult{}, err
	}
	return f.result, nil
}

// sendOver publishes w, and has it delivered to r's members, if there are any, so that it
// has its counts. Both together take no longer than the configured time.
func (rs *roomTable) sendOver(ctx context.Context, r *room, w *sending) error {
	p, f := &w.p, &w.fanout
	p.Except = slices.Clone(p.Except) // the broker may keep it
	if r != nil {
		r.stream.expect(w)
	}
	bounded, cancel := rs.engine.boundedSend(ctx)
	defer cancel()
	err := rs.engine.publish(bounded, p)
	if err == nil {
		if r != nil {
			r.stream.await(bounded, w)
		}
		f.result.Seq, f.result.Saved = p.Seq, p.Saved
		return nil
	}
	if r == nil {
		r = rs.get(p.Group)
	}
	unsure := errors.Is(err, ErrUnknownOutcome)
	here := rs.fallsBack(ctx, err)
	came := r != nil && r.stream.finish(w, unsure, here)
	switch {
	case came && (unsure || here):
		return nil // the outcome is known
	case !here:
		return err
	}
	rs.counters.localSends.Add(1)
	f.result.Local = true
	return nil
}

// fallsBack reports whether what failed with err may go on without the engine.
func (rs *roomTable) fallsBack(ctx context.Context, err error) bool {
	if !rs.fallback || errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) || errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// A sending is a message of this box's on its way through the broker and, over one that is
// elsewhere, back.
type sending struct {
	p      Publication
	fanout fanout

	// Guarded by the stream's mu.
	sent     bool          // the broker has taken it
	finished bool          // it has been delivered, and fanout.result.Seq is set, or will not be
	done     chan struct{} // made by who waits for that, and then closed
}

// place is where w is, once it is sent.
func (w *sending) place() Position { return Position{Epoch: w.p.Epoch, Seq: w.p.Seq} }

// finish ends the wait. The stream's mu is held.
func (w *sending) finish() {
	if !w.finished {
		w.finished = true
		if w.done != nil {
			close(w.done)
		}
	}
}

// expect has w's fan-out used when the message comes.
func (s *stream) expect(w *sending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != streamOpen {
		w.finish() // it may come, or not
	}
	if s.own == nil {
		s.own = ownPool.Get().(map[uuid.UUID]*sending)
	}
	s.own[w.p.ID] = w
}

// ownPool has what streams need only while this box sends to them.
var ownPool = sync.Pool{New: func() any { return make(map[uuid.UUID]*sending) }}

// forget expects w no more. s.mu is held.
func (s *stream) forget(w *sending) {
	if delete(s.own, w.p.ID); s.own != nil && len(s.own) == 0 {
		ownPool.Put(s.own)
		s.own = nil
	}
}

// await returns once w, which has been published, has been delivered here: now, if it is
// what comes next. Then the copy that is on its way comes too late. ctx is bounded.
func (s *stream) await(ctx context.Context, w *sending) {
	p := &w.p
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.forget(w)
	w.sent = true
	switch {
	case w.finished || s.passed(w.place()):
		return
	case s.at.Epoch != "" && p.Epoch == s.at.Epoch && p.Seq == s.at.Seq+1:
		s.deliver(p)
		s.drain()
		return
	}
	w.done = make(chan struct{})
	s.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	s.mu.Lock()
}

// finish ends w, which could not be published, and reports whether it has come back all
// the same. If not, and here, it goes to the members, and not again to them if unsure says
// that it may still come. Who came to a group that was empty meanwhile may have got it
// already, unnoticed, and was not there when it was sent.
func (s *stream) finish(w *sending, unsure, here bool) (came bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	expected := s.own[w.p.ID] == w
	s.forget(w)
	if came = w.fanout.result.Seq > 0; came || !here || unsure && !expected {
		return came
	}
	p := &Publication{Message: w.p.Message, Except: w.p.Except}
	p.Seq = 0 // no place in the order
	to := s.room.deliver(p, &w.fanout, true)
	if unsure {
		s.room.rooms.echoes.expect(p.ID, to)
	}
	return false
}

// How many messages that reached only this box are remembered, and who got them.
const (
	maxEchoes   = 1024
	maxEchoedTo = 1 << 16 // of all together, if they are more than one
)

// Echoes are messages that reached the members of this box, and whose copies may come all
// the same: then they are for the others alone.
type echoes struct {
	some atomic.Bool // there are any: few boxes ever have

	mu    sync.Mutex // guards what follows; taken around no other lock
	had   map[uuid.UUID][]uuid.UUID
	order []uuid.UUID
	total int // IDs in had
}

func (e *echoes) expect(id uuid.UUID, had []uuid.UUID) {
	if len(had) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.had == nil {
		e.had = make(map[uuid.UUID][]uuid.UUID)
	}
	for len(e.order) > 0 && (len(e.order) >= maxEchoes || e.total+len(had) > maxEchoedTo) {
		e.forget(0)
	}
	e.had[id], e.order = had, append(e.order, id)
	e.some.Store(true)
	e.total += len(had)
}

// take returns who has had the message of that ID.
func (e *echoes) take(id uuid.UUID) (had []uuid.UUID, ok bool) {
	if !e.some.Load() {
		return nil, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if had, ok = e.had[id]; ok {
		e.forget(slices.Index(e.order, id))
	}
	return had, ok
}

func (e *echoes) forget(i int) {
	id := e.order[i]
	e.total -= len(e.had[id])
	delete(e.had, id)
	e.order = slices.Delete(e.order, i, i+1)
	e.some.Store(len(e.order) > 0)
}
