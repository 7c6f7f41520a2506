package wschannels

import (
	"cmp"
	"container/list"
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
)

// MemoryBrokerOptions configures [NewMemoryBroker].
type MemoryBrokerOptions struct {
	History      HistoryLimits // per group
	HistoryBytes int           // of all groups together. 0: 256 MiB; the least recently written group goes first
	MaxGroups    int           // with members or history. 0: 1,000,000; ErrTooManyGroups
	MaxMailboxes int           // 0: 10,000; the one that was put into longest ago goes first
}

// maxBare is how many groups with neither members nor history are remembered, for
// their order to go on. Past it the one that was used longest ago is forgotten, and
// starts anew, in another epoch, should it come back.
const maxBare = 1 << 16

// A MemoryBroker is a [Broker] within this process. Boxes that share one behave like
// the nodes of a cluster. None of its methods waits for anything but a lock, and Request
// for its answer.
type MemoryBroker struct {
	opts     MemoryBrokerOptions
	desk     memoryDesk
	post     memoryPost
	presence nodeTable

	// mu guards what follows, and what topics say it guards. It is taken under a
	// topic's mu, never around one.
	mu      sync.Mutex
	topics  map[string]*topic
	written list.List // topics with history, the least recently written first
	bare    list.List // topics that nobody needs, the one that nobody needed longest first
	named   int       // topics with subscribers or history
	bytes   int       // of all histories
	evicted uint64    // messages of theirs that went for room or age
	closed  bool
}

// A topic is one group's order, subscribers and history.
type topic struct {
	name    string
	epoch   string
	history *History

	mu   sync.Mutex // whoever holds it gives the next seq, saves and delivers
	seq  uint64
	subs []Subscriber

	// Guarded by the broker's mu.
	pins      int    // operations under way
	listeners int    // len(subs)
	counted   int    // bytes of history, as counted in the broker's
	evicted   uint64 // likewise
	named     bool
	written   *list.Element // its place in the broker's lists, or nil
	bare      *list.Element
}

// NewMemoryBroker returns a broker without groups.
func NewMemoryBroker(opts *MemoryBrokerOptions) (*MemoryBroker, error) {
	var o MemoryBrokerOptions
	if opts != nil {
		o = *opts
	}
	limits, err := o.History.Resolve()
	switch {
	case err != nil:
		return nil, err
	case o.HistoryBytes < 0:
		return nil, badOption("MemoryBrokerOptions.HistoryBytes", "is negative")
	case o.MaxGroups < 0:
		return nil, badOption("MemoryBrokerOptions.MaxGroups", "is negative")
	case o.MaxMailboxes < 0:
		return nil, badOption("MemoryBrokerOptions.MaxMailboxes", "is negative")
	}
	o.History = limits
	o.HistoryBytes = cmp.Or(o.HistoryBytes, 256<<20)
	o.MaxGroups = cmp.Or(o.MaxGroups, 1_000_000)
	b := &MemoryBroker{opts: o, topics: make(map[string]*topic)}
	b.post.max = cmp.Or(o.MaxMailboxes, 10_000)
	return b, nil
}

