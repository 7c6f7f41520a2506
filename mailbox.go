package wschannels

import (
	"container/list"
	"slices"
	"sync/atomic"
	"time"
)

// A mail is one message to a user, on its way to any number of channels.
type mail struct {
	Message
	user    string
	users   *users
	holders atomic.Int32 // channels that have it queued
	written atomic.Bool  // one of them has written it

	// Guarded by the users' mu.
	boxed bool     // it is in the mailbox, or waits behind what comes from the Broker's
	late  bool     // and newer than what is in the Broker's
	owed  *Channel // if not nil: it waits for this channel alone, while others may have it
}

// had reports whether a channel has m, or has had it.
func (m *mail) had() bool { return m.holders.Load() > 0 || m.written.Load() }

// arrived is called by a queue that has written m.
func (m *mail) arrived() {
	m.written.Store(true) // first: had must not miss it
	m.holders.Add(-1)
}

// evicted is called by a queue that has dropped m.
func (m *mail) evicted() { m.holders.Add(-1) }

// mailboxes keep messages for users without channels, each within its limit and
// never more than max of them. The users' mu guards them.
type mailboxes struct {
	maxBytes int // of each, as a history counts; negative: there are none
	ttl      time.Duration
	max      int

	boxes  map[string]*mailbox
	recent list.List // the least recently used first
	bytes  int
	lost   uint64 // messages that were kept and then dropped
}

// A mailbox is one user's messages, oldest first.
type mailbox struct {
	user  string
	mail  []*mail
	bytes int
	place *list.Element // in recent
}

// put keeps m as its user's newest message, and reports whether it did.
func (b *mailboxes) put(m *mail) bool {
	size := cost(m.Message)
	if size > b.maxBytes {
		return false
	}
	box := b.open(m.user)
	for box.bytes+size > b.maxBytes {
		b.remove(box)
		b.lost++
	}
	box.mail = append(box.mail, m)
	m.boxed = true
	b.grow(box, size)
	return true
}

// putBack keeps mail, all of one user and in order, ahead of everything newer. What
// has expired or does not fit is the oldest, and lost.
func (b *mailboxes) putBack(mail []*mail) {
	user, now, room := mail[0].user, time.Now(), b.maxBytes
	if b.first(user) != nil {
		room -= b.boxes[user].bytes
	}
	fit, size := len(mail), 0
	for fit > 0 && size+cost(mail[fit-1].Message) <= room && !b.expired(mail[fit-1], now) {
		fit--
		size += cost(mail[fit].Message)
	}
	b.lost += uint64(fit)
	if mail = mail[fit:]; len(mail) == 0 {
		return // before a mailbox is opened for it, and another one lost
	}
	for _, m := range mail {
		m.boxed = true
	}
	box := b.open(user)
	box.mail = slices.Insert(box.mail, 0, mail...)
	b.grow(box, size)
}

func (b *mailboxes) grow(box *mailbox, size int) {
	box.bytes += size
	b.bytes += size
}

// open returns user's mailbox, without what has expired, as the most recently used.
func (b *mailboxes) open(user string) *mailbox {
	box := b.boxes[user]
	if box == nil {
		if len(b.boxes) >= b.max {
			oldest := b.recent.Front().Value.(*mailbox)
			for len(oldest.mail) > 0 {
				b.remove(oldest)
				b.lost++
			}
			b.tidy(oldest)
		}
		box = &mailbox{user: user}
		box.place = b.recent.PushBack(box)
		b.boxes[user] = box
	}
	b.recent.MoveToBack(box.place)
	b.expire(box, time.Now())
	return box
}

// first returns the oldest message in user's mailbox, nil if there is none.
func (b *mailboxes) first(user string) *mail {
	box := b.boxes[user]
	if box == nil {
		return nil
	}
	b.expire(box, time.Now())
	if len(box.mail) == 0 {
		b.tidy(box)
		return nil
	}
	return box.mail[0]
}

// take removes the message that first returned.
func (b *mailboxes) take(user string) {
	box := b.boxes[user]
	b.remove(box)
	b.tidy(box)
}

// empty removes all that is in user's mailbox and has not expired, and returns it.
func (b *mailboxes) empty(user string) (all []*mail) {
	for m := b.first(user); m != nil; m = b.first(user) {
		all = append(all, m)
		b.take(user)
	}
	return all
}

// cutLate removes what is late from user's mailbox, the newest there, and returns it: it
// waits elsewhere.
func (b *mailboxes) cutLate(user string) (late []*mail) {
	if b.first(user) == nil {
		return nil
	}
	box := b.boxes[user]
	n := len(box.mail)
	for n > 0 && box.mail[n-1].late {
		n--
		box.mail[n].late = false
		b.grow(box, -cost(box.mail[n].Message))
	}
	late = slices.Clone(box.mail[n:])
	box.mail = slices.Delete(box.mail, n, len(box.mail))
	b.tidy(box)
	return late
}

// remove takes the oldest message out of box.
func (b *mailboxes) remove(box *mailbox) {
	b.grow(box, -cost(box.mail[0].Message))
	box.mail[0].boxed = false
	box.mail[0] = nil
	box.mail = box.mail[1:]
}

func (b *mailboxes) expire(box *mailbox, now time.Time) {
	for len(box.mail) > 0 && b.expired(box.mail[0], now) {
		b.remove(box)
		b.lost++
	}
}

func (b *mailboxes) expired(m *mail, now time.Time) bool { return now.Sub(m.Created) >= b.ttl }

// tidy forgets box if it is empty.
func (b *mailboxes) tidy(box *mailbox) {
	if len(box.mail) == 0 {
		b.recent.Remove(box.place)
		delete(b.boxes, box.user)
	}
}

// sweep drops everything that has expired and returns when something may be next.
func (b *mailboxes) sweep(now time.Time) (next time.Time) {
	for _, box := range b.boxes {
		if b.expire(box, now); len(box.mail) > 0 {
			next = earlier(next, box.mail[0].Created.Add(b.ttl))
		}
		b.tidy(box)
	}
	return next
}
