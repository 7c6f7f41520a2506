package wschannels

import (
	"context"
	"time"
)

// remoteUsers is what a box with a [RequestBroker] has beside its users: it listens at the
// address of each while it has channels of theirs.
type remoteUsers struct {
	users  *users
	direct *direct
	mail   bool          // mailboxes are the engine's; the local ones have what is on its way
	puts   chan struct{} // as many may put mail back at a time, as it is in no mailbox then

	// Guarded by the users' mu.
	arrivals map[string]*arrival // of users with channels here
	rings    map[string]struct{} // users who are to be rung, for they have mail
	putting  map[string]struct{} // users whose mail is being put back
	absent   map[*absence]struct{}
	recent   recent
}

// An absence is the answer of a box that has no channel of a user any more, and still
// listens. It waits until others have answered: the first answer counts.
type absence struct {
	answer func(answer)
	timer  *time.Timer
}

const (
	absenceTime = 250 * time.Millisecond
	maxAbsences = 1024
	maxPuts     = 64
)

func newRemoteUsers(u *users, d *direct) *remoteUsers {
	return &remoteUsers{
		users: u, direct: d, mail: d.engine.mail != nil && u.mail.maxBytes > 0, puts: make(chan struct{}, maxPuts),
		arrivals: make(map[string]*arrival), rings: make(map[string]struct{}),
		putting: make(map[string]struct{}), absent: make(map[*absence]struct{}),
	}
}

// userSubject has the box listen at a user's address.
type userSubject struct {
	r    *remoteUsers
	user string
}

func (r *remoteUsers) update(user string) {
	r.direct.listening.update(userAddress(user), userSubject{r, user})
}

func (s userSubject) wanted() bool {
	s.r.users.mu.Lock()
	defer s.r.users.mu.Unlock()
	return s.r.users.online[s.user] != nil
}

// send sends m to every channel of its user: first to those that are here.
func (r *remoteUsers) send(ctx context.Context, m *mail, f *fanout) (SendResult, error) {
	here := r.deliver(m, f)
	f.closeSlow()
	a, err := r.direct.ask(ctx, userAddress(m.user), &request{
		kind: toUser, from: r.direct.tag, id: m.ID, at: m.Created, Type: m.Type, data: m.Data,
	})
	own := err == nil && a.from == r.direct.tag
	switch {
	case err == nil && !own && a.code == answerTook:
		f.result.Remote = 1
	case here && err != nil && err != ErrNobody:
		f.result.Local = true
		r.direct.box.counters.localSends.Add(1) // which the result says, too: no news for OnError
	case here:
	case err != nil && err != ErrNobody:
		return SendResult{}, err
	case own && r.deliver(m, f): // they have come in the meantime
		f.closeSlow()
	default:
		return r.keep(ctx, m, f)
	}
	return f.result, nil
}

// deliver offers m to the user's channels in this box, and reports whether there are any,
// or were when m came by the mailbox, which may be faster.
func (r *remoteUsers) deliver(m *mail, f *fanout) bool {
	u := r.users
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case r.recent.has(m.ID):
		return true
	case u.online[m.user] == nil:
		return false
	}
	f.slow = nil
	if u.place(m, f) {
		r.recent.add(m.ID)
	}
	return true
}

// keep puts m, for which nobody was there, in the user's mailbox.
func (r *remoteUsers) keep(ctx context.Context, m *mail, f *fanout) (SendResult, error) {
	u := r.users
	if r.keepHere(m) {
		f.result.Waiting = 1
		return f.result, nil
	}
	if !r.mail || cost(m.Message) > u.mail.maxBytes {
		return f.result, nil
	}
	kept, lost, err := r.direct.engine.putMail(ctx, m.user, []Message{m.Message}, false, r.limits())
	if err != nil {
		return SendResult{}, err
	}
	f.result.Waiting = kept
	u.mu.Lock()
	u.mail.lost += uint64(max(0, lost-(1-kept))) // m itself was never there
	u.mu.Unlock()
	if kept > 0 { // somebody may have come between the question and this
		if err := r.ring(ctx, m.user); err != nil {
			r.ringLater(m.user, err)
		}
	}
	return f.result, nil
}

// keepHere puts m in the local mailbox if that is the only one, or m belongs behind what is
// to be put back from there.
func (r *remoteUsers) keepHere(m *mail) bool {
	u := r.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if r.mail {
		_, putting := r.putting[m.user]
		if u.online[m.user] != nil || !putting && u.mail.first(m.user) == nil {
			return false
		}
		m.late = true
		r.update(m.user)
	}
	return u.keep(m)
}

func (r *remoteUsers) limits() MailboxLimits {
	return MailboxLimits{Bytes: r.users.mail.maxBytes, TTL: r.users.mail.ttl}
}

// ring tells whoever has channels of user that there is mail.
func (r *remoteUsers) ring(ctx context.Context, user string) error {
	_, err := r.direct.ask(ctx, userAddress(user), &request{kind: ring, from: r.direct.tag})
	if err == ErrNobody {
		return nil
	}
	return err
}

// ringLater is for a ring that failed with err: while it does, the mail waits for the
// user's next channel.
func (r *remoteUsers) ringLater(user string, err error) {
	u := r.users
	u.mu.Lock()
	few := len(r.rings) < u.mail.max
	if few {
		r.rings[user] = struct{}{}
	}
	u.mu.Unlock()
	if few {
		r.direct.listening.updateLater(userAddress(user), userSubject{r, user})
	} else {
		r.direct.box.brokerFailed(err)
	}
}

// hear gets a message from another box, or from this one.
func (r *remoteUsers) hear(user string, req *request, done func(answer)) {
	if req.from == r.direct.tag {
		done(answer{code: answerTook}) // send sees to it
		return
	}
	u := r.users
	m := &mail{user: user, users: u, Message: Message{
		ID: req.id, Created: req.at, Type: req.Type, Data: req.data, codec: u.codec,
	}}
	f := new(fanout)
	if u.deflateFrom > 0 {
		to := u.present(user)
		f.forms.compress(m.Message, &to, u.deflateFrom)
	}
	if !r.deliver(m, f) {
		r.absence(done)
		return
	}
	if len(f.slow) > 0 {
		go f.closeSlow() // not here: it calls much
	}
	done(answer{code: answerTook})
}

// absence answers that nobody is here, in a while.
func (r *remoteUsers) absence(done func(answer)) {
	u := r.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(r.absent) >= maxAbsences {
		go done(answer{code: answerNobody}) // does not block
		return
	}
	a := &absence{answer: done}
	a.timer = time.AfterFunc(absenceTime, func() { r.answer(a) })
	r.absent[a] = struct{}{}
}

// answer gives a's answer, unless it has been given.
func (r *remoteUsers) answer(a *absence) {
	r.users.mu.Lock()
	_, waits := r.absent[a]
	delete(r.absent, a)
	r.users.mu.Unlock()
	if waits {
		a.timer.Stop()
		a.answer(answer{code: answerNobody})
	}
}

// close gives the answers that wait.
func (r *remoteUsers) close() {
	r.users.mu.Lock()
	all := make([]*absence, 0, len(r.absent))
	for a := range r.absent {
		all = append(all, a)
	}
	r.users.mu.Unlock()
	for _, a := range all {
		r.answer(a)
	}
}
