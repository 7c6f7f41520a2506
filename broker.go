package wschannels

import (
	"context"
	"sync/atomic"

	"github.com/google/uuid"
)

// A Broker carries group messages between boxes, gives each its place in its group's
// order, and keeps the groups' history. A box without one of its own uses a
// [MemoryBroker]. All methods may be called concurrently. One that may block returns
// when ctx ends, with its cause. To a box, one that panics has failed.
type Broker interface {
	// Publish gives p the next place of its group: it sets Seq and Epoch, and Saved
	// if p.Save and the history took it. Every subscriber of the group gets p, those
	// of this process this very *Publication, before Publish returns. A failed
	// Publish has published nothing.
	Publish(ctx context.Context, p *Publication) error

	// Subscribe hands what is published to group from now on to s, in order of Seq,
	// one at a time. Unsubscribe ends that. Subscribing twice is subscribing once.
	// A box unsubscribes with a context that does not end, and joins of the group
	// wait meanwhile: bound it.
	Subscribe(ctx context.Context, group string, s Subscriber) error
	Unsubscribe(ctx context.Context, group string, s Subscriber) error

	// Position returns the group's current place; Seq is 0 before the first message.
	Position(ctx context.Context, group string) (Position, error)

	// History returns what opts asks for, oldest first, and the position at which it
	// was complete.
	History(ctx context.Context, group string, opts *HistoryOptions) (HistoryPage, error)

	// Flush forgets the history of the named groups; none named: of all. Seq goes on.
	Flush(ctx context.Context, groups ...string) error

	// Close ends all subscriptions. Later calls return ErrClosed.
	Close(ctx context.Context) error
}

// A Subscriber gets the messages of a group. Deliver does not block and must not
// call the Broker; it may read p until it returns, and keep its Message.
type Subscriber interface {
	Deliver(p *Publication)
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

// A guardedBroker is the application's Broker, of which a panic is an error. What is half
// done when it panics, and what waits for it, is then tidied like after any failure.
type guardedBroker struct {
	broker Broker
	panics *atomic.Uint64
}

func (g guardedBroker) call(f func() error) error { return counted(guard(f), g.panics) }

func (g guardedBroker) Publish(ctx context.Context, p *Publication) error {
	return g.call(func() error { return g.broker.Publish(ctx, p) })
}

func (g guardedBroker) Subscribe(ctx context.Context, group string, s Subscriber) error {
	return g.call(func() error { return g.broker.Subscribe(ctx, group, s) })
}

func (g guardedBroker) Unsubscribe(ctx context.Context, group string, s Subscriber) error {
	return g.call(func() error { return g.broker.Unsubscribe(ctx, group, s) })
}

func (g guardedBroker) Position(ctx context.Context, group string) (at Position, err error) {
	err = g.call(func() (err error) {
		at, err = g.broker.Position(ctx, group)
		return err
	})
	return at, err
}

func (g guardedBroker) History(ctx context.Context, group string, opts *HistoryOptions) (page HistoryPage, err error) {
	err = g.call(func() (err error) {
		page, err = g.broker.History(ctx, group, opts)
		return err
	})
	return page, err
}

func (g guardedBroker) Flush(ctx context.Context, groups ...string) error {
	return g.call(func() error { return g.broker.Flush(ctx, groups...) })
}

func (g guardedBroker) Close(ctx context.Context) error {
	return g.call(func() error { return g.broker.Close(ctx) })
}
