package wschannels

import (
	"context"
	"errors"
	"slices"
	"time"
)

// How a stream gets what it missed from the history.

// onItsWay is how long a message may be on its way that a position already counts.
const onItsWay = time.Second

var (
	errTryAgain = errors.New("wschannels: the history may know more soon")
	errTooOld   = errors.New("wschannels: the history is behind")
)

// fill asks the history for what s is missing, and delivers what is to be had.
func (s *stream) fill(ctx context.Context) error {
	rs := s.room.rooms
	s.mu.Lock()
	if s.state != streamOpen || len(s.held) == 0 && !s.behind && !s.overdue && s.at.Epoch != "" {
		s.mu.Unlock()
		return nil
	}
	round, after, behind := s.round, s.at, s.behind
	var lost Position // up to here, if the history does not have it
	if s.overdue {
		lost = s.owed
	}
	until := time.Now().Add(rs.engine.timeout)
	if len(s.held) > 0 {
		until = s.heldSince.Add(rs.engine.timeout)
	}
	s.behind = false
	s.mu.Unlock()

	var page HistoryPage
	box := ctx
	ctx, cancel := context.WithDeadlineCause(ctx, until, errSilent)
	defer cancel()
	err := context.Cause(ctx) // it waited for too long to be asked
	switch {
	case err != nil:
	case after.Epoch == "":
		page.Position, err = rs.engine.position(ctx, s.room.name)
	default:
		page, err = rs.engine.saved(ctx, s.room.name, &HistoryOptions{After: &after})
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.round != round || s.state != streamOpen || box.Err() != nil {
		return nil
	}
	if err == nil && s.hasEnded(page.Position.Epoch) && !s.isBack(page.Position, after) {
		err = errTooOld
	}
	if err == nil && after.Epoch != "" {
		if err = s.merge(page, after, behind, lost); err == nil {
			s.tell(nil)
			s.settle()
			return nil
		}
	}
	s.behind = s.behind || behind
	switch {
	case err == nil:
		if s.at.Epoch == "" {
			s.owe(page.Position) // the first that comes may come before that
		}
		return nil
	case len(s.held) == 0:
		return err // no hurry
	case time.Now().Before(until) && (err == errTooOld || errors.Is(err, ErrUnavailable)):
		return errTryAgain
	}
	s.giveUp(err)
	if s.behind {
		return err // what was held came before the interruption
	}
	return nil
}

// isBack reports whether the engine is believed, which was asked at after, and says that it
// is at end, of an order that had ended. A page may be from before that, or of a replica
// that is behind: so it was asked in the order of now, and a message says so, too, or it
// says so for the second time. s.mu is held.
func (s *stream) isBack(end, after Position) bool {
	if after.Epoch != s.at.Epoch {
		return false
	}
	for _, p := range s.held {
		if p.Epoch == end.Epoch {
			return p.Seq <= end.Seq+1
		}
	}
	again := s.rumour == end.Epoch
	s.rumour = end.Epoch
	return again
}

// owe waits for what is on its way up to p. s.mu is held.
func (s *stream) owe(p Position) {
	s.owed, s.overdue = p, false
	if p.Epoch == "" {
		return
	}
	round := s.round
	time.AfterFunc(onItsWay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case s.round != round || s.owed != p:
		case s.at.Epoch == "":
			s.owe(Position{})
			s.locate(p)
		case s.passed(p):
			s.owe(Position{})
		default:
			s.overdue = true
			s.room.rooms.catchup.add(s, false)
		}
	})
}

// locate says where s is, if that was not known. s.mu is held.
func (s *stream) locate(p Position) {
	if s.at.Epoch == "" {
		s.at = p
		s.located()
	}
}

// merge delivers, in order, what page and s have. What neither has, and page would have,
// is lost. An error says that the page does not reach what s has. s.mu is held.
//
// What came after the subscription worked again comes by itself: if something is held,
// the page is for what is before that. Else it is for all up to its position, but what is
// missing may have been published after the interruption, and still be on its way: it is
// owed, and lost, up to lost, only in the next page.
func (s *stream) merge(page HistoryPage, after Position, behind bool, lost Position) error {
	end := page.Position
	s.rumour = ""
	s.clear(end.Epoch)
	switch {
	case end.Epoch != s.at.Epoch:
		s.renew(end.Epoch)
		if end.Seq < s.at.Seq {
			s.goBack(end)
		}
	case end.Epoch == after.Epoch && end.Seq < after.Seq:
		s.goBack(end)
	}
	var due uint64
	if lost.Epoch == s.at.Epoch {
		due = min(lost.Seq, end.Seq)
	}
	saved := page.Messages
	whole := (behind || due > 0) && len(s.held) == 0
	for {
		s.drain()
		i := slices.IndexFunc(saved, func(m Message) bool { return m.Seq > s.at.Seq })
		if i < 0 {
			i = len(saved)
		}
		saved = saved[i:]
		hold := len(s.held) > 0 && s.held[0].Epoch == s.at.Epoch
		switch {
		case len(s.held) > 0 && s.hasEnded(s.held[0].Epoch):
			s.leap(s.take())
		case len(saved) > 0 && (hold && saved[0].Seq < s.held[0].Seq || whole && saved[0].Seq <= max(due, s.at.Seq)+1):
			s.leap(fromHistory(saved[0], end.Epoch))
		case hold && s.held[0].Seq <= end.Seq+1:
			s.leap(s.take())
		case len(s.held) > 0:
			return errTooOld
		default:
			s.merged(end, due, behind, whole)
			return nil
		}
	}
}

// fromHistory returns m as it would have come.
func fromHistory(m Message, epoch string) *Publication {
	p := &Publication{Message: m, Epoch: epoch, Save: true, Saved: true}
	if m.except != nil {
		p.Except = *m.except
	}
	return p
}

// clear delivers, or loses, what is held and came before anything of epoch, which is the
// engine's order. s.mu is held.
func (s *stream) clear(epoch string) {
	for len(s.held) > 0 {
		of := s.held[0].Epoch
		if of == epoch || of != s.at.Epoch && !s.hasEnded(of) {
			return
		}
		s.leap(s.take())
	}
}

// merged sees to what is missing behind what merge delivered. s.mu is held.
func (s *stream) merged(end Position, due uint64, behind, whole bool) {
	switch {
	case whole:
		s.lose(due)
		if due > 0 {
			s.owe(Position{})
		}
		if behind && s.at.Seq < end.Seq {
			s.owe(end)
		}
	case s.heldNews:
		s.owe(Position{})
	case behind: // what was held came before the interruption
		s.behind = true
		s.room.rooms.catchup.add(s, false)
	}
}

// goBack goes on from p, where the engine has gone back to: what comes next is new,
// although its Seq was there before. s.mu is held.
func (s *stream) goBack(p Position) {
	s.tell(nil)
	s.loss = &LostError{Epoch: p.Epoch}
	s.tell(ErrNewOrder)
	s.at = p
	s.owe(Position{})
	s.room.restart(p.Epoch)
}
