package wschannels

import (
	"errors"
	"sync/atomic"

	"github.com/coder/websocket"
)

// Stats is what a box holds now and has done since it was made. Every message that
// was accepted for a channel or a mailbox is, once nothing is being written, either
// queued, sent or dropped.
type Stats struct {
	Channels, Groups, Mailboxes int // Groups: with local members

	QueuedMessages, QueuedBytes int64 // waiting in channels' queues; a message being written is neither queued nor sent

	// HistoryBytes counts as HistoryLimits.Bytes does, MailboxBytes too. The histories and
	// mailboxes of a Broker that is not in this process are not counted.
	HistoryBytes, MailboxBytes int64

	// Channels. Refused: 503s, refusals by middleware or OnConnect, and those that were
	// gone before they were in the box.
	Accepted, Refused, Disconnected uint64

	Received, Sent, BytesReceived, BytesSent uint64 // messages and payload bytes. Sent: handed to the operating system

	// Dropped: SendResult's Dropped and Evicted, what closing left in queues, what
	// mailboxes lost. History that makes room is not loss.
	Dropped uint64

	SlowClosed, Expired, Stale uint64 // channels closed for these reasons
	RateLimited, Invalid       uint64 // inbound messages that were discarded
	Panics                     uint64 // of the application's code, recovered

	// BadHandshakes are requests that were no handshake, or of an origin that is not
	// allowed: answered with 4xx, and never a channel.
	BadHandshakes uint64

	// Channels closed for what their peers did: broke the protocol (1002, 1007), sent
	// a message over ReadLimit (1009), took longer than ReadTimeout for one (1008),
	// flooded with control frames or empty fragments (1008), did not authenticate
	// within AuthTimeout (4001).
	Violations, TooLarge, TimedOut, Flooded, Unauthenticated uint64

	// Unanswered are connections that were cut as closing them, for whatever reason,
	// took CloseTimeout.
	Unanswered uint64

	BrokerErrors uint64 // errors of the Broker that no call returned; OnError and the log get them
	Lost         uint64 // messages that members here missed; see [LostError]
	LocalSends   uint64 // to groups and users, that reached this box alone; see SendResult.Local

	GroupsRefused  uint64 // joins and saved messages past MaxGroups or MaxGroupsPerChannel
	HistoryEvicted uint64 // saved messages that made room or grew old; as HistoryBytes
}

// counters are those that no channel keeps.
type counters struct {
	accepted, refused, badHandshakes, disconnected                 atomic.Uint64
	slowClosed, expired, stale, unauthenticated, unanswered        atomic.Uint64
	violations, tooLarge, timedOut, flooded, groupsRefused, panics atomic.Uint64
	brokerErrors, lost, localSends                                 atomic.Uint64
}

// end counts why a channel closes. fault says that it is the peer's, or the connection's.
func (n *counters) end(end *CloseError, fault bool) {
	switch {
	case errors.Is(end.Err, ErrSlowConsumer):
		n.slowClosed.Add(1)
	case errors.Is(end.Err, ErrExpired):
		n.expired.Add(1)
	case errors.Is(end.Err, ErrStale):
		n.stale.Add(1)
	case end.Err == errNoAuth:
		n.unauthenticated.Add(1)
	case !fault || end.Remote:
	case end.Err == errReadTimeout:
		n.timedOut.Add(1)
	case end.Code == websocket.StatusPolicyViolation:
		n.flooded.Add(1)
	case end.Code == websocket.StatusMessageTooBig:
		n.tooLarge.Add(1)
	case end.Code == websocket.StatusProtocolError, end.Code == websocket.StatusInvalidFramePayloadData:
		n.violations.Add(1)
	}
}

// Stats returns the box's figures. It visits every channel, briefly.
func (b *ChannelBox) Stats() Stats {
	s := Stats{
		Channels:     b.registry.Len(),
		Groups:       len(b.rooms.sizes()),
		Accepted:     b.counters.accepted.Load(),
		Refused:      b.counters.refused.Load(),
		Disconnected: b.counters.disconnected.Load(),
		SlowClosed:   b.counters.slowClosed.Load(),
		Expired:      b.counters.expired.Load(),
		Stale:        b.counters.stale.Load(),
		Panics:       b.counters.panics.Load(),

		BadHandshakes:   b.counters.badHandshakes.Load(),
		Violations:      b.counters.violations.Load(),
		TooLarge:        b.counters.tooLarge.Load(),
		TimedOut:        b.counters.timedOut.Load(),
		Flooded:         b.counters.flooded.Load(),
		Unauthenticated: b.counters.unauthenticated.Load(),
		Unanswered:      b.counters.unanswered.Load(),
		GroupsRefused:   b.counters.groupsRefused.Load(),
		BrokerErrors:    b.counters.brokerErrors.Load(),
		Lost:            b.counters.lost.Load(),
		LocalSends:      b.counters.localSends.Load(),
	}
	if m := b.engine.memory; m != nil {
		bytes, evicted := m.historyCounts()
		s.HistoryBytes, s.HistoryEvicted = int64(bytes), evicted
	}
	boxes, bytes, lost := b.users.counts()
	s.Mailboxes, s.MailboxBytes = boxes, int64(bytes)
	if m := b.engine.memory; m != nil {
		boxes, bytes = m.post.counts()
		s.Mailboxes, s.MailboxBytes = s.Mailboxes+boxes, s.MailboxBytes+int64(bytes)
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	s.add(&b.gone)
	s.Dropped += lost
	for c := range b.live {
		c.addTo(&s)
	}
	return s
}

// addTo adds what c counted.
func (c *Channel) addTo(s *Stats) {
	n := c.queue.counts()
	s.add(&Stats{
		QueuedMessages: n.queued, QueuedBytes: n.queuedBytes,
		Sent: n.sent, BytesSent: n.sentBytes, Dropped: n.dropped,
		Received: c.tally.received.Load(), BytesReceived: c.tally.receivedBytes.Load(),
		RateLimited: c.tally.rateLimited.Load(), Invalid: c.tally.invalid.Load(), Panics: c.tally.panics.Load(),
	})
}

// add adds what channels count.
func (s *Stats) add(o *Stats) {
	s.QueuedMessages += o.QueuedMessages
	s.QueuedBytes += o.QueuedBytes
	s.Received += o.Received
	s.Sent += o.Sent
	s.BytesReceived += o.BytesReceived
	s.BytesSent += o.BytesSent
	s.Dropped += o.Dropped
	s.RateLimited += o.RateLimited
	s.Invalid += o.Invalid
	s.Panics += o.Panics
}
