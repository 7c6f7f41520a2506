package natsbroker

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
)

// Options configures [New] and [Open]. Nodes of one cluster have the same.
type Options struct {
	// Prefix begins the names of all streams and subjects: up to 32 letters, digits, "-"
	// and "_". Applications with different prefixes share a NATS without seeing each
	// other. "": "wschannels".
	Prefix string

	// History bounds what is kept of each group.
	History wschannels.HistoryLimits

	// Retain is how long NATS keeps what is published: a group's order starts anew, in
	// another epoch, when nobody has published to it, joined it or asked for its position for
	// that long, even if it has members; and no message is saved for longer. At least a
	// second, and at least History.TTL, which it is raised to. 0: 24 h.
	Retain time.Duration

	// Replicas is how many servers of a NATS cluster keep a copy: 1, 3 or 5. 0: 1. With 1,
	// what is in a server that dies is gone until it is back.
	Replicas int

	// Storage is where they do: nats.FileStorage, the default, or nats.MemoryStorage.
	Storage nats.StorageType

	// RequestTimeout bounds the wait for what NATS has been asked, beside the context of
	// the call. 0: 5 s.
	RequestTimeout time.Duration

	// ProbeInterval is how often the broker looks whether NATS still answers on a
	// connection that seems to be up. At least 10 ms. 0: 2 s.
	ProbeInterval time.Duration
}

func (o *Options) resolve() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	r.Prefix = cmp.Or(r.Prefix, "wschannels")
	r.Retain = cmp.Or(r.Retain, 24*time.Hour)
	r.Replicas = cmp.Or(r.Replicas, 1)
	r.RequestTimeout = cmp.Or(r.RequestTimeout, 5*time.Second)
	r.ProbeInterval = cmp.Or(r.ProbeInterval, 2*time.Second)
	var err error
	if r.History, err = r.History.Resolve(); err != nil {
		return r, err
	}
	switch {
	case !validPrefix(r.Prefix):
		return r, badOption("Prefix", fmt.Sprintf("is %q, not 1 to %d letters, digits, - and _", r.Prefix, maxPrefix))
	case r.Retain < time.Second:
		return r, badOption("Retain", "is less than a second")
	case r.Replicas != 1 && r.Replicas != 3 && r.Replicas != 5:
		return r, badOption("Replicas", "is not 1, 3 or 5")
	case r.Storage != nats.FileStorage && r.Storage != nats.MemoryStorage:
		return r, badOption("Storage", "is unknown")
	case r.RequestTimeout < 0:
		return r, badOption("RequestTimeout", "is negative")
	case r.ProbeInterval < 10*time.Millisecond:
		return r, badOption("ProbeInterval", "is less than 10 ms")
	}
	r.Retain = max(r.Retain, r.History.TTL)
	return r, nil
}

func badOption(field, what string) error {
	return fmt.Errorf("%w: natsbroker.Options.%s %s", wschannels.ErrInvalidOption, field, what)
}

// A Broker is a [wschannels.Broker] on NATS with JetStream, with history, requests,
// mailboxes and presence. All methods may be called concurrently.
type Broker struct {
	opts Options
	nc   *nats.Conn
	own  bool // nc was opened here
	js   jetstream.JetStream

	lines lines

	node     [8]byte // this one
	offers   *nats.Subscription
	order    *stream
	pace     *pace
	link     *link
	shards   []*shard
	garbage  limiter
	requests requests
	mail     *stream
	presence presence

	closing context.Context // ends with Close, with ErrClosed
	close   context.CancelCauseFunc

	mu     sync.Mutex     // guards what follows
	closed bool           // nothing is added to running any more
	done   chan struct{}  // closed when Close is through
	wg     sync.WaitGroup // goroutines
}

var (
	_ wschannels.Broker         = (*Broker)(nil)
	_ wschannels.HistoryBroker  = (*Broker)(nil)
	_ wschannels.RequestBroker  = (*Broker)(nil)
	_ wschannels.MailboxBroker  = (*Broker)(nil)
	_ wschannels.PresenceBroker = (*Broker)(nil)
)

// New returns a broker on a connection of the application's, which Close leaves open. It
// asks NATS for nothing yet: streams are made when they are needed. The connection should
// have been made with [ConnectOptions].
func New(nc *nats.Conn, opts *Options) (*Broker, error) {
	if nc == nil {
		return nil, fmt.Errorf("%w: natsbroker.New has no connection", wschannels.ErrInvalidOption)
	}
	o, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("natsbroker: %w", err)
	}
	b := &Broker{opts: o, nc: nc, js: js, pace: newPace(), done: make(chan struct{})}
	b.closing, b.close = context.WithCancelCause(context.Background())
	for i := range b.node {
		b.node[i] = byte(rand.Uint32())
	}
	b.order = newStream(b, b.orderConfig())
	b.mail = newStream(b, b.mailConfig())
	b.presence.stream = newStream(b, b.presenceConfig())
	for range min(runtime.GOMAXPROCS(0), 8) {
		b.shards = append(b.shards, newShard(b))
	}
	b.requests.init(b)
	b.link = newLink(b)
	for _, s := range b.shards {
		b.start(s.run)
	}
	// An error says that nc is closed, which is seen otherwise.
	b.offers, _ = nc.Subscribe(b.offerSubject(b.node), b.consider)
	b.start(b.requests.run)
	b.start(b.link.watch)
	b.start(b.link.probe)
	return b, nil
}

// Open returns a broker on a connection of its own to the NATS servers at url, several
// separated by commas. It does not wait for them: a broker whose engine is away is one
// whose calls fail, until it is there.
func Open(url string, opts *Options) (*Broker, error) {
	nc, err := nats.Connect(url, append(ConnectOptions(), nats.RetryOnFailedConnect(true))...)
	if err != nil {
		return nil, fmt.Errorf("natsbroker: %w", err)
	}
	b, err := New(nc, opts)
	if err != nil {
		nc.Close()
		return nil, err
	}
	b.own = true
	return b, nil
}

// ConnectOptions returns what a connection that is handed to [New] should be made with,
// beside what is the application's: it connects again for as long as it takes, keeps
// nothing to send later while it is away, and notices within seconds that nobody answers.
func ConnectOptions() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.PingInterval(3 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(2 * time.Second),
	}
}

// start runs f on a goroutine that Close waits for, unless the broker is closed.
func (b *Broker) start(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.wg.Go(f)
	}
	return !b.closed
}

// Close is [wschannels.Broker]'s. It waits for what is under way until ctx ends.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	first := !b.closed
	b.closed = true
	b.mu.Unlock()
	if first {
		b.close(wschannels.ErrClosed)
		go func() { // ends with the broker's goroutines
			b.wg.Wait()
			for _, s := range b.shards {
				s.end()
			}
			b.requests.end()
			b.lines.end()
			if b.offers != nil {
				_ = b.offers.Unsubscribe() // an error says that nc is closed
			}
			if b.own {
				b.nc.Close()
			}
			close(b.done)
		}()
	}
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
