package wschannels

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ErrInvalidOption is matched by the error of every constructor that was given an
// option it cannot honour.
var ErrInvalidOption = errors.New("wschannels: invalid option")

func badOption(field, why string) error { return fmt.Errorf("%w: %s %s", ErrInvalidOption, field, why) }

// ChannelOptions configures one channel. Nil and the zero value mean "all
// defaults"; values that mean nothing (a negative duration, say) are refused.
type ChannelOptions struct {
	// PayloadType is how payloads travel. The default is JSON.
	PayloadType PayloadType

	// ID is the channel's ID. Zero: a random one. A box refuses a second channel
	// with the same.
	ID uuid.UUID

	// TTL closes the channel with [StatusExpired] after this long without a message
	// either way (pings are none); Touch renews it. 0: never.
	TTL time.Duration

	// MaxLifetime closes the channel with [StatusExpired] this long after Created,
	// whatever happens. 0: never.
	MaxLifetime time.Duration

	// ReadLimit is the size of one inbound message in bytes, after inflation, of at
	// most 1 GiB; a larger message closes with 1009. 0: 64 KiB.
	ReadLimit int64

	// ReadTimeout bounds the time from a message's first byte to its last; past it
	// the channel is closed with 1008. 0: 30 s. On a Conn that is neither accepted
	// by a box nor a *websocket.Conn it is not enforced.
	ReadTimeout time.Duration

	// QueueBytes is how many outbound payload bytes may wait, the message (or the
	// 256 KiB of messages) being written aside, in at most 65,536 messages, or one for
	// each 16 bytes of it if that is more. An empty message counts as 1. While
	// saved messages are replayed to it, as many bytes of live ones may wait behind
	// them. 0: 1 MiB.
	QueueBytes int

	// Slow is what a group send does to a member whose queue is full.
	Slow SlowPolicy

	// WriteTimeout closes the channel, with [ErrSlowConsumer], if one write to the
	// connection takes longer. 0: 10 s.
	WriteTimeout time.Duration

	// CloseTimeout bounds Close against any peer. 0: 5 s.
	CloseTimeout time.Duration

	// Heartbeat is when a ping is sent: after this long without inbound traffic, or
	// up to a tenth earlier, so that channels do not ping in step. 0: 25 s;
	// negative: no heartbeat.
	Heartbeat time.Duration

	// HeartbeatTimeout is how much later, without traffic still, the channel is
	// closed with [StatusStale]. Time in which nothing is read, because the
	// application has yet to take a message, does not count. 0: 20 s.
	HeartbeatTimeout time.Duration

	// MessageLimit is how many inbound messages any MessageWindow may hold; one past
	// it is discarded, and Receive (or OnError) says [ErrRateLimited]. 0: no limit.
	MessageLimit int

	// MessageWindow belongs to MessageLimit. 0: 1 min.
	MessageWindow time.Duration

	// Envelope, on JSON and Text channels, sends every message as
	//
	//	{"group":"…","epoch":"…","seq":7,"id":"…","data":…}
	//
	// so that a client knows its place and can come back with it. Group, epoch and
	// seq are there on group messages only; a Text channel's data is a JSON string.
	Envelope bool

	// Authenticator, if not nil, must succeed in Authenticate before anything is
	// sent to the channel or it joins a group: [ErrUnauthorized] until then. It is
	// for a token that comes as a message; for one that comes with the request, use
	// [Auth].
	Authenticator func(ctx context.Context, c *Channel, token string) error

	// AuthTimeout closes a channel that has not authenticated by then with
	// [StatusUnauthorized]. 0: 10 s.
	AuthTimeout time.Duration

	// Events are called after the box's own.
	Events Events

	// Codec encodes and decodes JSON. Nil: encoding/json. Group payloads are encoded
	// with the box's.
	Codec Codec
}

// SlowPolicy is what a group send does to a member whose queue is full.
type SlowPolicy uint8

// The policies.
const (
	SlowDisconnect SlowPolicy = iota // close the member with StatusSlowConsumer (default)
	SlowDropNewest                   // skip this message for this member
	SlowDropOldest                   // drop from the front of its queue, whatever is there, until the message fits
)

const (
	maxReadLimit = 1 << 30
	forever      = time.Duration(1 << 60) // 36 years: sums of a few are valid, too
)

// resolve returns a copy of o with the defaults filled in.
func (o *ChannelOptions) resolve() (*ChannelOptions, error) {
	var c ChannelOptions
	if o != nil {
		c = *o
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TTL", c.TTL}, {"MaxLifetime", c.MaxLifetime}, {"ReadTimeout", c.ReadTimeout}, {"WriteTimeout", c.WriteTimeout},
		{"CloseTimeout", c.CloseTimeout}, {"HeartbeatTimeout", c.HeartbeatTimeout},
		{"MessageWindow", c.MessageWindow}, {"AuthTimeout", c.AuthTimeout},
	} {
		if d.value < 0 {
			return nil, badOption("ChannelOptions."+d.name, "is negative")
		}
	}
	switch {
	case !c.PayloadType.valid():
		return nil, badOption("ChannelOptions.PayloadType", "is unknown: "+c.PayloadType.String())
	case c.Slow > SlowDropOldest:
		return nil, badOption("ChannelOptions.Slow", "is unknown")
	case c.ReadLimit < 0 || c.ReadLimit > maxReadLimit:
		return nil, badOption("ChannelOptions.ReadLimit", "is not between 1 byte and 1 GiB")
	case c.QueueBytes < 0:
		return nil, badOption("ChannelOptions.QueueBytes", "is negative")
	case c.MessageLimit < 0:
		return nil, badOption("ChannelOptions.MessageLimit", "is negative")
	case c.Envelope && c.PayloadType == Bytes:
		return nil, badOption("ChannelOptions.Envelope", "needs a JSON or Text channel")
	}
	c.ReadLimit = cmp.Or(c.ReadLimit, 64<<10)
	c.ReadTimeout = cmp.Or(c.ReadTimeout, 30*time.Second)
	c.QueueBytes = cmp.Or(c.QueueBytes, 1<<20)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 10*time.Second)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 5*time.Second)
	c.Heartbeat = min(forever, cmp.Or(c.Heartbeat, 25*time.Second))
	c.HeartbeatTimeout = min(forever, cmp.Or(c.HeartbeatTimeout, 20*time.Second))
	c.MessageWindow = cmp.Or(c.MessageWindow, time.Minute)
	c.AuthTimeout = cmp.Or(c.AuthTimeout, 10*time.Second)
	return &c, nil
}
