package wschannels

import (
	"fmt"
	"time"
)

var errNoAuth = fmt.Errorf("%w: not authenticated in time", ErrUnauthorized)

// notReading is the time of a read that is not under way.
const notReading = -1

// late is when a deadline has passed so long ago that this process did not run: the peer
// may be innocent.
const late = time.Second

// heartbeat is what is known about the peer's being alive.
type heartbeat struct {
	pinged  int64 // when the last ping was sent
	staleAt int64 // when it must have been answered
}

// startTimers puts the channel's deadlines under t.
func (c *Channel) startTimers(t *timers) {
	a := &alarm{waker: c}
	c.mu.Lock()
	if c.timers == t {
		c.mu.Unlock()
		return
	}
	old, oldAlarm := c.timers, c.alarm
	c.timers, c.alarm = t, a
	closed := c.err != nil
	c.mu.Unlock()
	if old != nil {
		old.stop(oldAlarm)
	}
	if !closed {
		t.set(a, c.wake(time.Now()))
	}
}

// wake does what is due on the channel and returns when something may be next.
func (c *Channel) wake(now time.Time) (next time.Time) {
	if expires, ok := c.ExpiresAt(); ok {
		if !now.Before(expires) {
			c.closeAsync(&CloseError{Code: StatusExpired, Reason: "expired", Err: ErrExpired}, graceful)
			return time.Time{}
		}
		next = expires
	}
	if !c.authed.Load() {
		limit := c.created.Add(c.opts.AuthTimeout)
		if !now.Before(limit) {
			c.closeAsync(&CloseError{Code: StatusUnauthorized, Reason: "not authenticated in time", Err: errNoAuth}, graceful)
			return time.Time{}
		}
		next = earlier(next, limit)
	}
	if c.opts.Heartbeat > 0 {
		beat, stale := c.checkHeartbeat(now)
		if stale {
			c.closeAsync(&CloseError{Code: StatusStale, Reason: "no sign of life", Err: ErrStale}, prompt)
			return time.Time{}
		}
		next = earlier(next, beat)
	}
	return next
}

// checkHeartbeat sends a ping if one is due, and says when to look again, or that
// the peer has been silent for too long.
func (c *Channel) checkHeartbeat(at time.Time) (next time.Time, stale bool) {
	now := int64(at.Sub(c.created))
	interval, timeout := int64(c.opts.Heartbeat), int64(c.opts.HeartbeatTimeout)
	pause := interval - interval/(10*256)*int64(c.id[15]) // so that channels do not ping in step
	c.mu.Lock()
	defer c.mu.Unlock()
	reading := c.reading.Load()
	if reading == notReading {
		// Nobody would see the answer, so its absence means nothing. But a connection
		// that is gone will not take pings for long.
		due := max(c.heard.Load(), c.beat.pinged) + pause
		if now >= due {
			c.beat.pinged, due = now, now+pause
			c.queue.control(true, nil)
		}
		return c.created.Add(time.Duration(due)), false
	}
	quietSince := max(c.heard.Load(), reading)
	due := quietSince + pause
	switch {
	case c.beat.pinged <= quietSince: // or never
		if now < due {
			return c.created.Add(time.Duration(due)), false
		}
		c.beat = heartbeat{pinged: now, staleAt: quietSince + interval + timeout}
		c.reprieve = false
		if now > quietSince+interval {
			c.beat.staleAt = now + timeout
		}
		c.queue.control(true, nil)
	case now >= c.beat.staleAt:
		if c.reprieve || now < c.beat.staleAt+int64(late) {
			return time.Time{}, true
		}
		c.beat, c.reprieve = heartbeat{pinged: now, staleAt: now + timeout}, true
		c.queue.control(true, nil)
	}
	// Or when the next ping may be due, should this one have been answered by then.
	return c.created.Add(time.Duration(min(c.beat.staleAt, now+pause))), false
}

var pingFrame = controlFrame(opPing, nil)

// pingFailed closes a channel that could not be pinged, if nothing is being read: else
// reading, or the heartbeat, finds out what that means.
func (c *Channel) pingFailed(err error) {
	if c.reading.Load() == notReading {
		c.fail(lost(err), cut)
	}
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
