package wschannels

// tell sees to it that OnPresence is told what there is to tell. t.mu is held.
func (t *presenceTable) tell() {
	if !t.telling {
		t.telling = true
		go t.tellAll() // ends when there is nothing to tell
	}
}

// tellAll calls OnPresence until there is nothing to tell. What came and went before its
// turn is not told: what is kept is who is there and who was told of, and no list of events.
func (t *presenceTable) tellAll() {
	more := true
	defer func() {
		if more { // OnPresence ended its goroutine
			go t.tellAll()
		}
	}()
	for {
		e, ok := t.nextEvent()
		if !ok {
			more = false
			return
		}
		if err := guard(func() error { t.listener(e); return nil }); err != nil {
			t.panicked(err)
		}
	}
}

// nextEvent returns what is to be told next; ok is false if there is nothing, and then
// tellAll is to end.
func (t *presenceTable) nextEvent() (e PresenceEvent, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.news.Front()
	if first == nil || t.ctx.Err() != nil {
		t.telling = false
		t.finished()
		return e, false
	}
	a := first.Value.(*attendee)
	a.told = len(a.records) > 0
	e = PresenceEvent{Group: a.group.name, Joined: a.told, Member: a.last}
	if a.told {
		e.Member = a.records[0].member()
	}
	t.settle(a)
	t.tidy(a.group)
	return e, true
}

// presencePanicked counts and logs a panic of OnPresence.
func (b *ChannelBox) presencePanicked(err error) {
	_ = counted(err, &b.counters.panics)
	b.logError("wschannels: panic in OnPresence", err)
}
