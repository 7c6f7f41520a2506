package wschannels

import "time"

// What must be empty or bounded, and no method tells.

// PendingAlarms returns how many timers b has set.
func PendingAlarms(b *ChannelBox) int {
	b.timers.mu.Lock()
	defer b.timers.mu.Unlock()
	return len(b.timers.heap)
}

// Rooms returns how many groups b has in its table, empty ones included.
func Rooms(b *ChannelBox) int {
	b.rooms.mu.Lock()
	defer b.rooms.mu.Unlock()
	return len(b.rooms.table)
}

// Mailboxes returns how many b has, without dropping what has expired.
func Mailboxes(b *ChannelBox) int {
	b.users.mu.Lock()
	defer b.users.mu.Unlock()
	return len(b.users.mail.boxes)
}

// HoldTimers lets no timer of b fire for d, as if the process did not run.
func HoldTimers(b *ChannelBox, d time.Duration) {
	b.timers.set(&alarm{waker: holdup(d)}, time.Now())
}

type holdup time.Duration

func (h holdup) wake(time.Time) time.Time {
	time.Sleep(time.Duration(h))
	return time.Time{}
}

// PresenceKept returns of how many nodes and groups b keeps who is there.
func PresenceKept(b *MemoryBroker) (nodes, groups int) {
	b.presence.mu.Lock()
	defer b.presence.mu.Unlock()
	return len(b.presence.nodes), len(b.presence.groups)
}

// PendingSends returns how many group sends wait for their copies.
func PendingSends(b *ChannelBox) (n int) {
	for _, r := range b.rooms.all() {
		r.stream.mu.Lock()
		n += len(r.stream.own)
		r.stream.mu.Unlock()
	}
	return n
}

// CatchingUp returns how many groups have something to catch up with, or to be subscribed.
func CatchingUp(b *ChannelBox) int {
	c := b.rooms.catchup
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.urgent.Len() + c.calm.Len() + len(c.later) + c.workers
}

// Echoes returns how many messages b remembers that reached it alone.
func Echoes(b *ChannelBox) int {
	e := &b.rooms.echoes
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.had)
}

// ForgetPresence makes b lose what nodes have said, as an engine does that has lost its data.
func ForgetPresence(b *MemoryBroker) { b.presence.clear() }

// PresenceSize returns how much a box keeps for presence.
func PresenceSize(b *ChannelBox) (n struct{ Groups, Records, Attendees, Nodes, Graces, News, Work int }) {
	t := b.presence
	t.mu.Lock()
	defer t.mu.Unlock()
	n.Groups, n.Nodes, n.Graces, n.News = len(t.groups), len(t.nodes), t.graces.Len(), t.news.Len()
	n.Work = t.unsaid.Len() + t.reads.Len()
	for _, g := range t.groups {
		n.Records += len(g.records)
		n.Attendees += len(g.attendees)
		n.Work += g.unsaid.Len()
	}
	return n
}

// Settled reports whether b listens where it should, and has put back and taken all mail.
func Settled(b *ChannelBox) bool {
	if b.direct == nil {
		return true
	}
	ls := b.direct.listening
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.working.n == 0 && len(ls.later) == 0
}

// Lines returns at how many addresses b listens, or is to.
func Lines(b *ChannelBox) int {
	ls := b.direct.listening
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.lines)
}
