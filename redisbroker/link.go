package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

const (
	attemptTime  = 3 * time.Second // for a connection to be made; then another attempt is
	confirmTime  = 5 * time.Second // for subscriptions to be confirmed
	firstBackoff = 20 * time.Millisecond
	maxBackoff   = time.Second
	batch        = 1000 // channels in one command, and commands in one go
)

var errDeaf = errors.New("the connection carries nothing any more")

type linkState uint8

const (
	connecting linkState = iota // for the first time, or a moment ago it still worked
	up
	away // an attempt to connect has failed
)

// A link is what a broker hears from one server: one connection at a time, with the
// subscriptions to all topics of the link.
type link struct {
	b       *Broker
	node    func() (rueidis.Client, error) // of the server
	cluster *cluster                       // that the server is of, or nil
	probe   string                         // a channel of its own
	kick    chan struct{}                  // dirty is not empty
	stop    context.CancelFunc
	heard   atomic.Bool // something, since the last probe

	// Guarded by b.mu.
	state linkState
	cause error               // of away
	dirty map[string]struct{} // channels whose subscription is to be looked at
	have  map[string]struct{} // channels subscribed to on the present connection
	told  bool                // subscribers of the outage
}

func newLink(b *Broker, node func() (rueidis.Client, error), cluster *cluster, probe string) *link {
	return &link{b: b, node: node, cluster: cluster, probe: probe, kick: make(chan struct{}, 1), dirty: make(map[string]struct{})}
}

// start starts l. b.mu is held, or b is new.
func (l *link) start() {
	ctx, stop := context.WithCancel(l.b.ctx)
	l.stop = stop
	l.b.wg.Add(1)
	go func() {
		defer l.b.wg.Done()
		defer stop()
		l.run(ctx)
	}()
}

// want has the subscription to channel looked at. b.mu is held.
func (l *link) want(channel string) {
	l.dirty[channel] = struct{}{}
	l.wake()
}

func (l *link) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// run keeps l connected until ctx ends.
func (l *link) run(ctx context.Context) {
	for backoff := time.Duration(0); ; {
		var hears gate
		conn, ended, err := l.connect(ctx, &hears)
		if err == nil {
			backoff = 0
			err = l.serve(ctx, conn, ended)
			conn.Close()
			<-ended
			hears.close()
			l.lost(ctx, err)
		} else {
			l.fail(err)
		}
		if ctx.Err() != nil {
			return
		}
		if backoff > 0 {
			timer := time.NewTimer(backoff/2 + rand.N(backoff/2))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
		backoff = min(max(2*backoff, firstBackoff), maxBackoff)
	}
}

// A gate is what a connection is heard through. The client may say that one has ended while
// its goroutine still hands over a message: the next connection's must not come meanwhile.
type gate struct {
	mu     sync.Mutex // held while something passes
	closed bool
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// through returns f, which does nothing once g is closed.
func through[T any](g *gate, f func(T)) func(T) {
	return func(v T) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.closed {
			f(v)
		}
	}
}

// connect makes a connection on which the probe's channel is subscribed to, heard through
// hears. ended gets a value when the connection has ended.
func (l *link) connect(ctx context.Context, hears *gate) (conn rueidis.DedicatedClient, ended <-chan error, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, attemptTime, errors.New("no connection in time"))
	defer cancel()
	made := make(chan rueidis.DedicatedClient)
	failed := make(chan error, 1)
	l.b.wg.Add(1)
	go func() { // ends with the client's own limits for this
		defer l.b.wg.Done()
		node, err := l.node()
		if err != nil {
			failed <- err
			return
		}
		conn, _ := node.Dedicate()
		select {
		case made <- conn:
		case <-ctx.Done():
			conn.Close()
		}
	}()
	select {
	case conn = <-made:
	case err := <-failed:
		return nil, nil, err
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	ended = conn.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: through(hears, l.receive), OnSubscription: through(hears, l.subscription)})
	if err := conn.Do(ctx, l.subscribe(conn, l.probe)).Error(); err != nil {
		conn.Close()
		<-ended
		hears.close()
		return nil, nil, err
	}
	l.refresh(ctx)
	return conn, ended, nil
}

