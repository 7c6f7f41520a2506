package wschannels

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// Mailboxes of a [MailboxBroker]: what is in one is taken when a user's first channel
// comes, or somebody rings; what a channel had not written is put back.

var errNotMail = errors.New("wschannels: found something in a mailbox that no box has put there")

// An arrival is mail of a user that is taken from the engine, or is to be.
type arrival struct {
	ask    bool // it is to be
	unsure bool // some may be lost, and that has been told

	// What is newer waits behind it, and counts as what the channel that gets both may have
	// in its queue.
	holds bool
	held  []*mail
	bytes int
}

// hold lets m wait behind the mail that is on its way, and reports whether it may.
func (ar *arrival) hold(m *mail) bool {
	size := max(1, len(m.Data))
	if m.owed == nil || size > m.owed.queue.limit-ar.bytes || len(ar.held) >= m.owed.queue.most() {
		return false
	}
	m.boxed = true
	ar.held = append(ar.held, m)
	ar.bytes += size
	return true
}

// holding returns the arrival that what is newer for user waits behind, nil if none. The
// users' mu is held.
func (r *remoteUsers) holding(user string) *arrival {
	if r == nil {
		return nil
	}
	if ar := r.arrivals[user]; ar != nil && ar.holds {
		return ar
	}
	return nil
}

// held counts what waits behind mail that is on its way, as mailboxes do. The users' mu is
// held.
func (r *remoteUsers) held() (bytes int) {
	if r != nil {
		for _, ar := range r.arrivals {
			for _, m := range ar.held {
				bytes += cost(m.Message)
			}
		}
	}
	return bytes
}

// online is told of a user's first channel here. The users' mu is held.
func (r *remoteUsers) online(user string) {
	if r == nil {
		return
	}
	if r.mail {
		ar := &arrival{ask: true, holds: true, held: r.users.mail.cutLate(user)}
		for _, m := range ar.held {
			ar.bytes += max(1, len(m.Data))
		}
		r.arrivals[user] = ar
	}
	r.update(user)
}

// offline is told that a user has no channel here any more. The users' mu is held.
func (r *remoteUsers) offline(user string) {
	if r == nil {
		return
	}
	if ar := r.arrivals[user]; ar != nil {
		delete(r.arrivals, user)
		for _, m := range ar.held {
			m.boxed, m.late = false, true
			if m.had() || !r.users.keep(m) {
				r.users.mail.lost++
			}
		}
	}
	r.update(user)
}

// rung is told that there is mail for user.
func (r *remoteUsers) rung(user string) {
	u := r.users
	u.mu.Lock()
	defer u.mu.Unlock()
	a := u.online[user]
	if a == nil || !r.mail {
		return
	}
	r.expect(user).holds = true
	if a.drains == nil {
		a.drains = a.channels[0]
	}
	r.update(user)
}

// missed is told that somebody may have rung in vain.
func (r *remoteUsers) missed(user string) {
	u := r.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.online[user] != nil && r.mail {
		r.expect(user)
		r.direct.listening.updateLater(userAddress(user), userSubject{r, user})
	}
}

// expect returns the arrival of what is to be asked for. The users' mu is held.
func (r *remoteUsers) expect(user string) *arrival {
	ar := r.arrivals[user]
	if ar == nil {
		ar = new(arrival)
		r.arrivals[user] = ar
	}
	ar.ask = true
	return ar
}

// next returns what there is to do for a user, nil if nothing.
func (s userSubject) next() func(context.Context) error {
	r, u := s.r, s.r.users
	u.mu.Lock()
	defer u.mu.Unlock()
	here, ar := u.online[s.user] != nil, r.arrivals[s.user]
	switch _, ring := r.rings[s.user]; {
	case !here && r.mail && u.mail.first(s.user) != nil:
		return s.putBack
	case ring:
		return s.ring
	case here && ar != nil && ar.ask:
		return s.take
	}
	return nil
}

func (s userSubject) needs() bool { return s.wanted() || s.next() != nil }

