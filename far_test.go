package wschannels_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

// A farEngine is a MemoryBroker at the other end of wires.
type farEngine struct {
	*wschannels.MemoryBroker
}

// A farNode is one node's Broker: a wire to the engine. What is published crosses it as
// bytes, and comes back late, from one goroutine, which exists only while there is
// something on its way.
type farNode struct {
	delay time.Duration // of each delivery

	// Called with each copy, with mu held, if not nil.
	lose, twice func(p *wschannels.Publication) bool

	// Called before and after the engine was, if not nil; an error is the call's.
	before, after func(ctx context.Context, p *wschannels.Publication) error

	mu       sync.Mutex // guards what follows, and the above once in use
	engine   *farEngine
	to       map[string]wschannels.Subscriber
	onItsWay []func()
	running  bool
	away     bool
	silent   bool
	asking   int // calls of History and Position under way
	most     int // of them
	calls    int // that needed the engine
	askDelay time.Duration
}

func (n *farNode) send(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onItsWay = append(n.onItsWay, f)
	if !n.running {
		n.running = true
		go n.carry()
	}
}

func (n *farNode) carry() {
	for {
		n.mu.Lock()
		if len(n.onItsWay) == 0 {
			n.running = false
			n.mu.Unlock()
			return
		}
		f := n.onItsWay[0]
		n.onItsWay = n.onItsWay[1:]
		delay := n.delay
		n.mu.Unlock()
		if delay > 0 {
			time.Sleep(delay)
		} else {
			runtime.Gosched()
		}
		f()
	}
}

// called returns how many calls needed the engine.
func (n *farNode) called() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls
}

// reach fails while the engine is away: at once, or when ctx ends.
func (n *farNode) reach(ctx context.Context, silence error) (*farEngine, error) {
	n.mu.Lock()
	n.calls++
	engine, away, silent := n.engine, n.away, n.silent
	n.mu.Unlock()
	switch {
	case !away:
		return engine, nil
	case silent:
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", silence, context.Cause(ctx))
	}
	return nil, wschannels.ErrUnavailable
}

func (n *farNode) Publish(ctx context.Context, p *wschannels.Publication) error {
	if n.before != nil {
		if err := n.before(ctx, p); err != nil {
			return err
		}
	}
	engine, err := n.reach(ctx, wschannels.ErrUnknownOutcome)
	if err != nil {
		return err
	}
	b, err := p.MarshalBinary()
	if err != nil {
		return err
	}
	var there wschannels.Publication
	if err := there.UnmarshalBinary(b); err != nil {
		return err
	}
	there.Group = p.Group
	if err := engine.Publish(ctx, &there); err != nil {
		return err
	}
	p.Seq, p.Epoch, p.Saved = there.Seq, there.Epoch, there.Saved
	if n.after != nil {
		return n.after(ctx, p)
	}
	return nil
}

// A farEnd is where the engine sends what is for a node.
type farEnd struct {
	node  *farNode
	group string
}

func (farEnd) Appear(string, wschannels.PresenceEntry) {}
func (farEnd) Interrupted(string)                      {}
func (farEnd) Failed(error)                            {}

func (e farEnd) Deliver(p *wschannels.Publication) {
	b, err := p.MarshalBinary()
	if err != nil {
		panic(err)
	}
	n := e.node
	n.mu.Lock()
	if n.away || n.lose != nil && n.lose(p) {
		n.mu.Unlock()
		return
	}
	times := 1
	if n.twice != nil && n.twice(p) {
		times = 2
	}
	n.mu.Unlock()
	seq, epoch, saved := p.Seq, p.Epoch, p.Saved
	for range times {
		n.send(func() {
			var here wschannels.Publication
			if err := here.UnmarshalBinary(slices.Clone(b)); err != nil {
				panic(err)
			}
			here.Group, here.Seq, here.Epoch, here.Saved = e.group, seq, epoch, saved
			n.mu.Lock()
			to := n.to[e.group]
			n.mu.Unlock()
			if to != nil { // else nobody is subscribed any more
				to.Deliver(&here)
			}
		})
	}
}

