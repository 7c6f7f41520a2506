package wschannels

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"
)

// memoryPost is the [MailboxBroker] of a [MemoryBroker].
type memoryPost struct {
	max int

	mu     sync.Mutex // guards what follows
	boxes  map[string]*memoryMailbox
	recent list.List // of boxes, the one that was put into longest ago first
	closed bool
}

// A memoryMailbox is never empty.
type memoryMailbox struct {
	user   string
	mail   []Message
	bytes  int
	limits MailboxLimits // of the last that put something in
	place  *list.Element
}

// PutMail is [MailboxBroker]'s. Past MemoryBrokerOptions.MaxMailboxes, what was in the
// mailbox that goes is lost, too.
func (b *MemoryBroker) PutMail(ctx context.Context, user string, msgs []Message, front bool, limits MailboxLimits) (kept, lost int, err error) {
	if ctx.Err() != nil {
		return 0, 0, context.Cause(ctx)
	}
	p := &b.post
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, 0, ErrClosed
	}
	now := time.Now()
	lost = p.forgetExpired(now)
	fit := slices.DeleteFunc(slices.Clone(msgs), func(m Message) bool { return cost(m) > limits.Bytes })
	lost += len(msgs) - len(fit)
	if len(fit) == 0 {
		return 0, lost, nil
	}
	box := p.boxes[user]
	if box == nil {
		if len(p.boxes) >= p.max {
			oldest := p.recent.Front().Value.(*memoryMailbox)
			lost += len(oldest.mail)
			p.remove(oldest)
		}
		box = p.add(user)
	}
	box.limits = limits
	p.recent.MoveToBack(box.place)
	before := len(box.mail)
	if front {
		box.mail = slices.Concat(fit, box.mail)
	} else {
		box.mail = append(box.mail, fit...)
	}
	for _, m := range fit {
		box.bytes += cost(m)
	}
	gone := box.trim(now)
	if lost += gone; len(box.mail) == 0 {
		p.remove(box)
	}
	if !front {
		gone -= before // they are older
	}
	return len(fit) - max(0, gone), lost, nil
}

// TakeMail is [MailboxBroker]'s.
func (b *MemoryBroker) TakeMail(ctx context.Context, user string) ([]Message, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p := &b.post
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	box := p.boxes[user]
	if box == nil {
		return nil, nil
	}
	box.trim(time.Now())
	p.remove(box)
	return box.mail, nil
}

// trim removes the oldest until what is left is neither too old nor too much, and
// returns how many went.
func (box *memoryMailbox) trim(now time.Time) (gone int) {
	for len(box.mail) > 0 && (box.bytes > box.limits.Bytes || box.expired(box.mail[0], now)) {
		box.bytes -= cost(box.mail[0])
		box.mail[0] = Message{} // it may be long until the slice moves
		box.mail = box.mail[1:]
		gone++
	}
	return gone
}

func (box *memoryMailbox) expired(m Message, now time.Time) bool {
	return now.Sub(m.Created) >= box.limits.TTL
}

// forgetExpired lets go of the mailboxes whose newest message is too old, and returns
// how many messages that were. p.mu is held.
func (p *memoryPost) forgetExpired(now time.Time) (lost int) {
	for e := p.recent.Front(); e != nil; e = p.recent.Front() {
		box := e.Value.(*memoryMailbox)
		if !box.expired(box.mail[len(box.mail)-1], now) {
			break
		}
		lost += len(box.mail)
		p.remove(box)
	}
	return lost
}

func (p *memoryPost) add(user string) *memoryMailbox {
	if p.boxes == nil {
		p.boxes = make(map[string]*memoryMailbox)
	}
	box := &memoryMailbox{user: user}
	box.place = p.recent.PushBack(box)
	p.boxes[user] = box
	return box
}

func (p *memoryPost) remove(box *memoryMailbox) {
	p.recent.Remove(box.place)
	delete(p.boxes, box.user)
}

// counts returns how many mailboxes there are, and what they hold.
func (p *memoryPost) counts() (boxes, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, box := range p.boxes {
		box.trim(now)
		if len(box.mail) == 0 {
			p.remove(box)
		}
		bytes += box.bytes
	}
	return len(p.boxes), bytes
}

func (p *memoryPost) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.boxes = true, nil
	p.recent.Init()
}
