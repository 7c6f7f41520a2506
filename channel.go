package wschannels

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// A Channel is one WebSocket connection with a payload type, an identity and a
// bounded queue. Its messages leave in the order in which they were accepted, and
// it ends in exactly one way, which [Channel.Err] tells.
//
// All methods may be called concurrently.
type Channel struct {
	id      uuid.UUID
	opts    *ChannelOptions // resolved; shared by the channels of an endpoint
	link    link
	request *keptRequest // nil if it came from none
	created time.Time

	ctx    context.Context // done when closing starts
	cancel context.CancelCauseFunc

	// Made by begin, for whoever comes after it.
	gone chan struct{} // closed when the connection is gone and all is handed back
	read chan struct{} // closed when nothing reads the connection any more

	queue queue

	deflateFrom int32 // messages of this size are sent compressed; 0: none

	// Times since created, in nanoseconds.
	active  atomic.Int64 // the last message either way, or Touch
	heard   atomic.Int64 // the last bytes from the peer
	reading atomic.Int64 // when the current read began, or notReading

	answered atomic.Bool // the peer answered our close frame
	authed   atomic.Bool
	tally    tally

	mu       sync.Mutex // guards what follows
	fault    bool       // err is to be reported
	inline   bool       // the event loop itself reads
	inRead   bool       // a receive is under way
	served   bool       // Serve or Handler will retire it
	entered  bool       // it is, or was, in the box
	retired  bool       // its last event has returned
	reprieve bool       // a second ping was sent before it is called stale
	err      *CloseError
	box      *ChannelBox // that looks after it
	timers   *timers
	alarm    *alarm
	beat     heartbeat
	rooms    []*member
	registry []*Registry
	left     *[]string // names of the groups it was in, during OnDisconnect
	user     string    // as SetUser said
	account  *account  // whose channel it is; guarded by users.mu, too
	values   map[any]any
	inbox    chan inbound  // nil until something reads for Receive
	waiters  chan struct{} // if not nil: closed when retired
}

// tally counts what came in; what went out is counted by the queue.
type tally struct {
	received, receivedBytes, rateLimited, invalid, panics atomic.Uint64
}

// NewChannel makes a channel of conn and begins to read it; the caller closes it.
//
// Everything works with any [Conn], but reading is only as strict as the Conn is. The
// time that a message takes can be bounded on a *websocket.Conn alone; and that one
// passes a message which the peer's hang-up cut short as if it were whole, bears
// floods of pings and of empty fragments, and accepts lengths that are not minimal.
// Channels that a [ChannelBox] accepts have none of these weaknesses.
func NewChannel(conn Conn, opts *ChannelOptions) (*Channel, error) {
	if v := reflect.ValueOf(conn); conn == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("wschannels: nil Conn")
	}
	resolved, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	c := newChannel(resolved, context.Background())
	c.queue.single = true
	c.link = newAnyConn(conn, c)
	c.startTimers(new(timers))
	c.startReading()
	return c, nil
}

// newChannel returns a channel that has no link yet.
func newChannel(opts *ChannelOptions, base context.Context) *Channel {
	c := &Channel{
		id: opts.ID, opts: opts, created: time.Now(),
	}
	if c.id == uuid.Nil {
		c.id = uuid.New()
	}
	c.ctx, c.cancel = context.WithCancelCause(base)
	c.reading.Store(notReading)
	c.authed.Store(opts.Authenticator == nil)
	c.queue.limit = opts.QueueBytes
	c.queue.owner = c
	c.queue.run = c.queue.flush
	return c
}

// ID returns the channel's ID.
func (c *Channel) ID() uuid.UUID { return c.id }

// PayloadType returns how the channel's payloads travel.
func (c *Channel) PayloadType() PayloadType { return c.opts.PayloadType }

// Created returns when the channel was made. It never moves.
func (c *Channel) Created() time.Time { return c.created }

// LastActivity returns when the last message came or was queued, or Touch was
// called; Created if never.
func (c *Channel) LastActivity() time.Time { return c.created.Add(time.Duration(c.active.Load())) }

// ExpiresAt returns when TTL or MaxLifetime will close the channel if nothing
// happens until then; ok is false if neither is set.
func (c *Channel) ExpiresAt() (t time.Time, ok bool) {
	if c.opts.TTL > 0 {
		t = c.LastActivity().Add(c.opts.TTL)
	}
	if c.opts.MaxLifetime > 0 {
		t = earlier(t, c.created.Add(c.opts.MaxLifetime))
	}
	return t, !t.IsZero()
}

