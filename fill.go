package wschannels

import (
	"context"
	"errors"
	"slices"
	"time"
)

// How a stream gets what it missed from the history.

var (
	errTryAgain = errors.New("wschannels: the history may know more soon")
	errTooOld   = errors.New("wschannels: the history is behind")
)

// fill asks the history for what s is missing, and delivers what is to be had.
func (s *stream) fill(ctx context.Context) error {
	rs := s.room.rooms
	s.mu.Lock()
	if s.state != streamOpen || len(s.held) == 0 && !s.behind && s.at.Epoch != "" {
		s.mu.Unlock()
		return nil
	}
	round, after, behind := s.round, s.at, s.behind
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
	if err == nil && s.hasEnded(page.Position.Epoch) {
		err = errTooOld
	}
	if err == nil && after.Epoch != "" {
		if err = s.merge(page, after, behind); err == nil {
			s.tell(nil)
			s.settle()
			return nil
		}
	}
	s.behind = s.behind || behind
	switch {
	case err == nil:
		s.locate(page.Position)
		return nil
	case len(s.held) == 0:
		return err // no hurry
	case time.Now().Before(until) && (err == errTooOld || errors.Is(err, ErrUnavailable)):
		return errTryAgain
	}
	s.giveUp(err)
	return nil
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
// the page is for what is before that. Else it is for all up to its position.
func (s *stream) merge(page HistoryPage, after Position, behind bool) error {
	end := page.Position
	switch {
	case end.Epoch != s.at.Epoch:
		for len(s.held) > 0 && s.held[0].Epoch == s.at.Epoch {
			s.leap(s.take())
		}
		s.renew(end.Epoch)
	case end.Seq < after.Seq:
		s.goBack(end)
	}
	saved := page.Messages
	whole := behind && len(s.held) == 0
	for {
		s.drain()
		i := slices.IndexFunc(saved, func(m Message) bool { return m.Seq > s.at.Seq })
		if i < 0 {
			i = len(saved)
		}
		saved = saved[i:]
		hold := len(s.held) > 0 && s.held[0].Epoch == s.at.Epoch
		switch {
		case len(saved) > 0 && (hold && saved[0].Seq < s.held[0].Seq || whole):
			s.leap(&Publication{Message: saved[0], Epoch: end.Epoch, Save: true, Saved: true})
		case hold && s.held[0].Seq <= end.Seq+1:
			s.leap(s.take())
		case len(s.held) > 0:
			return errTooOld
		default:
			if whole {
				s.lose(end.Seq)
			}
			return nil
		}
	}
}

// goBack goes on from p, where the engine has gone back to: what comes next is new,
// although its Seq was there before. s.mu is held.
func (s *stream) goBack(p Position) {
	s.tell(nil)
	s.loss = LostError{Epoch: p.Epoch}
	s.tell(ErrNewOrder)
	s.at = p
	s.room.restart(p.Epoch)
}
