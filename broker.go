package wschannels

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// A Broker carries group messages between boxes, on one machine or on many, and gives each
// its place in its group's order. A box without one of its own uses a [MemoryBroker].
// What else a broker can do, a box finds out by type assertion: [HistoryBroker],
// [RequestBroker], [MailboxBroker], [PresenceBroker]. Package brokertest checks all of what
// follows.
//
// Order. Each group has one: Publish gives the places, Seq, from 1 on and without holes.
// Every subscriber gets the group's messages in that order. The order has a name, its Epoch,
// new whenever the places start at 1 again: the engine lost its data, or forgot a group that
// nobody had used for long.
//
// The engine away. Calls that need it return an error that matches [ErrUnavailable] if
// nothing has been done, and [ErrUnknownOutcome] if it may have been. They return at once
// where the broker knows, else when ctx ends. A broker does not publish again what may
// already have been published. It connects again by itself, for as long as it takes, and
// then subscribes to what is subscribed at that time, within 10 seconds.
//
// Loss. A subscriber's box notices a hole in Seq, fills it from the history, and says what
// is lost. Only what no later message shows is the broker's to tell: see
// [Subscriber].Interrupted.
//
// All methods may be called concurrently. One that may block returns when ctx ends, with its
// cause or an error that matches one of the above. Names of groups and users are 1 to 255
// bytes of UTF-8 without control characters, and otherwise anything: "*", ">", "a.b", "{x}",
// " ". The box checks them; a broker may, too. To a box, a broker that panics has failed.
type Broker interface {
	// Publish gives p the next place of its group: it sets Seq and Epoch, and Saved if
	// p.Save and the history took it, in one step. Then every subscriber of the group gets
	// it, on every node, this one included, perhaps only after Publish has returned: p
	// itself, or a copy with its ID. A failed Publish has published nothing, unless its
	// error matches ErrUnknownOutcome. One that is larger than the engine carries is
	// [ErrTooLarge].
	//
	// p is the caller's. The broker may keep its Message, and p itself until it has been
	// delivered.
	Publish(ctx context.Context, p *Publication) error

	// Subscribe hands what is published to group from now on to s, which is comparable.
	// It returns once nothing that is published later can be missed. Subscribing twice is
	// subscribing once. One that failed has not subscribed.
	Subscribe(ctx context.Context, group string, s Subscriber) error

	// Unsubscribe ends that. It does not need the engine: where that is away, it is not
	// told again of what nobody subscribes to. Afterwards s gets nothing more of the
	// group, but for what is being delivered at that moment.
	Unsubscribe(ctx context.Context, group string, s Subscriber) error

	// Position returns the group's current place; Seq is 0 before the first message.
	Position(ctx context.Context, group string) (Position, error)

	// Close ends all subscriptions. Later calls return ErrClosed. It does not close what
	// the broker was given by the application.
	Close(ctx context.Context) error
}

// A Subscriber gets what concerns the groups that it is subscribed to. Its methods do not
// block, and must not call the Broker. Those with a group are called one at a time for that
// group, in the order of events.
type Subscriber interface {
	// Deliver hands over one message. The subscriber may read p until it returns, and keep
	// its Message. A message may come twice, and, where the engine loses some, they may
	// come with holes: in order nevertheless.
	Deliver(p *Publication)

	// Appear hands over that e has changed; see [PresenceBroker].
	Appear(group string, e PresenceEntry)

	// Interrupted says that the subscription was broken, and works again: what was
	// published meanwhile may be missing, and what is published from now on is not.
	Interrupted(group string)

	// Failed reports what went wrong and no call returned: the connection was lost, or
	// something was received that no broker sent. It is called once for each event and
	// subscriber, however many groups that has.
	Failed(err error)
}

// A HistoryBroker is a [Broker] that keeps what is published with Save, of each group as
// much as its [HistoryLimits] say: no more at any time, the oldest out first, and the same
// on all nodes. Without one nothing is saved, and nobody is Recovered who missed something.
type HistoryBroker interface {
	// History returns what opts asks for, oldest first, and the position at which it was
	// complete. Together with a subscription that was there before, no message is missing.
	// A message that fills a hole reaches whom it was not for, unless it was read by
	// [Publication.UnmarshalBinary], which keeps Except.
	History(ctx context.Context, group string, opts *HistoryOptions) (HistoryPage, error)

	// Flush forgets the history of the named groups; none named: of all. Seq goes on, and
	// who missed what was forgotten is told so: Complete is false. After an error some may
	// have been forgotten.
	Flush(ctx context.Context, groups ...string) error
}