// Touch renews TTL as a message would.
func (c *Channel) Touch() { c.active.Store(c.age()) }

// age is the time since the channel was created.
func (c *Channel) age() int64 { return int64(time.Since(c.created)) }

// hear notes that something came from the peer.
func (c *Channel) hear() { c.heard.Store(c.age()) }

// Conn returns the connection. What is written to it directly does not wait for
// what is queued. If the channel was accepted by a box, it is a view of the channel
// itself: its Read takes the next message as [Channel.Receive] does, its Write
// queues a message and waits until it is written, its Close closes the channel.
func (c *Channel) Conn() Conn {
	if a, ok := c.link.(*anyConn); ok {
		return a.conn
	}
	return channelConn{c}
}

// Request returns the request that the channel came from, nil if none did: a new copy
// with each call, which is the caller's. Its context keeps its values, but does not end
// with the HTTP handler. It has no body, and not the headers that were about the
// connection: Connection, Upgrade and Sec-WebSocket-Key, -Version and -Extensions.
func (c *Channel) Request() *http.Request {
	if c.request == nil {
		return nil
	}
	return c.request.unpack()
}

// Subprotocol returns the subprotocol that was negotiated (RFC 6455 section 1.9),
// "" if none was or the channel's Conn does not tell.
func (c *Channel) Subprotocol() string {
	if o, ok := c.link.(*ownedConn); ok {
		return o.subprotocol
	}
	if s, ok := c.Conn().(interface{ Subprotocol() string }); ok {
		return s.Subprotocol()
	}
	return ""
}

// Groups returns the names of the groups that the channel is in, sorted. During
// OnDisconnect, when it has left them, they are those that it was in.
func (c *Channel) Groups() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left != nil {
		return slices.Clone(*c.left)
	}
	return c.roomNames()
}

// roomNames returns the names of the groups, sorted. c.mu is held.
func (c *Channel) roomNames() []string {
	names := make([]string, 0, len(c.rooms))
	for _, m := range c.rooms {
		names = append(names, m.room.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Set keeps value under key for [Channel.Value], as long as the channel lives; nil
// removes it. Keys are as in [context.WithValue].
func (c *Channel) Set(key, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if value == nil {
		delete(c.values, key)
		return
	}
	if c.values == nil {
		c.values = make(map[any]any)
	}
	c.values[key] = value
}

// Value returns what Set kept under key, or nil.
func (c *Channel) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values[key]
}

// Context returns a context that is done when closing starts, as Done; its
// [context.Cause] is Err. It has the values of the request's context.
func (c *Channel) Context() context.Context { return c.ctx }

// Done returns a channel that is closed when closing starts.
func (c *Channel) Done() <-chan struct{} { return c.ctx.Done() }

// Err returns nil while the channel is open, and from the start of closing on
// always the same *[CloseError].
func (c *Channel) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	return c.err
}

// Authenticate asks the channel's Authenticator. After a success the channel may be
// sent to and join groups; an error matches [ErrUnauthorized] and leaves the channel
// as it was, so that the peer may try again until AuthTimeout. It blocks as long as
// the Authenticator does.
func (c *Channel) Authenticate(ctx context.Context, token string) error {
	if err := c.Err(); err != nil {
		return err
	}
	check := c.opts.Authenticator
	if check == nil {
		return fmt.Errorf("%w: the channel has no Authenticator", ErrUnauthorized)
	}
	err := guard(func() error { return check(ctx, c, token) })
	if err != nil {
		c.countPanic(err)
		return fmt.Errorf("%w: %w", ErrUnauthorized, err)
	}
	c.authed.Store(true)
	c.settleUser()
	return nil
}

// countPanic counts err if it is a panic.
func (c *Channel) countPanic(err error) { _ = counted(err, &c.tally.panics) }

// inBox returns the box that the channel belongs to, nil if none.
func (c *Channel) inBox() *ChannelBox {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.box
}

// observers returns the events that apply, the box's first.
func (c *Channel) observers() []*Events {
	b := c.inBox()
	if b == nil {
		return []*Events{&c.opts.Events}
	}
	return []*Events{&b.opts.Events, &c.opts.Events}
}
