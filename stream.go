package wschannels

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// What a stream holds behind a hole.
const (
	maxHeld      = 1024
	maxHeldBytes = 1 << 20 // as a history counts
	maxEnded     = 4       // orders that are remembered
)

var errHeldFull = errors.New("wschannels: too many messages came meanwhile")

// A stream is a room's place in its group's order, where messages come from elsewhere:
// late, twice, or with holes. It gives them to the room in order. What is behind a hole
// is held until the history has been asked for what is missing; see fill.go.
type stream struct {
	room *room

	trying atomic.Bool // the catchup tries to subscribe, on behalf of members that could not

	// mu makes deliveries one after another; it is taken before the room's mu. Nothing
	// done under it blocks or calls foreign code.
	mu       sync.Mutex
	state    streamState
	behind   bool // there may be more than at shows: ask the history
	overdue  bool // see owed
	heldNews bool // some of held came after the last interruption

	round  uint64     // goes up when the subscription ends: what was asked before is void
	at     Position   // what was delivered last; no Epoch: it is not known yet
	ended  []Position // of orders before this one, the newest last
	rumour string     // one of these that the engine says is the current one; see isBack

	// What was published up to owed may be on its way. If it is overdue, what neither came
	// nor is in the history is lost. No Epoch: nothing is owed.
	owed Position

	held      []*Publication // what cannot be delivered yet, in order
	heldBytes int
	heldSince time.Time

	own  map[uuid.UUID]*sending // messages of this box whose copies are to come
	loss *LostError             // what was lost, and is to be told

	errand errand // guarded by the catchup's mu
}

type streamState uint8

const (
	streamClosed  streamState = iota // what comes is for nobody
	streamOpening                    // it may come
	streamOpen                       // subscribed
)

// opening, opened and closed follow the subscription. Nobody is a member when it ends, but
// for those who wait for it while it fails.
func (s *stream) opening() { s.become(streamOpening) }
func (s *stream) opened()  { s.become(streamOpen) }

func (s *stream) become(state streamState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

func (s *stream) closed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.state
	s.state = streamClosed
	s.room.rooms.catchup.drop(s)
	s.round++
	s.at, s.ended, s.rumour, s.behind, s.loss = Position{}, nil, "", false, nil
	s.owe(Position{})
	s.held, s.heldBytes = nil, 0
	for _, w := range s.own {
		w.finish()
	}
	if was == streamOpen { // else who is a member waits for the subscription, and stays
		s.own = nil
	}
	s.room.forgetOrder()
}

// hear takes what the broker delivers.
func (s *stream) hear(p *Publication) {
	woken := s.sort(p)
	woken.write()
}

// sort is hear, but for what is left to be written.
func (s *stream) sort(p *Publication) (woken awakening) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == streamClosed:
	case s.at.Epoch == "":
		s.deliver(p)
		s.located()
	case s.hasEnded(p.Epoch):
		s.late(p)
	case s.follows(p):
		woken = s.give(p, len(s.held) == 0)
		s.drain()
	case p.Epoch == s.at.Epoch && p.Seq <= s.at.Seq: // it came before
		if w := s.own[p.ID]; w != nil {
			w.finish()
		}
	default:
		s.hold(p)
	}
	return woken
}

// follows reports whether p is what comes next. s.mu is held, as in all that follows.
func (s *stream) follows(p *Publication) bool {
	if p.Epoch == s.at.Epoch {
		return p.Seq == s.at.Seq+1
	}
	return p.Seq == 1 && len(s.held) == 0 // of a new order
}

// deliver gives p to the members, whatever came before it.
func (s *stream) deliver(p *Publication) { s.give(p, false) }

// give is deliver; if calm, the caller may have to write to those that it returns.
func (s *stream) give(p *Publication, calm bool) awakening {
	if s.at.Epoch != "" && p.Epoch != s.at.Epoch {
		s.renew(p.Epoch)
	}
	s.at = Position{Epoch: p.Epoch, Seq: p.Seq}
	w := s.own[p.ID]
	rs := s.room.rooms
	if had, ok := rs.echoes.take(p.ID); ok {
		p = &Publication{Message: p.Message, Epoch: p.Epoch, Except: slices.Concat(p.Except, had)}
	}
	if w == nil {
		f := fanout{woken: awakening{keep: calm}} // not in the heap: one for each message and node
		s.room.deliver(p, &f, false)
		return f.woken
	}
	s.room.deliver(p, &w.fanout, true)
	w.fanout.result.Seq, w.fanout.result.Saved = p.Seq, p.Saved
	w.finish()
	return awakening{}
}

// renew goes over to another order, before its first message: a new one, or one that had
// ended, where that was left.
func (s *stream) renew(epoch string) {
	s.tell(nil)
	s.loss = &LostError{Epoch: s.at.Epoch}
	s.tell(ErrNewOrder)
	to := Position{Epoch: epoch}
	if i := s.endedAt(epoch); i >= 0 {
		to = s.ended[i]
		s.ended = slices.Delete(s.ended, i, i+1)
	}
	if s.ended = append(s.ended, s.at); len(s.ended) > maxEnded {
		s.ended = s.ended[1:]
	}
	s.at = to
	s.owe(Position{})
}

func (s *stream) endedAt(epoch string) int {
	return slices.IndexFunc(s.ended, func(p Position) bool { return p.Epoch == epoch })
}

