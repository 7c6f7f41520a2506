package wschannels

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coder/websocket"
)

// ErrInvalidCloseCode is returned by Close and CloseAll for a code that may not be
// sent (RFC 6455 section 7.4).
var ErrInvalidCloseCode = errors.New("wschannels: invalid close code")

var errNoAnswer = fmt.Errorf("no answer from the peer: %w", io.ErrUnexpectedEOF)

// How a channel's connection ends.
type ending uint8

const (
	graceful ending = iota // what is queued, then a close frame, then the peer's answer
	prompt                 // the same without what is queued
	echo                   // the answer to the peer's close frame
	cut                    // nothing
)

// abandonment is how long after the connection was aborted its Read and Write may
// still take, before they are left to themselves. Only a Conn that breaks its
// contract needs it.
const abandonment = time.Second

// Close closes the channel: it sends what is queued, then the close frame, and waits
// for the answer, all within CloseTimeout; the connection is gone afterwards,
// whatever the peer does.
//
// Nil means that the peer answered, or that the channel was closed before: then Close
// waits until it is gone. A code that may not be sent is [ErrInvalidCloseCode], and
// the channel closes with 1011; a reason is cut to 123 bytes between two runes.
func (c *Channel) Close(code websocket.StatusCode, reason string) error {
	end, bad := closing(code, reason)
	if !c.begin(end, 0) {
		<-c.gone
		return bad
	}
	c.finish(graceful)
	if bad != nil {
		return bad
	}
	if err := c.link.farewellErr(); err != nil {
		return fmt.Errorf("wschannels: close: %w", err)
	}
	if c.link.readsAnswer() && !c.answered.Load() {
		return fmt.Errorf("wschannels: close: %w", errNoAnswer)
	}
	return nil
}

// closing returns the end that a local close with code and reason makes.
func closing(code websocket.StatusCode, reason string) (*CloseError, error) {
	if !sendable(code) {
		return &CloseError{Code: websocket.StatusInternalError}, fmt.Errorf("%w: %d", ErrInvalidCloseCode, code)
	}
	return &CloseError{Code: code, Reason: cutReason(reason)}, nil
}

// CloseNow closes the connection without sending what is queued and without a close
// frame: [Channel.Err] has code 1006. It also ends a Close that is under way. It
// does not wait for the peer.
func (c *Channel) CloseNow() error {
	if c.begin(&CloseError{Code: websocket.StatusAbnormalClosure}, 0) {
		c.finish(cut)
		return nil
	}
	c.link.abort()
	<-c.gone
	return nil
}

// closeAsync begins to close with end and leaves the rest to a goroutine.
func (c *Channel) closeAsync(end *CloseError, how ending) bool {
	began := c.begin(end, 0)
	if began {
		go c.finish(how) // ends within CloseTimeout
	}
	return began
}

// fail is closeAsync for an end that is also an error to report.
func (c *Channel) fail(end *CloseError, how ending) {
	if c.begin(end, isFault) {
		go c.finish(how) // ends within CloseTimeout
	}
}

// What begin is to know of its caller.
type origin uint8

const (
	byReader origin = 1 << iota // it reads the connection, and will go on
	isFault                     // a breach of protocol or a failed write: OnError is told
)

// begin is the start of closing: from here on the channel is closed for everybody,
// is in no group and in no registry, and takes nothing more. Only the first call
// returns true; its caller sees to it that finish is called, once.
func (c *Channel) begin(end *CloseError, from origin) bool {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return false
	}
	c.err = end
	c.gone, c.read = make(chan struct{}), make(chan struct{})
	c.fault = from&isFault != 0
	takeOver := !c.inRead && from&byReader == 0
	names := c.roomNames()
	rooms, registries := c.rooms, c.registry
	c.rooms, c.registry = nil, nil
	if len(names) > 0 {
		c.left = &names
	}
	alarms, alarm, box := c.timers, c.alarm, c.box
	c.mu.Unlock()

	// Out of everything first: who is woken by the end, and counts the members, must
	// not find it there.
	for _, m := range rooms {
		m.room.leave(c, m)
	}
	for _, r := range registries {
		r.Remove(c)
	}
	c.queue.refuse()
	if box != nil {
		box.channelCloses(c, end, from&isFault != 0)
	}
	c.cancel(end)
	if alarms != nil {
		alarms.stop(alarm)
	}
	if takeOver {
		go c.drain() // ends with the connection
	}
	return true
}

// finish takes the connection down, within CloseTimeout and a little, and hands back
// what was not written.
func (c *Channel) finish(how ending) {
	end := c.err // set by begin, and never again
	timer := time.NewTimer(c.opts.CloseTimeout)
	defer timer.Stop()
	switch how {
	case graceful, prompt:
		c.queue.finish(&farewell{
			code: end.Code, reason: end.Reason, last: how == graceful,
			wire: controlFrame(opClose, closePayload(end.Code, end.Reason)),
		})
		if box := c.inBox(); !c.awaitAnswer(timer.C) && box != nil {
			box.counters.unanswered.Add(1)
		}
	case echo:
		c.await(timer.C, nil)
	}
	c.link.abort()
	timer.Reset(abandonment)
	c.await(timer.C, c.read)

	c.giveBack(c.queue.terminate())
	c.mu.Lock()
	served := c.served
	close(c.gone)
	c.mu.Unlock()
	if !served {
		go c.retire() // the last of the channel's goroutines
	}
}

// awaitAnswer waits until the close frame is written and answered, and returns false if
// time was up before.
func (c *Channel) awaitAnswer(timeUp <-chan time.Time) bool {
	if !c.await(timeUp, nil) {
		return false
	}
	if c.fault {
		go c.link.hangUp() // ends with the connection
	}
	return !c.link.readsAnswer() || c.await(timeUp, c.read)
}

// await waits until the writer has stopped and, unless it is nil, answer is closed, and
// returns false if time was up before.
func (c *Channel) await(timeUp <-chan time.Time, answer <-chan struct{}) bool {
	quiet := c.queue.quiet()
	for quiet != nil || answer != nil {
		select {
		case <-quiet:
			quiet = nil
		case <-answer:
			answer = nil
		case <-timeUp:
			return false
		}
	}
	return true
}

// retire is the very end: the last events, and nothing counts the channel any more.
func (c *Channel) retire() {
	c.mu.Lock()
	box, refused := c.box, c.box != nil && !c.entered
	c.mu.Unlock()
	defer func() { // also if an event ends its goroutine
		if box != nil {
			box.channelGone(c)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.left = nil
		c.retired = true
		if c.waiters != nil {
			close(c.waiters)
		}
	}()
	if refused {
		return
	}
	defer c.fireDisconnect()
	if c.fault {
		c.report(c.err)
	}
}

// whenRetired returns a channel that is closed once retire is done.
func (c *Channel) whenRetired() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiters == nil {
		c.waiters = make(chan struct{})
		if c.retired {
			close(c.waiters)
		}
	}
	return c.waiters
}