func (n *farNode) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	engine, err := n.reach(ctx, wschannels.ErrUnavailable)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.to[group] = s
	n.mu.Unlock()
	if err := engine.Subscribe(ctx, group, farEnd{n, group}); err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.to, group)
		return err
	}
	return nil
}

func (n *farNode) Unsubscribe(ctx context.Context, group string, _ wschannels.Subscriber) error {
	n.mu.Lock()
	delete(n.to, group)
	engine := n.engine
	n.mu.Unlock()
	return engine.Unsubscribe(ctx, group, farEnd{n, group})
}

func (n *farNode) Close(context.Context) error { return nil }

// asks counts a call of History or Position, which takes its time.
func (n *farNode) asks() (done func()) {
	n.mu.Lock()
	n.asking++
	n.most = max(n.most, n.asking)
	delay := n.askDelay
	n.mu.Unlock()
	time.Sleep(delay)
	return func() {
		n.mu.Lock()
		n.asking--
		n.mu.Unlock()
	}
}

func (n *farNode) Position(ctx context.Context, group string) (at wschannels.Position, err error) {
	defer n.asks()()
	engine, err := n.reach(ctx, wschannels.ErrUnavailable)
	if err != nil {
		return at, err
	}
	return engine.Position(ctx, group)
}

func (n *farNode) History(ctx context.Context, group string, opts *wschannels.HistoryOptions) (page wschannels.HistoryPage, err error) {
	defer n.asks()()
	engine, err := n.reach(ctx, wschannels.ErrUnavailable)
	if err != nil {
		return page, err
	}
	return engine.History(ctx, group, opts)
}

func (n *farNode) Flush(ctx context.Context, groups ...string) error {
	engine, err := n.reach(ctx, wschannels.ErrUnknownOutcome)
	if err != nil {
		return err
	}
	return engine.Flush(ctx, groups...)
}

// set changes what is guarded.
func (n *farNode) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// cut takes the engine away; what it sends meanwhile is lost.
func (n *farNode) cut(silent bool) { n.set(func() { n.away, n.silent = true, silent }) }

// restore brings it back, and says so for every group.
func (n *farNode) restore() {
	n.mu.Lock()
	n.away = false
	to := maps.Clone(n.to)
	n.mu.Unlock()
	n.send(func() {
		for group, s := range to {
			s.Interrupted(group)
		}
	})
}

// moveTo puts n, which has been cut, on another engine.
func (n *farNode) moveTo(t testing.TB, engine *farEngine) {
	n.mu.Lock()
	n.engine = engine
	groups := slices.Collect(maps.Keys(n.to))
	n.mu.Unlock()
	for _, g := range groups {
		if err := engine.Subscribe(t.Context(), g, farEnd{n, g}); err != nil {
			t.Fatal(err)
		}
	}
}

func newFarEngine(t testing.TB) *farEngine {
	t.Helper()
	const plenty = 1 << 30
	m, err := wschannels.NewMemoryBroker(&wschannels.MemoryBrokerOptions{
		History: wschannels.HistoryLimits{Bytes: plenty}, HistoryBytes: plenty,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &farEngine{m}
}

// farCluster returns n boxes with opts, each on a node of one engine. It is for bubbles.
func farCluster(t testing.TB, n int, opts wschannels.Options) (boxes []*wschannels.ChannelBox, nodes []*farNode) {
	t.Helper()
	engine := newFarEngine(t)
	for i := range n {
		node := &farNode{engine: engine, to: make(map[string]wschannels.Subscriber), delay: time.Duration(i+1) * time.Millisecond}
		t.Cleanup(func() { time.Sleep(time.Second) }) // for what is on its way
		opts.Broker = node
		nodes = append(nodes, node)
		boxes = append(boxes, boxOf(t, &opts))
	}
	return boxes, nodes
}
