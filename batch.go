package wschannels

import (
	"slices"
	"sync"

	"github.com/coder/websocket"
)

// How much is handed to the connection in one call, unless a single message is longer.
// Larger is faster, but a goroutine that waits for a slow peer keeps it all that time,
// and there may be thousands.
const (
	maxBatch       = 64 << 10
	maxWorkerBatch = 256 << 10
)

// A batch is what one write call gets.
type batch struct {
	limit    int // bytes; 0: maxBatch
	frames   []*frame
	ping     bool
	pong     []byte // a frame
	farewell *farewell

	plain int64 // bytes of the frames' payloads before they were compressed
	mail  bool  // some of the frames are messages to users

	wire []byte   // as it goes over the wire, once laid out
	laid []*frame // what wire holds, if it holds nothing but frames
	sent int      // how much of it was written before there was no more room for it
}

// A farewell is a close frame: as code and reason, and ready for the wire.
type farewell struct {
	code   websocket.StatusCode
	reason string
	wire   []byte
	last   bool // after what is queued, instead of at once
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// free gives b back; nothing of it may be used afterwards.
func (b *batch) free() {
	b.reset()
	b.limit = 0
	clear(b.laid)
	b.laid = b.laid[:0]
	if cap(b.wire) > 2*maxWorkerBatch {
		b.wire = nil
	}
	batches.Put(b)
}

// reset empties b. What is laid out stays, as the next batch may be the same.
func (b *batch) reset() {
	clear(b.frames)
	*b = batch{limit: b.limit, frames: b.frames[:0], wire: b.wire, laid: b.laid}
}

func (b *batch) empty() bool {
	return len(b.frames) == 0 && b.onlyFrames()
}

func (b *batch) onlyFrames() bool { return !b.ping && b.pong == nil && b.farewell == nil }

// long reports whether b holds a message that is too long to be copied.
func (b *batch) long() bool {
	return len(b.frames) == 1 && len(b.frames[0].payload) > maxBatch
}

// ahead returns the control frames that go before all data, appended to p.
func (b *batch) ahead(p []byte) []byte {
	p = append(p, b.pong...)
	if b.ping {
		p = append(p, pingFrame...)
	}
	return p
}

// layOut returns b in one piece, which is b's. Members of one group often get the very
// same frames one after the other: these are laid out once.
func (b *batch) layOut() []byte {
	pure := b.onlyFrames()
	if pure && slices.Equal(b.frames, b.laid) {
		return b.wire
	}
	p := b.ahead(b.wire[:0])
	for _, f := range b.frames {
		p = f.appendTo(p)
	}
	clear(b.laid)
	b.laid = b.laid[:0]
	if pure {
		b.laid = append(b.laid, b.frames...)
	}
	if b.farewell != nil {
		p = append(p, b.farewell.wire...)
	}
	b.wire = p
	return p
}

// whole returns how many frames are wholly among the first n bytes of b.
func (b *batch) whole(n int) int {
	if n == len(b.wire) && !b.long() {
		return len(b.frames)
	}
	n -= len(b.pong)
	if b.ping {
		n -= len(pingFrame)
	}
	for i, f := range b.frames {
		if n -= int(f.hlen) + len(f.payload); n < 0 {
			return i
		}
	}
	return len(b.frames)
}