// A RequestBroker is a [Broker] that takes data to an address: a node's, or that of a user
// who has channels on some nodes. Without one a box sends to its own channels alone.
type RequestBroker interface {
	// Listen hands what is sent to address to l, which is comparable, until Unlisten. As
	// with Subscribe, it returns once that works, and it works again after an outage;
	// Unlisten does not need the engine.
	//
	// A request that the engine still hands to a node without a listener at address, as it
	// was on its way, is answered, too: nobody is here. That is ErrNobody for who sent it,
	// unless another node has a listener. It is not left to time out.
	Listen(ctx context.Context, address string, l Listener) error
	Unlisten(ctx context.Context, address string, l Listener) error

	// Request takes data to every listener of address, and returns the first answer. With
	// no listener it returns ErrNobody, at once. With no answer before ctx ends, the error
	// matches ErrUnknownOutcome. Requests one after another arrive in that order. data
	// must not be changed afterwards, as listeners may keep it. An address is 1 to 300
	// bytes of UTF-8 without control characters.
	Request(ctx context.Context, address string, data []byte) ([]byte, error)
}

// A Listener hears requests. Its methods do not block, and must not call the Broker.
type Listener interface {
	// Hear hands over a request. The listener, or whoever it asks to, calls answer at most
	// once, at any time, from any goroutine; answer does not block. data may be kept, and
	// must not be changed.
	Hear(address string, data []byte, answer func(data []byte))

	// Interrupted says that listening at address was broken, and works again: requests
	// that were sent meanwhile may not have come.
	Interrupted(address string)
}

// A MailboxBroker is a [Broker] that keeps messages for users who have no channel on any
// node. Without one each box has mailboxes of its own.
type MailboxBroker interface {
	// PutMail adds messages to the user's mailbox: at its end, or, if front, before all
	// that is in it. Where they do not fit, or are too old, the oldest goes; one that is
	// alone over the limit moves none aside. kept says how many of msgs are in the mailbox
	// now, and lost how many messages went, of msgs and others: what the broker knows of.
	// It may keep msgs' Data.
	PutMail(ctx context.Context, user string, msgs []Message, front bool, limits MailboxLimits) (kept, lost int, err error)

	// TakeMail empties the mailbox, and returns what was in it and is not too old, oldest
	// first. Each message is returned to one caller. If the error matches
	// ErrUnknownOutcome, it may have been emptied, and what was in it is lost.
	TakeMail(ctx context.Context, user string) ([]Message, error)
}

// MailboxLimits bounds one mailbox: Options.MailboxBytes and Options.MailboxTTL with their
// defaults. Both are above 0; where one is not, nothing is kept.
type MailboxLimits struct {
	Bytes int           // counted as HistoryLimits.Bytes
	TTL   time.Duration // how old a message gets, by Message.Created
}

// A PresenceBroker is a [Broker] that knows who is in a group on all nodes. What a node
// said is true for as long as its lease runs: a node that dies is gone when that ends.
type PresenceBroker interface {
	// Renew says that node lives for lease from now on, be that longer or shorter than
	// before, and returns all nodes that do, node included. What a node has said is removed
	// some time after its lease has ended. A node renews before it says anything, and says
	// everything again after its lease has ended.
	Renew(ctx context.Context, node string, lease time.Duration) (alive []string, err error)

	// SetPresence records entries of group, each in place of the one with the same Node
	// and ID, or, with Gone, removes it; and hands each to the group's subscribers on every
	// node, this one included. After an error some may have been recorded; the box tells
	// them again.
	SetPresence(ctx context.Context, group string, entries ...PresenceEntry) error

	// Presence returns the entries of nodes whose lease runs, in no order.
	Presence(ctx context.Context, group string) ([]PresenceEntry, error)
}

// A PresenceEntry says that a channel of a node is in a group.
type PresenceEntry struct {
	ID    uuid.UUID // the channel's
	User  string    // whose it is, if known
	Node  string    // which has it, as Renew knows it
	Since time.Time // it joined

	// Until, if not zero: it has left, and its user counts as present until then, in case
	// of a quick return.
	Until time.Time

	Gone bool // in a change: there is no such entry any more
}

// A Publication is a group message on its way through a [Broker].
type Publication struct {
	Message // Seq is the broker's to set

	Epoch  string      // set by the broker
	Save   bool        // keep it in the history
	Saved  bool        // set by the broker
	Except []uuid.UUID // channels that do not get it

	local *fanout // what the box that sent it knows, and wants to know
}

// A HistoryPage is part of a group's history.
type HistoryPage struct {
	Messages []Message
	Position Position // of the group when Messages was read
	Complete bool     // no saved message between After and Position is missing
}

// A Position is a place in a group's order. A client that comes back with the last
// one it saw gets what it missed.
type Position struct {
	Epoch string // changes when the group's order starts anew
	Seq   uint64 // of the last message
}
