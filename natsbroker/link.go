package natsbroker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels"
)

var errAway = fmt.Errorf("%w: not connected to NATS", wschannels.ErrUnavailable)

// A link knows whether NATS can be reached. What is under way when it is lost ends; what
// is subscribed is told when it is back.
type link struct {
	b      *Broker
	status chan nats.Status
	kick   chan struct{} // something has changed
	moved  atomic.Bool   // the order's stream has got another leader
	news   *nats.Subscription

	mu         sync.Mutex // guards what follows
	alive      context.Context
	lose       context.CancelCauseFunc // ends alive
	why        error                   // not nil: it is lost
	reconnects uint64                  // of nc, that have been told of
}

func newLink(b *Broker) *link {
	l := &link{b: b, kick: make(chan struct{}, 1), status: b.nc.StatusChanged()}
	l.alive, l.lose = context.WithCancelCause(b.closing)
	l.reconnects = b.nc.Stats().Reconnects
	if !b.nc.IsConnected() {
		l.why = errAway
		l.lose(l.why)
	}
	// An error says that nc is closed, which is seen otherwise.
	l.news, _ = b.nc.Subscribe("$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."+b.order.config.Name, func(*nats.Msg) {
		l.moved.Store(true)
		l.stir()
	})
	return l
}

// stir has probe look now.
func (l *link) stir() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// up returns a context that ends when the connection is lost; an error, if it is.
func (l *link) up() (context.Context, error) {
	if err := context.Cause(l.b.closing); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil && !l.b.nc.IsConnected() { // the news is on its way
		return nil, errAway
	}
	return l.alive, l.why
}

// lost notes that NATS is away, and tells all subscribers once.
func (l *link) lost(why error) {
	l.mu.Lock()
	if l.why != nil || l.b.closing.Err() != nil {
		l.mu.Unlock()
		return
	}
	l.why = why
	l.lose(why)
	l.mu.Unlock()
	l.b.requests.abandon()
	l.b.fail(why)
}

// found notes that NATS is back, and has all subscribers told.
func (l *link) found(reconnects uint64) {
	l.mu.Lock()
	l.alive, l.lose = context.WithCancelCause(l.b.closing)
	l.why, l.reconnects = nil, reconnects
	l.mu.Unlock()
	l.interrupt()
	l.b.requests.stir()
}

func (l *link) interrupt() {
	for _, s := range l.b.shards {
		s.interrupt(nil)
	}
}

// watch notices at once when the connection is lost. It ends with the broker.
func (l *link) watch() {
	defer l.b.nc.RemoveStatusListener(l.status)
	if l.news != nil {
		defer l.news.Unsubscribe()
	}
	status := l.status
	for {
		select {
		case <-l.b.closing.Done():
			return
		case s, ok := <-status:
			if !ok {
				status = nil // nc is closed, and stays so
				s = nats.CLOSED
			}
			if s != nats.CONNECTED && !l.b.nc.IsConnected() {
				l.lost(errAway)
			}
			l.stir()
		}
	}
}

// probe notices when a connection that seems to be up is not, and when it is again. It
// ends with the broker.
func (l *link) probe() {
	tick := time.NewTicker(l.b.opts.ProbeInterval)
	defer tick.Stop()
	for {
		select {
		case <-l.b.closing.Done():
			return
		case <-tick.C:
		case <-l.kick:
		}
		for !l.check() {
			select {
			case <-l.b.closing.Done():
				return
			case <-l.kick:
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// check brings the link up to date, and reports whether there is no need to look again
// soon.
func (l *link) check() bool {
	nc := l.b.nc
	if !nc.IsConnected() {
		l.lost(errAway)
		return nc.IsClosed()
	}
	reconnects := nc.Stats().Reconnects
	l.mu.Lock()
	again, up := reconnects != l.reconnects, l.why == nil
	l.mu.Unlock()
	if up && again { // it was away for a moment
		l.lost(errAway)
		up = false
	}
	ctx, cancel := context.WithTimeout(l.b.closing, l.b.opts.ProbeInterval+time.Second)
	defer cancel()
	moved := l.moved.Swap(false)
	err := l.b.order.ready(ctx)
	if err == nil {
		err = l.b.leader(ctx)
	}
	switch {
	case l.b.closing.Err() != nil:
		return true
	case err == nil && !up:
		l.found(reconnects)
	case err == nil && moved: // what the last one had no time to republish is in the stream
		l.interrupt()
	case err != nil:
		l.lost(fmt.Errorf("%w: NATS does not answer: %w", wschannels.ErrUnavailable, err))
		if nc.IsConnected() && nc.Stats().Reconnects == reconnects && nc.FlushTimeout(time.Second) != nil {
			_ = nc.ForceReconnect() // up and deaf; an error says that it is closed
		}
		return false
	}
	return true
}