// refresh has the client notice which of its connections for calls an outage has ended. It
// may not look at one before it is used, and the call that uses it is lost. One call after the
// other: a connection that has ever had two at a time takes longer for each from then on.
func (l *link) refresh(ctx context.Context) {
	const enough = 32 // of calls that go by one of 4 connections, at random, to reach them all
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for range enough {
		one, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		l.b.client.Do(one, read(l.b.client.B().Exists().Key(l.probe).Build()))
		cancel()
	}
}

// serve keeps the subscriptions of conn as they are wanted, until it ends or ctx does.
func (l *link) serve(ctx context.Context, conn rueidis.DedicatedClient, ended <-chan error) error {
	l.connected()
	l.heard.Store(true)
	tick := time.NewTicker(l.b.opts.ProbeInterval)
	defer tick.Stop()
	probed := make(chan error, 2)
	for probing := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err, ok := <-ended:
			if !ok || err == nil {
				err = errors.New("the connection has ended")
			}
			return err
		case <-l.kick:
			if err := l.reconcile(ctx, conn); err != nil {
				return err
			}
		case err := <-probed:
			if probing--; err != nil {
				return err
			}
		case <-tick.C:
			if probing == 0 {
				probing = 2
				l.heard.Store(false)
				l.b.wg.Add(2)
				go l.ping(ctx, conn, probed)
				go l.publishProbe(ctx, probed)
			}
		}
	}
}

// ping asks the server for a sign of life on conn.
func (l *link) ping(ctx context.Context, conn rueidis.DedicatedClient, probed chan<- error) {
	defer l.b.wg.Done()
	ctx, cancel := context.WithTimeoutCause(ctx, l.b.opts.ProbeInterval, errDeaf)
	defer cancel()
	err := conn.Do(ctx, conn.B().Ping().Build()).NonRedisError()
	if err != nil && context.Cause(ctx) == errDeaf && !l.heard.Load() {
		probed <- errDeaf
		return
	}
	probed <- nil
}

// publishProbe publishes something that l hears, unless it is at a server that does not get
// what is published. That it could not be published is not l's fault.
func (l *link) publishProbe(ctx context.Context, probed chan<- error) {
	defer l.b.wg.Done()
	ctx, cancel := context.WithTimeout(ctx, l.b.opts.ProbeInterval)
	defer cancel()
	b := l.b.client.B()
	cmd := b.Publish().Channel(l.probe).Message("").Build()
	if l.cluster != nil {
		cmd = b.Spublish().Channel(l.probe).Message("").Build()
	}
	if err := l.b.client.Do(ctx, cmd).Error(); err != nil {
		probed <- nil
		return
	}
	<-ctx.Done() // it has the rest of the interval to come back
	if l.heard.Load() || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		probed <- nil
		return
	}
	probed <- errDeaf
}

// connected says that l works again, and that all its subscriptions are to be made.
func (l *link) connected() {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.state, l.cause, l.told = up, nil, false
	if l.b.outages() == 0 {
		clear(l.b.told)
	}
	l.have = make(map[string]struct{})
	clear(l.dirty)
	for channel, t := range l.b.topics {
		if t.link == l {
			l.dirty[channel] = struct{}{}
		}
	}
	l.wake()
}

// lost says that the connection has ended.
func (l *link) lost(ctx context.Context, err error) {
	l.b.mu.Lock()
	l.state = connecting
	failed := make(map[wschannels.Subscriber]struct{})
	for _, t := range l.b.topics {
		if t.link == l {
			t.interrupt()
			t.addHeld(failed)
		}
	}
	for s := range l.b.told { // of this outage, by another link
		delete(failed, s)
	}
	quiet := ctx.Err() != nil
	if l.told = true; !quiet {
		maps.Copy(l.b.told, failed)
	}
	inbox := l.b.topics[l.b.inbox]
	asking := inbox != nil && inbox.link == l
	l.b.mu.Unlock()
	if l.cluster != nil {
		l.cluster.look()
	}
	if quiet {
		return
	}
	if asking {
		l.b.desk.fail(fmt.Errorf("redisbroker: connection lost: %w: %w", wschannels.ErrUnknownOutcome, err))
	}
	err = fmt.Errorf("redisbroker: connection lost: %w: %w", wschannels.ErrUnavailable, err)
	for s := range failed {
		s.Failed(err)
	}
}

// fail says that an attempt to connect has failed.
func (l *link) fail(err error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.state, l.cause = away, err
	if l.cluster != nil {
		l.cluster.look()
	}
	err = unavailable(err)
	for _, t := range l.b.topics {
		if t.link == l {
			t.tell(err)
		}
	}
}