// Publish is [Broker]'s.
func (b *MemoryBroker) Publish(ctx context.Context, p *Publication) error {
	t, err := b.pin(ctx, p.Group, p.Save)
	if err != nil {
		return err
	}
	defer b.unpin(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seq++
	p.Seq, p.Epoch = t.seq, t.epoch
	if p.Save {
		p.Saved = b.save(t, p.Message)
	}
	deliver(t.subs, p)
	return nil
}

// deliver hands p to all of subs, also if one of them panics: that panic is the
// publisher's, afterwards.
func deliver(subs []Subscriber, p *Publication) {
	i := 0
	defer func() {
		if i < len(subs) {
			deliver(subs[i+1:], p)
		}
	}()
	for ; i < len(subs); i++ {
		subs[i].Deliver(p)
	}
}

// Subscribe is [Broker]'s.
func (b *MemoryBroker) Subscribe(ctx context.Context, group string, s Subscriber) error {
	t, err := b.pin(ctx, group, true)
	if err != nil {
		return err
	}
	defer b.unpin(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.subs, s) {
		t.subs = append(t.subs, s)
	}
	b.listen(t)
	return nil
}

// Unsubscribe is [Broker]'s.
func (b *MemoryBroker) Unsubscribe(ctx context.Context, group string, s Subscriber) error {
	t, err := b.pin(ctx, group, false)
	if err != nil {
		return err
	}
	defer b.unpin(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subs = slices.DeleteFunc(t.subs, func(o Subscriber) bool { return o == s })
	b.listen(t)
	return nil
}

func (b *MemoryBroker) listen(t *topic) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.listeners = len(t.subs)
}

// Position is [Broker]'s.
func (b *MemoryBroker) Position(ctx context.Context, group string) (Position, error) {
	t, err := b.pin(ctx, group, false)
	if err != nil {
		return Position{}, err
	}
	defer b.unpin(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	return Position{Epoch: t.epoch, Seq: t.seq}, nil
}

// History is [Broker]'s.
func (b *MemoryBroker) History(ctx context.Context, group string, opts *HistoryOptions) (HistoryPage, error) {
	t, err := b.pin(ctx, group, false)
	if err != nil {
		return HistoryPage{}, err
	}
	defer b.unpin(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	page := HistoryPage{Position: Position{Epoch: t.epoch, Seq: t.seq}}
	var o HistoryOptions
	if opts != nil {
		o = *opts
	}
	if o.After != nil && (o.After.Epoch != t.epoch || o.After.Seq > t.seq) {
		o.After = nil
	}
	page.Messages = t.history.Messages(&o)
	page.Complete = o.After != nil && t.history.lostThrough() <= o.After.Seq // now: one may have expired since
	return page, nil
}

// Flush is [Broker]'s.
func (b *MemoryBroker) Flush(ctx context.Context, groups ...string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	for e := b.written.Front(); e != nil; {
		t := e.Value.(*topic)
		e = e.Next()
		if len(groups) == 0 || slices.Contains(groups, t.name) {
			t.history.Clear()
			b.recount(t)
		}
	}
	return nil
}

// Close is [Broker]'s.
func (b *MemoryBroker) Close(context.Context) error {
	b.desk.close()
	b.post.close()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.topics = nil
	b.written.Init()
	b.bare.Init()
	b.named, b.bytes = 0, 0
	b.presence.clear()
	return nil
}

// historyCounts is what all histories hold, and how many messages they let go.
func (b *MemoryBroker) historyCounts() (bytes int, evicted uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.opts.History.TTL > 0 {
		for e := b.written.Front(); e != nil; {
			t := e.Value.(*topic)
			e = e.Next()
			b.recount(t)
		}
	}
	return b.bytes, b.evicted
}

// pin returns the topic of group, new if need be, which stays until unpinned. named
// says that it is about to get subscribers or history.
func (b *MemoryBroker) pin(ctx context.Context, group string, named bool) (*topic, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if named && b.named >= b.opts.MaxGroups {
		b.forgetExpired()
	}
	t := b.topics[group]
	switch {
	case b.closed:
		return nil, ErrClosed
	case named && (t == nil || !t.named) && b.named >= b.opts.MaxGroups:
		return nil, ErrTooManyGroups
	case t == nil:
		t = &topic{name: group, epoch: newToken(), history: &History{limits: b.opts.History}}
		b.topics[group] = t
	}
	t.pins++
	b.unbare(t) // or it might be forgotten while in use
	if named {
		b.name(t, true)
	}
	return t, nil
}

// unpin sorts t by what it has become.
func (b *MemoryBroker) unpin(t *topic) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.pins--
	b.sort(t)
}

// sort puts t, unless it is pinned, where it belongs. b.mu is held.
func (b *MemoryBroker) sort(t *topic) {
	if t.pins > 0 || b.closed {
		return
	}
	b.name(t, t.listeners > 0 || t.counted > 0)
	b.unbare(t)
	if t.named {
		return
	}
	t.bare = b.bare.PushBack(t)
	if b.bare.Len() > maxBare {
		oldest := b.bare.Remove(b.bare.Front()).(*topic)
		delete(b.topics, oldest.name)
	}
}

// unbare takes t off the list of those that may be forgotten. b.mu is held.
func (b *MemoryBroker) unbare(t *topic) {
	if t.bare != nil {
		b.bare.Remove(t.bare)
		t.bare = nil
	}
}

// name counts t among the named topics, or not. b.mu is held.
func (b *MemoryBroker) name(t *topic, named bool) {
	if t.named == named {
		return
	}
	t.named = named
	if named {
		b.named++
	} else {
		b.named--
	}
}

// save keeps m in t's history. What has to go, of t or of other topics, goes first,
// so that no limit is exceeded at any time.
func (b *MemoryBroker) save(t *topic, m Message) bool {
	need := cost(m)
	if need > min(b.opts.HistoryBytes, b.opts.History.Bytes) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false // nobody could have it back
	}
	if t.written != nil {
		b.written.MoveToBack(t.written)
	}
	t.history.makeRoom(need)
	b.recount(t)
	for b.bytes+need > b.opts.HistoryBytes {
		oldest := b.written.Front().Value.(*topic)
		if oldest == t { // it has all there is
			t.history.makeRoom(b.opts.History.Bytes - (b.opts.HistoryBytes - need))
		} else {
			oldest.history.makeRoom(b.opts.History.Bytes) // all there is
		}
		b.recount(oldest)
	}
	err := t.history.Append(m)
	b.recount(t)
	if front := b.written.Front(); front != nil {
		b.recount(front.Value.(*topic)) // what has expired need not wait for somebody to look
	}
	return err == nil
}

// recount updates what is known of t's history. b.mu is held.
func (b *MemoryBroker) recount(t *topic) {
	n, evicted := t.history.counts()
	b.bytes += n - t.counted
	b.evicted += evicted - t.evicted
	t.counted, t.evicted = n, evicted
	switch {
	case n > 0 && t.written == nil:
		t.written = b.written.PushBack(t)
	case n == 0 && t.written != nil:
		b.written.Remove(t.written)
		t.written = nil
		b.sort(t)
	}
}

// forgetExpired lets go of the topics whose whole history has expired. They are the
// ones that were written longest ago. b.mu is held.
func (b *MemoryBroker) forgetExpired() {
	for e := b.written.Front(); e != nil; e = b.written.Front() {
		t := e.Value.(*topic)
		if b.recount(t); t.counted > 0 {
			return
		}
	}
}

func newToken() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
