package wschannelstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/coder/websocket"
)

// Push has the peer send a copy of data. It never waits: what has not been read
// is kept, without limit and in order. After Hangup, and after the code under
// test has begun to close the connection, it has no effect.
func (c *Conn) Push(typ websocket.MessageType, data []byte) {
	m := message{typ, append([]byte{}, data...)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hungUp == nil && c.asked == nil && c.ended == nil {
		c.in = append(c.in, m)
		c.mu.changed()
	}
}

// PushJSON pushes v as JSON in a text message. It panics if v cannot be
// marshalled, which is a mistake of the test; to send malformed JSON, use Push.
func (c *Conn) PushJSON(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("wschannelstest: PushJSON of a value that has no JSON: %v", err))
	}
	c.Push(websocket.MessageText, data)
}

// Next returns the next message that was written and has reached the peer; it is
// the caller's to keep. It waits for one until ctx ends, and then returns the
// cause of ctx. If a message is there, ctx does not matter, so one that has ended
// asks whether anything was written.
//
// After the last message of a connection that is gone, the error is the end as
// the peer saw it: it wraps a [websocket.CloseError] if a close frame reached
// the peer, else [io.EOF].
func (c *Conn) Next(ctx context.Context) (websocket.MessageType, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case len(c.out) > 0:
			m := c.out[0]
			c.out = c.out[1:]
			return m.typ, m.data, nil
		case c.seen != nil:
			return 0, nil, opError("next", c.seen)
		case ctx.Err() != nil:
			return 0, nil, opError("next", context.Cause(ctx))
		default:
			c.mu.wait(ctx.Done())
		}
	}
}

// Hangup has the peer close the connection: after all that was pushed before,
// Read returns an error that wraps a [websocket.CloseError] of code and reason
// and answers with the same close frame. Until it has come to that, the code
// under test can still write, and Next returns what it writes.
//
// Code [websocket.StatusNoStatusRcvd] (1005) is a close frame without a code;
// [websocket.StatusAbnormalClosure] (1006), or -1, is a connection lost without
// one, for which Read returns [io.EOF]. Of these, the reason is ignored. Hangup
// panics if code and reason do not fit in a close frame; for the errors of
// protocol violations, use FailReads. Hanging up again, or after the connection
// is gone, has no effect.
func (c *Conn) Hangup(code websocket.StatusCode, reason string) {
	var end error = io.EOF
	if code != websocket.StatusAbnormalClosure && code != -1 {
		ce, err := closeError(code, reason)
		if err != nil {
			panic(fmt.Sprintf("wschannelstest: Hangup: %v", err))
		}
		end = ce
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hungUp != nil || c.ended != nil {
		return
	}
	c.hungUp = end
	if c.asked != nil { // Close waits for a stalled peer, which will not see its frame
		c.endHungUp(nil)
	}
	c.mu.changed()
}

// FailReads makes every Read fail with an error that wraps err, a waiting one
// included, once all that was or will be pushed is read; a Hangup is not seen.
// The connection is not gone: nil undoes it.
func (c *Conn) FailReads(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readErr = err
	c.mu.changed()
}

// FailWrites makes every Write, Ping and Close fail with an error that wraps
// err, waiting ones included, and deliver nothing. A Close that fails ends the
// connection all the same; otherwise it is not gone: nil undoes it.
func (c *Conn) FailWrites(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeErr = err
	c.mu.changed()
}

// Stall stops the peer from reading: Write, Ping and Close wait until Resume.
// What the peer sends, and what Next has still to return, is unaffected.
func (c *Conn) Stall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled = true
}

// Resume undoes Stall: the peer reads all that waits, in the order of the calls,
// before Resume returns.
func (c *Conn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled = false
	c.unblock()
}

// Closed says how the code under test has closed the connection: with which code
// and reason it called Close, whether or not the peer got to see that (see
// Next). If it called CloseNow first, or Close with what may not be sent, the
// code is 1006 and the reason empty. ok is false if it has called neither, so
// that the end of a test can check that the connection was not forgotten.
func (c *Conn) Closed() (code websocket.StatusCode, reason string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil {
		return 0, "", false
	}
	return c.asked.Code, c.asked.Reason, true
}

// Pings returns how many pings have reached the peer.
func (c *Conn) Pings() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pings
}

// closeError checks that code and reason fit in a close frame. An empty one,
// code 1005, has no reason.
func closeError(code websocket.StatusCode, reason string) (websocket.CloseError, error) {
	switch {
	case code == websocket.StatusNoStatusRcvd:
		return websocket.CloseError{Code: code}, nil
	case code < 1000, 1003 < code && code < 1007, 1014 < code && code < 3000, 4999 < code:
		return websocket.CloseError{}, fmt.Errorf("status code %d may not be sent", int(code))
	case len(reason) > 123:
		return websocket.CloseError{}, errors.New("reason of more than 123 bytes")
	}
	return websocket.CloseError{Code: code, Reason: reason}, nil
}

// opError adds to err, if there is one, where it comes from.
func opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("wschannelstest: %s: %w", op, err)
}