func (s userSubject) run(ctx context.Context) error {
	for do := s.next(); do != nil; do = s.next() {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s userSubject) ring(context.Context) error {
	err := s.r.ring(s.r.direct.listening.calls, s.user)
	if err == nil {
		s.r.users.mu.Lock()
		defer s.r.users.mu.Unlock()
		delete(s.r.rings, s.user)
	}
	return err
}

// putBack moves what is in the local mailbox to the engine's: to its front, or, what is
// late, to its end.
func (s userSubject) putBack(ctx context.Context) error {
	r, u := s.r, s.r.users
	select {
	case r.puts <- struct{}{}:
		defer func() { <-r.puts }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	u.mu.Lock()
	var back, late []*mail
	if u.online[s.user] == nil {
		late = u.mail.cutLate(s.user)
		back = u.mail.empty(s.user)
	}
	r.putting[s.user] = struct{}{}
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(r.putting, s.user)
	}()
	if err := s.put(ctx, back, true); err != nil {
		s.stow(append(back, late...), len(back))
		return err
	}
	if err := s.put(ctx, late, false); err != nil {
		s.stow(late, 0)
		return err
	}
	return nil
}

// put puts mail that is in no mailbox into the engine's.
func (s userSubject) put(ctx context.Context, all []*mail, front bool) error {
	if len(all) == 0 {
		return nil
	}
	ms := make([]Message, len(all))
	s.r.users.mu.Lock()
	for i, m := range all {
		ms[i] = m.Message
		s.r.recent.forget(m.ID)
	}
	s.r.users.mu.Unlock()
	_, lost, err := s.r.direct.engine.putMail(ctx, s.user, ms, front, s.r.limits())
	if err == nil {
		s.r.users.mu.Lock()
		defer s.r.users.mu.Unlock()
		s.r.users.mail.lost += uint64(lost)
		s.r.rings[s.user] = struct{}{}
	}
	return err
}

// stow takes mail back that could not be put, of which all from late on is late. It may be
// in the engine's mailbox even so: take drops what it finds twice.
func (s userSubject) stow(all []*mail, late int) {
	u := s.r.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.online[s.user] != nil {
		u.restore(all)
		return
	}
	for _, m := range all[late:] {
		m.late = true
	}
	u.stow(all)
}

// take gets what is in the engine's mailbox.
func (s userSubject) take(ctx context.Context) error {
	r, u := s.r, s.r.users
	u.mu.Lock()
	if ar := r.arrivals[s.user]; ar != nil {
		ar.ask = false
	}
	u.mu.Unlock()
	ms, err := r.direct.engine.takeMail(ctx, s.user)
	all, bad := s.open(ms)
	u.mu.Lock()
	r.arrived(s.user, all, err)
	u.mail.lost += bad
	unsure := errors.Is(err, ErrUnknownOutcome) // how much is lost, if anything, nobody knows
	if ar := r.arrivals[s.user]; ar != nil && unsure {
		unsure, ar.unsure = !ar.unsure, true
	}
	u.mu.Unlock()
	if unsure {
		r.direct.box.brokerFailed(fmt.Errorf("wschannels: mail of user %q may be lost: %w", s.user, err))
	}
	if bad > 0 {
		r.direct.box.brokerFailed(errNotMail)
	}
	return err
}

// arrived hands out mail that was taken from the engine. u.mu is held.
func (r *remoteUsers) arrived(user string, all []*mail, err error) {
	u := r.users
	got := len(all)
	all = slices.DeleteFunc(all, func(m *mail) bool { return !r.recent.add(m.ID) })
	u.mail.lost += uint64(got - len(all))
	a, ar := u.online[user], r.arrivals[user]
	switch {
	case err != nil:
		if ar != nil {
			ar.ask = true
		}
	case a == nil:
		if len(all) > 0 {
			u.restore(all) // and run puts it back
		}
	default:
		if a.drains == nil {
			a.drains = a.channels[0]
		}
		for _, m := range all {
			u.hand(a, m)
		}
		if ar != nil && !ar.ask {
			delete(r.arrivals, user)
			u.release(a, ar)
		}
		u.drain(a)
	}
}

// away lets go of what waits for mail that cannot be had now.
func (s userSubject) away() {
	u := s.r.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if a, ar := u.online[s.user], s.r.holding(s.user); a != nil && ar != nil {
		u.release(a, ar)
		u.drain(a)
	}
}

// release hands out what was held. u.mu is held.
func (u *users) release(a *account, ar *arrival) {
	ar.holds = false
	for _, m := range ar.held {
		m.boxed = false
		u.hand(a, m)
	}
	ar.held, ar.bytes = nil, 0
}

// hand gives m to a.drains, behind what waits for that. u.mu is held.
func (u *users) hand(a *account, m *mail) {
	if u.mail.first(a.user) == nil && u.pour(m, a.drains) {
		return
	}
	if !u.keep(m) {
		u.mail.lost++
	}
}

// open returns ms as mail, once each, and how many of them no box has sent.
func (s userSubject) open(ms []Message) (all []*mail, bad uint64) {
	seen := make(map[uuid.UUID]struct{}, len(ms))
	for _, m := range ms {
		if m.check() != nil {
			bad++
			continue
		}
		if _, twice := seen[m.ID]; !twice {
			seen[m.ID] = struct{}{}
			m.codec = s.r.users.codec
			all = append(all, &mail{Message: m, user: s.user, users: s.r.users})
		}
	}
	return all, bad
}
