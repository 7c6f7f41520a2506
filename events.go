package wschannels

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// Events are called at the turns of a channel's life; nil ones are skipped. They are
// called one at a time for one channel, on one of the package's goroutines, with no
// lock held. They may call any method but [ChannelBox.CloseAll] and
// [ChannelBox.Shutdown], which wait for them. Close does not wait for them.
//
// A panic is recovered: it goes to OnError as a *[PanicError], and closes the channel
// with 1011 if it is open. What an event returns is never shown to the peer, unless
// it is a *[CloseError].
type Events struct {
	// OnConnect is called before the first message. An error refuses the channel,
	// as an error of its handler would.
	OnConnect func(ctx context.Context, c *Channel) error

	// OnDisconnect is called exactly once, after the last message. The channel is in
	// no group and no registry any more; Groups tells which groups it has left. err
	// is what Err returns, a *CloseError.
	OnDisconnect func(c *Channel, err error)

	// OnMessage is called for each message in event mode, and only there. An error
	// goes to OnError and the channel lives, unless it is a *CloseError.
	OnMessage func(ctx context.Context, c *Channel, m Message) error

	// OnError is called with what went wrong on a channel and no call returned: bad
	// and limited messages in event mode, errors and panics of handlers and events,
	// breaches of protocol, failed writes. Its own panics are only counted and logged.
	//
	// c is nil where no single channel is concerned: the box's OnError, not those of
	// ChannelOptions, gets errors of the Broker, such as *[LostError], one at a time. If
	// 256 of them wait, further ones are only counted, and a last one says how many.
	OnError func(c *Channel, err error)

	// OnPresence is called when somebody comes into a group or goes, on whatever node:
	// see [PresenceEvent]. It needs Options.Presence; a channel's own is ignored. It is
	// called one at a time, for one group in the order in which this node heard of it,
	// and may call any method but CloseAll and Shutdown.
	//
	// A node is told about a group while it has members of it, from the join of the first,
	// included, to the leave of the last. Who was already there on other nodes is not
	// told: ask [ChannelBox.Presence].
	//
	// A user leaves when they have had no channel in the group, on any node, for
	// PresenceOptions.Grace. A channel without a user leaves at once, and so does a user
	// whose channel [Channel.SetUser] gives to another. All who are on a node that dies
	// leave when its lease has ended, up to a third of a lease later.
	//
	// Who comes and goes again before OnPresence had time for it is not told. While the
	// Broker cannot be reached, events of other nodes wait. Nodes that an outage kept from
	// renewing their lease have one more lease to come back, and nothing is told of it.
	OnPresence func(e PresenceEvent)
}

func (c *Channel) fireConnect(ctx context.Context) error {
	for _, e := range c.observers() {
		if e.OnConnect == nil {
			continue
		}
		if err := guard(func() error { return e.OnConnect(ctx, c) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *Channel) fireDisconnect() {
	for _, e := range c.observers() {
		if e.OnDisconnect == nil {
			continue
		}
		err := guard(func() error { e.OnDisconnect(c, c.err); return nil })
		if err != nil {
			c.report(err)
		}
	}
}

// fireMessage calls OnMessage and does what its error asks for.
func (c *Channel) fireMessage(ctx context.Context, m Message) {
	for _, e := range c.observers() {
		if e.OnMessage == nil {
			continue
		}
		err := guard(func() error { return e.OnMessage(ctx, c, m) })
		if err == nil {
			continue
		}
		_, panicked := err.(*PanicError)
		_, chosen := chosenEnd(err)
		switch {
		case c.ownEnd(err):
		case panicked:
			c.report(err)
			c.endWith(err)
		case chosen:
			c.endWith(err)
		default:
			c.report(err)
		}
		if c.Err() != nil {
			return
		}
	}
}

// ownEnd reports whether err says no more than that the channel has closed.
func (c *Channel) ownEnd(err error) bool {
	own := c.Err()
	if own != nil && err == own {
		return true
	}
	if own == nil || errors.As(err, new(*PanicError)) {
		return false
	}
	var end *CloseError
	return errors.As(err, &end) && end == own || errors.Is(err, context.Canceled)
}

// report tells OnError and the log. It must be called from the channel's own
// goroutine, like all events.
func (c *Channel) report(err error) {
	c.countPanic(err)
	for _, e := range c.observers() {
		if e.OnError == nil {
			continue
		}
		if p := guard(func() error { e.OnError(c, err); return nil }); p != nil {
			c.countPanic(p) // not reported: OnError is what failed
			c.log("wschannels: panic in OnError", p)
			c.closeAsync(&CloseError{Code: websocket.StatusInternalError, Err: p}, graceful)
		}
	}
	c.log("wschannels: channel error", err)
}

// log writes err on one line, and of an error of ours no payload.
func (c *Channel) log(msg string, err error) {
	b := c.inBox()
	if b == nil || b.opts.Logger == nil {
		return
	}
	failed := guard(func() error { c.logTo(b.opts.Logger, msg, err); return nil })
	c.countPanic(failed) // and nobody left to tell
}

func (c *Channel) logTo(l *slog.Logger, msg string, err error) {
	text := err.Error()
	var bad *PayloadError
	if errors.As(err, &bad) {
		text = bad.forLog()
	}
	level := slog.LevelWarn
	var end *CloseError
	switch {
	case passing(err):
		level = slog.LevelDebug // a peer can make as many as it likes
	case errors.As(err, &end) && end.Remote:
		level = slog.LevelInfo // broke while it was written to: mobile networks do that
	}
	l.LogAttrs(c.ctx, level, msg, slog.String("channel", c.id.String()), slog.String("error", printable(text)))
}

// printable returns s fit for a log that escapes nothing: the application's errors may
// quote a peer.
func printable(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0 {
		return s
	}
	s = strconv.Quote(s)
	return s[1 : len(s)-1]
}

// endWith closes the channel as the error of a handler or an event asks for.
func (c *Channel) endWith(err error) {
	if c.begin(endFor(err), 0) {
		c.finish(graceful)
	}
}

// endFor is how a handler's error ends its channel.
func endFor(err error) *CloseError {
	end, chosen := chosenEnd(err)
	_, panicked := err.(*PanicError)
	switch {
	case err == nil:
		return &CloseError{Code: websocket.StatusNormalClosure}
	case panicked:
	case chosen && sendable(end.Code):
		return &CloseError{Code: end.Code, Reason: cutReason(end.Reason), Err: end.Err}
	case errors.As(err, new(*PayloadError)):
		return &CloseError{Code: websocket.StatusUnsupportedData, Reason: "invalid message", Err: err}
	}
	return &CloseError{Code: websocket.StatusInternalError, Err: err}
}
