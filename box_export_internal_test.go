package wschannels

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

// Keys returns how many keys l remembers.
func Keys(l *RateLimiter) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(len(l.keys), l.recent.Len())
}
