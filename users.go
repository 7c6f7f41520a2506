package wschannels

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// users knows which channels are whose, and has mailboxes for those that have none.
type users struct {
	codec  Codec
	timers *timers
	panics *atomic.Uint64 // of payloads that are encoded

	deflateFrom int    // messages of this size are compressed; 0: none
	alarm       *alarm // for mail that expires

	mu     sync.Mutex // guards what follows, and all mail; taken before a channel's locks
	online map[string]*account
	mail   mailboxes

	remote *remoteUsers // nil: there are no other nodes
}

// An account is a user with channels.
type account struct {
	user     string
	channels []*Channel

	// drains, if not nil, is the channel that is still to get what is in the mailbox,
	// as it has room, and what is newer by that way.
	drains *Channel
}

func newUsers(opts *Options, t *timers, panics *atomic.Uint64) *users {
	u := &users{
		codec: opts.Channel.Codec, timers: t, panics: panics, online: make(map[string]*account),
		deflateFrom: deflateFrom(&opts.Accept),
		mail: mailboxes{
			maxBytes: opts.MailboxBytes, ttl: opts.MailboxTTL, max: opts.MaxMailboxes,
			boxes: make(map[string]*mailbox),
		},
	}
	u.alarm = &alarm{waker: u}
	return u
}

// wake drops the mail that has expired.
func (u *users) wake(now time.Time) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mail.sweep(now)
}

// SetUser says who the channel is, once known; [Auth] is the usual place. The channel
// is the user's, and gets what waits in the user's mailbox before anything newer, once
// it is in the box and has authenticated. A second name moves it, "" removes it. What
// a channel that closes had not written goes back to the front of the mailbox or, if
// the user has another channel by then, to that one.
//
// With a [MailboxBroker], what waits comes as soon as it has been taken from there, and
// SetUser does not wait for that.
//
// A name has at most 255 bytes of UTF-8 without control characters, else the error is
// [ErrInvalidUser].
func (c *Channel) SetUser(user string) error {
	if user != "" && !validName(user) {
		return ErrInvalidUser
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.user = user
	c.mu.Unlock()
	c.settleUser()
	if b := c.inBox(); b != nil && b.presence != nil {
		b.presence.renamed(c)
	}
	return nil
}

// User returns the name that SetUser gave, "" if none.
func (c *Channel) User() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.user
}

// settleUser makes the channel its user's, if it may be now.
func (c *Channel) settleUser() {
	if b := c.inBox(); b != nil {
		b.users.settle(c)
	}
}

// refill is the queue's room.
func (c *Channel) refill() {
	if b := c.inBox(); b != nil {
		b.users.refill(c)
	}
}

// giveBack returns what was not written to the users whose it is.
func (c *Channel) giveBack(back []*mail) {
	if len(back) > 0 {
		back[0].users.giveBack(back)
	}
}

// settle makes c belong to the user that it names, and to no other. It is called
// whenever that may have changed.
func (u *users) settle(c *Channel) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c.mu.Lock()
	want, have := c.user, c.account
	if c.err != nil || !c.entered || !c.authed.Load() {
		want = ""
	}
	if have != nil && have.user == want || have == nil && want == "" {
		c.mu.Unlock()
		return
	}
	a := u.online[want]
	if a == nil && want != "" {
		a = &account{user: want}
		u.online[want] = a
	}
	c.account = a
	c.mu.Unlock()
	if have != nil {
		u.leave(have, c)
	}
	if a == nil {
		return
	}
	a.channels = append(a.channels, c)
	if len(a.channels) == 1 {
		u.remote.online(a.user)
	}
	if a.drains == nil {
		a.drains = c
		u.drain(a)
	}
}

// leave takes c out of a. If it was still to get what is in the mailbox, another
// channel gets that. u.mu is held.
func (u *users) leave(a *account, c *Channel) {
	a.channels = slices.DeleteFunc(a.channels, func(o *Channel) bool { return o == c })
	switch {
	case len(a.channels) == 0:
		delete(u.online, a.user)
		u.remote.offline(a.user)
	case a.drains == c:
		a.drains = a.channels[0]
		u.drain(a)
	}
}

// refill goes on with a mailbox that did not fit into c's queue.
func (u *users) refill(c *Channel) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c.mu.Lock()
	a := c.account
	c.mu.Unlock()
	if a != nil && a.drains == c {
		u.drain(a)
	}
}

// drain moves the mailbox into the queue of a.drains, as far as there is room. u.mu is
// held.
func (u *users) drain(a *account) {
	for m := u.mail.first(a.user); m != nil; m = u.mail.first(a.user) {
		if !u.pour(m, a.drains) {
			return // until refill, or it is gone
		}
		u.mail.take(a.user)
	}
	if u.remote.holding(a.user) == nil {
		a.drains = nil
	}
}

