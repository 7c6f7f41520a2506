package redisbroker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// A Broker is a [wschannels.Broker] on Redis, with all capabilities. It is made by [New] or
// [Open].
type Broker struct {
	client  rueidis.Client
	owned   bool // made by Open
	opts    Options
	scripts groupScripts
	token   string        // of this broker
	inbox   string        // the channel of what is for it alone
	slots   chan struct{} // one for each call that is with the client

	dispatch dispatch
	ctx      context.Context // ends with Close
	stop     context.CancelCauseFunc
	wg       sync.WaitGroup // of goroutines, and of calls under way
	ended    chan struct{}  // closed when Close is over

	desk desk

	mu      sync.Mutex // guards what follows, and what a topic or a link says it guards
	topics  map[string]*topic
	link    *link // to a server that is no cluster, else nil
	shards  *cluster
	told    map[wschannels.Subscriber]struct{} // of the outage that is not over
	closed  bool
	blamed  blame
	burying bool // dead nodes, in the background
}

// maxCalls is how many calls may be with the client at a time. Where its connections carry
// nothing, more would fill their queues, and wait there without regard to their contexts.
const maxCalls = 512

// New returns a broker that uses client, which may be one for a single server, for Sentinel
// or for a cluster. It does not wait for Redis: it connects in the background, as it does
// after an outage. The client stays the application's, which closes it after the broker, and
// may use it for other things. Of its options, DisableRetry does not matter, as nothing that
// changes anything is tried again; ConnWriteTimeout is how long a connection that carries
// nothing holds up calls, and best about 5 seconds.
func New(client rueidis.Client, opts *Options) (*Broker, error) {
	if client == nil {
		return nil, fmt.Errorf("%w: the client is nil", wschannels.ErrInvalidOption)
	}
	o, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	b := &Broker{
		client:  client,
		opts:    o,
		scripts: newGroupScripts(o),
		slots:   make(chan struct{}, maxCalls),
		topics:  make(map[string]*topic),
		told:    make(map[wschannels.Subscriber]struct{}),
		ended:   make(chan struct{}),
	}
	b.token = newToken()
	b.inbox = b.channel(ofBroker, b.token)
	b.ctx, b.stop = context.WithCancelCause(context.Background())
	b.start()
	b.wg.Go(b.keep)
	return b, nil
}

// Open is New with a client of its own, which Close closes, for a URL as
//
//	redis://user:password@host:6379/0
//	rediss://host:6379?addr=host2:6379&addr=host3:6379   (TLS; several addresses: a cluster)
//	redis://host:26379?master_set=main                   (Sentinel)
//
// With one address it does not wait for Redis; for a cluster or Sentinel it needs one of the
// addresses to answer.
func Open(url string, opts *Options) (*Broker, error) {
	if _, err := opts.resolve(); err != nil {
		return nil, err
	}
	co, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("%w: the URL: %w", wschannels.ErrInvalidOption, err)
	}
	co.DisableCache = true
	co.Dialer.Timeout = 3 * time.Second
	co.ConnWriteTimeout = 4 * time.Second
	co.ForceSingleClient = len(co.InitAddress) == 1 && co.Sentinel.MasterSet == ""
	client, err := rueidis.NewClient(co)
	switch {
	case client == nil || err != nil && !co.ForceSingleClient:
		return nil, unavailable(err)
	}
	b, err := New(client, opts)
	if err != nil {
		client.Close()
		return nil, err
	}
	b.owned = true
	return b, nil
}

// Close is [wschannels.Broker]'s. It waits for calls that are under way, and ends those that
// wait for a subscription or an answer. Called again, it waits for the same end.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		for _, t := range b.topics {
			t.tell(wschannels.ErrClosed)
		}
		b.stop(wschannels.ErrClosed)
		go b.end()
	}
	b.mu.Unlock()
	select {
	case <-b.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end waits until b, which has been stopped, does nothing any more.
func (b *Broker) end() {
	b.wg.Wait()
	if b.owned {
		b.client.Close()
	}
	close(b.ended)
}

// enter lets a call that concerns channel through to the client, unless it could only fail.
// known is what has been seen of the channel's order. The caller calls leave at its end.
func (b *Broker) enter(ctx context.Context, channel string) (known seen, err error) {
	if ctx.Err() != nil {
		return known, context.Cause(ctx)
	}
	if known, err = b.admit(channel); err != nil {
		return known, err
	}
	select {
	case b.slots <- struct{}{}:
		return known, nil
	default:
	}
	select {
	case b.slots <- struct{}{}:
		return known, nil
	case <-ctx.Done():
		err = unavailable(fmt.Errorf("%d calls are under way: %w", maxCalls, context.Cause(ctx)))
	case <-b.ctx.Done():
		err = wschannels.ErrClosed
	}
	b.wg.Done()
	return known, err
}

func (b *Broker) admit(channel string) (known seen, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return known, wschannels.ErrClosed
	}
	if l := b.linkOf(channel); l.state == away {
		return known, unavailable(l.cause)
	}
	if t := b.topics[channel]; t != nil {
		known = t.seen
	}
	b.wg.Add(1)
	return known, nil
}

func (b *Broker) leave() {
	<-b.slots
	b.wg.Done()
}
