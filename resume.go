package wschannels

// How a channel becomes a member where messages come late: the history, or another node,
// may have given it what has yet to come to this one.

// A resume is a join of who has had all up to some place.
type resume struct {
	after Position
	first uint64              // Seq of the first message behind it that came
	early map[*frame]struct{} // held, and not behind it
}

func (r *resume) had(epoch string, seq uint64) bool {
	return epoch == r.after.Epoch && seq <= r.after.Seq
}

// saw is told of each live message that may be for the member. room.mu is held.
func (j *joining) saw(epoch string, seq uint64) {
	if r := j.resume; r != nil && r.first == 0 && seq != 0 && !r.had(epoch, seq) {
		r.first = seq
	}
}

// holds is told of what is held. room.mu is held.
func (j *joining) holds(fr *frame, epoch string, seq uint64) {
	r := j.resume
	if r == nil || seq == 0 || !r.had(epoch, seq) {
		return
	}
	if r.early == nil {
		r.early = make(map[*frame]struct{})
	}
	r.early[fr] = struct{}{}
}

// skipEarly takes out what is held and the channel has had. room.mu is held.
func (m *member) skipEarly() {
	j := m.joining
	var kept []*frame
	for _, fr := range j.held {
		if _, early := j.resume.early[fr]; early {
			m.c.queue.unheld(fr)
		} else {
			kept = append(kept, fr)
		}
	}
	j.held, j.resume.early = kept, nil
}

// place finds the moment of m's joining; the group was at p then or later. The messages of
// the history up to that moment, and the live ones after it, are all. It is not ok if the
// stream has gone past p without m, as another join knew more: then p is to be read again,
// unless it is the last try. whole says that the live ones have no open hole before p.
func (s *stream) place(m *member, p Position, last bool) (at Position, whole, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ended := s.room, s.hasEnded(p.Epoch)
	switch {
	case s.at.Epoch == "":
		s.locate(p)
	case ended && !last:
		return p, false, false
	case ended: // asked again, the engine says again that it is back there
		s.clear(p.Epoch)
		s.renew(p.Epoch)
		s.behind = true
		s.room.rooms.catchup.add(s, false)
	case p.Epoch != s.at.Epoch: // the order started anew, and we have not heard
		s.giveUp(ErrNewOrder)
		if s.at.Epoch != p.Epoch {
			s.renew(p.Epoch)
		}
		s.behind = true
		s.room.rooms.catchup.add(s, false)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch != s.at.Epoch {
		r.begin(s.at.Epoch)
	}
	at, first := p, m.first
	if resume := m.joining.resume; resume != nil && resume.had(p.Epoch, resume.after.Seq) && resume.after.Seq <= p.Seq {
		m.skipEarly()
		first = resume.first
	}
	whole = true
	switch {
	case first != 0 && first <= p.Seq+1:
		at.Seq = first - 1
		whole = at.Seq == p.Seq || len(s.held) == 0 && !s.behind && (s.owed.Epoch == "" || s.passed(s.owed))
	case s.at.Seq > p.Seq && !last:
		return p, false, false
	case s.at.Seq > p.Seq:
		whole, s.behind = false, true // has the engine gone back?
		s.room.rooms.catchup.add(s, false)
	}
	m.after = at.Seq
	return at, whole, true
}

// unknown has the place of the group found, when somebody has joined without.
func (s *stream) unknown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.rooms.catchup.addNew(s)
}