// pour queues m on c, and reports whether it is off our hands: false if c has no room
// for it yet. u.mu is held.
func (u *users) pour(m *mail, c *Channel) bool {
	frames := framer{m: m.Message, mail: m} // nothing is compressed under a lock
	fr := frames.frame(c)
	switch {
	case m.owed != nil && m.owed != c && m.had():
		u.mail.lost++ // it waited for a channel that has gone, and is no news to the user
	case fr == nil || fr.size() > c.opts.QueueBytes:
		u.mail.lost++ // this channel cannot have it, and waiting would not help
	case c.queue.fits(fr, false):
		m.holders.Add(1)
		c.Touch()
	default:
		return false
	}
	return true
}

// present counts user's channels.
func (u *users) present(user string) (has present) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a := u.online[user]; a != nil {
		for _, c := range a.channels {
			has.add(c, 1)
		}
	}
	return has
}

// send sends payload to every channel of user, or puts it in the mailbox.
func (u *users) send(ctx context.Context, user string, payload any) (SendResult, error) {
	switch {
	case !validName(user):
		return SendResult{}, ErrInvalidUser
	case ctx.Err() != nil:
		return SendResult{}, context.Cause(ctx)
	}
	t, data, err := canonical(u.codec, payload)
	if err != nil {
		return SendResult{}, counted(err, u.panics)
	}
	m := &mail{Message: newMessage("", t, data, u.codec), user: user, users: u}
	f := &fanout{result: SendResult{ID: m.ID}}
	to := u.present(user)
	if f.forms, err = prepare(u.codec, payload, m.Message, &to, u.deflateFrom); err != nil {
		return SendResult{}, counted(err, u.panics)
	}
	if u.remote != nil {
		return u.remote.send(ctx, m, f)
	}
	u.mu.Lock()
	u.place(m, f)
	u.mu.Unlock()
	f.closeSlow()
	return f.result, nil
}

// place delivers m, or keeps it, and reports whether it could. u.mu is held.
func (u *users) place(m *mail, f *fanout) bool {
	if u.deliver(m, f) {
		return true
	}
	kept := false
	if ar := u.remote.holding(m.user); ar != nil {
		kept = ar.hold(m)
	} else {
		kept = u.keep(m)
	}
	switch {
	case kept:
		f.result.Waiting = 1
	case m.owed != nil: // a channel missed it
		m.owed.queue.drop()
		f.result.Dropped++
	}
	return kept
}

// deliver offers m to the user's channels, and reports whether the mailbox need not
// keep it. u.mu is held.
func (u *users) deliver(m *mail, f *fanout) bool {
	a := u.online[m.user]
	if a == nil {
		return false
	}
	m.owed = a.drains
	frames := framer{m: m.Message, forms: f.forms, mail: m}
	now, done := time.Now(), false
	for _, c := range a.channels {
		if c == a.drains {
			continue
		}
		fr := frames.frame(c)
		if fr == nil {
			c.queue.drop()
			f.result.Dropped++
			done = true
			continue
		}
		switch f.offer(c, fr, now) {
		case offered:
			m.holders.Add(1)
			done = true
		case offeredFull: // dropped by its policy, or about to be closed by it
			done = done || c.opts.Slow != SlowDisconnect
		}
	}
	f.woken.done()
	return done && a.drains == nil
}

// keep puts m in its user's mailbox. u.mu is held.
func (u *users) keep(m *mail) bool {
	kept := u.mail.put(m)
	if kept {
		u.timers.set(u.alarm, m.Created.Add(u.mail.ttl))
	}
	return kept
}

// giveBack takes back what a closed channel had not written, in order, except for what
// another channel has, or has had, or waits for.
func (u *users) giveBack(back []*mail) {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := len(back)
	back = slices.DeleteFunc(back, func(m *mail) bool {
		m.holders.Add(-1)
		return m.had() || m.boxed
	})
	u.mail.lost += uint64(all - len(back))
	for len(back) > 0 {
		n := slices.IndexFunc(back, func(m *mail) bool { return m.user != back[0].user })
		if n < 0 {
			n = len(back)
		}
		u.restore(back[:n])
		back = back[n:]
	}
}

// restore gives mail of one user to a channel of theirs, and puts what that has no room
// for in front of the mailbox. u.mu is held.
func (u *users) restore(back []*mail) {
	a := u.online[back[0].user]
	if a != nil && a.drains == nil {
		a.drains = a.channels[0]
		for len(back) > 0 && u.pour(back[0], a.drains) {
			back = back[1:]
		}
	}
	if len(back) > 0 {
		u.stow(back)
	}
	if a != nil {
		u.drain(a)
	} else if u.remote != nil && u.remote.mail {
		u.remote.update(back[0].user)
	}
}

// stow puts mail of one user in front of the local mailbox. u.mu is held.
func (u *users) stow(back []*mail) {
	u.mail.putBack(back)
	u.timers.set(u.alarm, back[0].Created.Add(u.mail.ttl))
}

// counts returns how many mailboxes there are, what they hold, and what they lost.
func (u *users) counts() (boxes, bytes int, lost uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mail.sweep(time.Now())
	return len(u.mail.boxes), u.mail.bytes + u.remote.held(), u.mail.lost
}
