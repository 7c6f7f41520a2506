package natsbroker

import (
	"context"

	"github.com/wschannels/wschannels"
)

// trims remembers where a group's history was how long, so that what is over its limits can
// be removed from the stream. Readers look at the limits themselves: this is about room
// alone, and keeps it within an eighth of them.
type trims struct {
	marks []trimMark // oldest first
}

type trimMark struct {
	at    uint64 // the stream's sequence
	bytes uint64 // saved up to there
	epoch [8]byte
}

// note looks at a new tail.
func (m *trims) note(t *tail, limits *wschannels.HistoryLimits) {
	if t.savedAt != t.at {
		return // nothing has been saved
	}
	if n := len(m.marks); n > 0 {
		last := &m.marks[n-1]
		if last.epoch == t.epoch && t.bytes-last.bytes < uint64(limits.Bytes/8) {
			return
		}
		if last.epoch != t.epoch {
			m.marks = nil
		}
	}
	if len(m.marks) == 32 { // nothing has been removed for long: others do that
		m.marks = append(m.marks[:0], m.marks[16:]...)
	}
	m.marks = append(m.marks, trimMark{t.at, t.bytes, t.epoch})
}

// over returns the sequence up to which everything is over the limits, 0 if nothing is.
func (m *trims) over(t *tail, limits *wschannels.HistoryLimits) (at uint64) {
	for len(m.marks) > 0 && m.marks[0].epoch == t.epoch && t.bytes-m.marks[0].bytes >= uint64(limits.Bytes) {
		at = m.marks[0].at
		m.marks = m.marks[1:]
	}
	return at
}

// What one node leaves on a group's "u" before it removes that.
const (
	maxUnused      = 256
	maxUnusedBytes = 256 << 10
)

// untidy returns what removes from the stream what nobody needs any more, now that ops are
// in it; nil: there is nothing.
func (t *topic) untidy(ops []*op, now *tail) func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	over := t.trims.over(now, &t.shard.b.opts.History)
	unused := false
	if !ops[0].save {
		t.unused++
		for _, o := range ops {
			t.ubytes += len(o.data)
		}
		if unused = t.unused >= maxUnused || t.ubytes >= maxUnusedBytes; unused {
			t.unused, t.ubytes = 0, 0
		}
	}
	if over == 0 && !unused {
		return nil
	}
	at := now.at
	return func() { t.tidy(over, unused, at) }
}

// tidy removes what is saved up to the sequence over, and what is unused before at. What
// fails here is done the next time, and MaxMsgsPerSubject and MaxAge bound it.
func (t *topic) tidy(over uint64, unused bool, at uint64) {
	b := t.shard.b
	ctx, cancel, err := b.call(context.Background())
	if err != nil {
		return
	}
	defer cancel()
	if over > 0 {
		_ = b.order.purge(ctx, t.subject("s"), over+1)
	}
	if unused {
		_ = b.order.purge(ctx, t.subject("u"), at)
	}
}
