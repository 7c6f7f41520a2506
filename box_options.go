package wschannels

import (
	"cmp"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// Options configures [New]. The zero value means all defaults.
type Options struct {
	Channel ChannelOptions // defaults of the channels that the box accepts
	Events  Events         // of all channels in the box

	// Accept is for the handshake: origin patterns, subprotocols, compression. The
	// callbacks run where a channel is read: nothing else is read meanwhile.
	//
	// With a CompressionMode, compressed messages (RFC 7692) are read, at 32 KiB a
	// connection if the peer uses context takeover, and limited by what they inflate
	// to. What is sent is compressed from CompressionThreshold bytes on (0: 512, with
	// CompressionContextTakeover 128), each message by itself and, to a group, once for
	// all members. Limits and Stats count payloads as they are without compression.
	Accept websocket.AcceptOptions

	History           HistoryLimits // per group
	HistoryTotalBytes int           // of all groups together. 0: 256 MiB; the least recently written group goes first

	MailboxBytes int           // per user, counted as HistoryLimits.Bytes; oldest out first. 0: 64 KiB; negative: no mailboxes
	MailboxTTL   time.Duration // 0: 1 h
	MaxMailboxes int           // 0: 10,000; the least recently used goes first

	// MaxChannels limits how many channels may be in the box. Past it requests get
	// 503 (1013 if it filled during the upgrade), and Add ErrTooManyChannels.
	// 0: no limit.
	MaxChannels int

	MaxGroupsPerChannel int // 0: 128; ErrTooManyGroups
	MaxGroups           int // with members or history. 0: 1,000,000; ErrTooManyGroups

	// Broker carries group messages between boxes, and what else it can; see [Broker].
	// Nil: a [MemoryBroker] of the box's own. The box does not close a broker that it was
	// given, which has to outlive it; History and HistoryTotalBytes are then that one's
	// business, and, if it is a [MailboxBroker], MaxMailboxes bounds only what is on its
	// way.
	Broker Broker

	// BrokerTimeout bounds whatever waits for the Broker, beside the context of the call
	// that does. 0: 5 s.
	BrokerTimeout time.Duration

	// LocalFallback is for when the Broker cannot reach its engine: a group send reaches
	// the members of this box at least ([SendResult].Local), and Join succeeds, for what
	// is sent from now on. Else they are errors that match [ErrUnavailable] or
	// [ErrUnknownOutcome].
	LocalFallback bool

	Node string // the start of the box's name among those of its Broker; see [ChannelBox.Node]

	// Presence records on all nodes who is in which group, for [ChannelBox.Presence] and
	// Events.OnPresence. It needs a Broker that is a [PresenceBroker], which is told of
	// each join and each leave. Nil: it is not recorded.
	Presence *PresenceOptions

	// Logger gets what OnError gets, without payloads: single bad messages at the level
	// Debug, connections that broke at Info, the rest at Warn. Nil: silent.
	Logger *slog.Logger
}

func (o *Options) setDefaults() error {
	for _, n := range []struct {
		name  string
		value int
	}{
		{"HistoryTotalBytes", o.HistoryTotalBytes}, {"MailboxTTL", int(o.MailboxTTL)}, {"MaxMailboxes", o.MaxMailboxes},
		{"BrokerTimeout", int(o.BrokerTimeout)}, {"MaxChannels", o.MaxChannels}, {"MaxGroupsPerChannel", o.MaxGroupsPerChannel}, {"MaxGroups", o.MaxGroups},
	} {
		if n.value < 0 {
			return badOption("Options."+n.name, "is negative")
		}
	}
	if o.Node != "" && !validName(o.Node) {
		return badOption("Options.Node", "is not 1 to 255 bytes of UTF-8 without control characters")
	}
	if o.Channel.ID != uuid.Nil {
		return badOption("Options.Channel.ID", "would be that of every channel")
	}
	for _, p := range o.Accept.OriginPatterns {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return badOption("Options.Accept.OriginPatterns", fmt.Sprintf("has a malformed pattern %q", p))
		}
	}
	if _, err := o.History.Resolve(); err != nil {
		return err
	}
	presence, err := o.Presence.resolve()
	switch {
	case err != nil:
		return err
	case presence == nil && o.Events.OnPresence != nil:
		return badOption("Options.Events.OnPresence", "needs Options.Presence")
	}
	o.Presence = presence
	o.Accept.OriginPatterns = slices.Clone(o.Accept.OriginPatterns)
	o.Accept.Subprotocols = slices.Clone(o.Accept.Subprotocols)
	o.MailboxBytes = cmp.Or(o.MailboxBytes, 64<<10)
	o.MailboxTTL = cmp.Or(o.MailboxTTL, time.Hour)
	o.MaxMailboxes = cmp.Or(o.MaxMailboxes, 10_000)
	o.MaxGroupsPerChannel = cmp.Or(o.MaxGroupsPerChannel, 128)
	o.MaxGroups = cmp.Or(o.MaxGroups, 1_000_000)
	o.BrokerTimeout = cmp.Or(o.BrokerTimeout, 5*time.Second)
	if o.Accept.InsecureSkipVerify && o.Logger != nil {
		o.Logger.Warn("wschannels: InsecureSkipVerify: pages of any origin may connect with their users' cookies")
	}
	return nil
}