func (s *stream) hasEnded(epoch string) bool { return s.endedAt(epoch) >= 0 }

// late takes p, of an order that has ended. If it did not come before, it is held until
// the engine has said what order it is in: it may be back in that one.
func (s *stream) late(p *Publication) {
	if p.Seq > s.ended[s.endedAt(p.Epoch)].Seq {
		s.hold(p)
	} else if w := s.own[p.ID]; w != nil {
		w.finish()
	}
}

// outdate loses p, of an order that has ended, unless it came before.
func (s *stream) outdate(p *Publication) {
	if e := &s.ended[s.endedAt(p.Epoch)]; p.Seq > e.Seq {
		e.Seq = p.Seq
		if s.loss == nil || s.loss.Epoch != p.Epoch {
			s.tell(nil)
			s.loss = &LostError{Epoch: p.Epoch, From: p.Seq, Err: ErrNewOrder}
		}
		s.loss.To = p.Seq
		s.loss.Lost++
	}
	if w := s.own[p.ID]; w != nil {
		w.finish()
	}
}

// hold keeps p, which is behind a hole, or late, and has the history asked. If there is too
// much of it, nothing waits any longer.
func (s *stream) hold(p *Publication) {
	i := len(s.held)
	for ; i > 0 && s.held[i-1].Epoch == p.Epoch && s.held[i-1].Seq >= p.Seq; i-- {
		if s.held[i-1].Seq == p.Seq {
			return // twice
		}
	}
	if !s.hasEnded(p.Epoch) {
		s.heldNews = true
	}
	size := cost(p.Message)
	if len(s.held) > 0 && (len(s.held) >= maxHeld || s.heldBytes+size > maxHeldBytes) {
		s.giveUp(errHeldFull)
		if s.follows(p) {
			s.deliver(p)
			return
		}
		i = 0
	}
	if len(s.held) == 0 {
		s.heldSince = time.Now()
	}
	s.held = slices.Insert(s.held, i, &Publication{ // p is not ours to keep
		Message: p.Message, Epoch: p.Epoch, Saved: p.Saved, Except: slices.Clone(p.Except),
	})
	s.heldBytes += size
	s.room.rooms.catchup.add(s, true)
}

// take takes out the first that is held.
func (s *stream) take() *Publication {
	p := s.held[0]
	s.held[0] = nil
	s.held = s.held[1:]
	s.heldBytes -= cost(p.Message)
	s.heldSince = time.Now() // what is left waits for something else
	if len(s.held) == 0 {
		s.held = nil
	}
	return p
}

// drain delivers what is held and follows, or came before.
func (s *stream) drain() {
	for len(s.held) > 0 && s.held[0].Epoch == s.at.Epoch && s.held[0].Seq <= s.at.Seq+1 {
		if p := s.take(); p.Seq > s.at.Seq {
			s.deliver(p)
		}
	}
}

// giveUp delivers all that is held. What is missing in between is lost.
func (s *stream) giveUp(why error) {
	for len(s.held) > 0 {
		s.leap(s.take())
	}
	if s.heldNews { // there is more, and it comes
		s.behind = false
	}
	s.tell(why)
	s.settle()
}

// leap delivers p, if it did not come before. What is missing before it is lost.
func (s *stream) leap(p *Publication) {
	switch {
	case p.Epoch == s.at.Epoch && p.Seq <= s.at.Seq:
		return
	case s.hasEnded(p.Epoch):
		s.outdate(p)
		return
	case s.at.Epoch != "" && p.Epoch != s.at.Epoch:
		s.renew(p.Epoch)
	}
	s.lose(p.Seq - 1)
	s.deliver(p)
}

// lose goes on to seq of the same order, without what is before.
func (s *stream) lose(seq uint64) {
	if s.at.Epoch == "" || seq <= s.at.Seq {
		return
	}
	if s.loss == nil || s.loss.Epoch != s.at.Epoch {
		s.tell(nil)
		s.loss = &LostError{Epoch: s.at.Epoch, From: s.at.Seq + 1}
	}
	s.loss.To = seq
	s.loss.Lost += seq - s.at.Seq
	s.at.Seq = seq
}

// tell reports what was lost, if anything was.
func (s *stream) tell(why error) {
	if s.loss == nil {
		return
	}
	e := s.loss
	s.loss = nil
	e.Group = s.room.name
	if e.Err == nil {
		e.Err = why
	}
	rs := s.room.rooms
	rs.counters.lost.Add(e.Lost)
	rs.report(e)
}

// located is called when at has become known.
func (s *stream) located() {
	if s.behind {
		s.room.rooms.catchup.add(s, false)
	}
	s.settle()
}

// interrupted has the history asked what was missed.
func (s *stream) interrupted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == streamClosed {
		return
	}
	s.behind, s.heldNews = true, false
	s.owe(Position{})     // what was on its way does not come
	if s.at.Epoch != "" { // else whoever joins finds out first
		s.room.rooms.catchup.add(s, false)
	}
}

// passed reports whether at is not before p any more.
func (s *stream) passed(p Position) bool {
	return p.Epoch == s.at.Epoch && p.Seq <= s.at.Seq || s.hasEnded(p.Epoch)
}

// settle tells senders whose messages will not come any more.
func (s *stream) settle() {
	for _, w := range s.own {
		if w.sent && s.passed(w.place()) {
			w.finish()
		}
	}
}
