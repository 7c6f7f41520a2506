package brokertest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

// A wireNode is a broker on a wireEngine.
type wireNode struct {
	engine *wireEngine
	prefix string
	closed chan struct{}
	ended  chan struct{} // its goroutine

	mu          sync.Mutex // guards what follows; taken before a connection's
	done        bool
	conn        *wireConn // nil: the engine is away
	subscribers map[string][]wschannels.Subscriber
	listeners   map[string][]wschannels.Listener
}

func wireOpen(t *testing.T, e *wireEngine, prefix string) wschannels.Broker {
	n := &wireNode{
		engine: e, prefix: prefix, closed: make(chan struct{}), ended: make(chan struct{}), conn: e.connect(prefix),
		subscribers: make(map[string][]wschannels.Subscriber), listeners: make(map[string][]wschannels.Listener),
	}
	go n.run()
	t.Cleanup(func() { _ = n.Close(context.Background()) })
	if e.flaw != "" {
		return newFlawed(n)
	}
	return n
}

// based is a wireNode, or a broker that has one inside.
type based interface{ base() *wireNode }

func (n *wireNode) base() *wireNode { return n }

func (n *wireNode) flaw(name string) bool { return n.engine.flaw == name }

func (n *wireNode) current() *wireConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conn
}

// run hands on what comes, and connects again.
func (n *wireNode) run() {
	defer close(n.ended)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		if c := n.current(); c != nil {
			select {
			case <-n.closed:
				return
			case <-c.more:
				for _, e := range c.pop() {
					if n.flaw("takes nobody for an answer that counts") || n.flaw("leaves requests to who has gone unanswered") {
						<-time.After(time.Millisecond) // or a listener seldom goes meanwhile
					}
					n.handle(e)
				}
			case <-c.dead:
				n.lost()
			}
			continue
		}
		select {
		case <-n.closed:
			return
		case <-again.C:
			n.reconnect()
		}
	}
}

// lost tells every subscriber that the connection is.
func (n *wireNode) lost() {
	n.mu.Lock()
	n.conn = nil
	var told []wschannels.Subscriber
	for _, subs := range n.subscribers {
		for _, s := range subs {
			if !slices.Contains(told, s) || n.flaw("reports an outage for each group") {
				told = append(told, s)
			}
		}
	}
	n.mu.Unlock()
	if n.flaw("does not report an outage") {
		return
	}
	for _, s := range told {
		s.Failed(fmt.Errorf("%w: connection lost", wschannels.ErrUnavailable))
	}
}

// reconnect subscribes to all that is wanted, and then says that it works again.
func (n *wireNode) reconnect() {
	c := n.engine.connect(n.prefix)
	if c == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for g := range n.subscribers {
		if n.flaw("forgets its subscriptions in an outage") {
			break
		}
		c.subscribe(g)
		if !n.flaw("does not say that it was interrupted") {
			c.push(wireEvent{group: g, interrupted: true})
		}
	}
	for a := range n.listeners {
		if n.flaw("forgets its addresses in an outage") {
			break
		}
		c.listen(a)
		c.push(wireEvent{address: a, interrupted: true})
	}
	n.conn = c
}

func (c *wireConn) subscribe(group string) {
	_ = c.memory.Subscribe(context.Background(), group, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups[group] = true
}

func (c *wireConn) listen(address string) {
	_ = c.memory.Listen(context.Background(), address, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addresses[address] = true
}

// absenceTime is how long the answer that nobody is here waits for another node's: the first
// one counts.
const absenceTime = 50 * time.Millisecond

// handle hands e on to whom it concerns.
func (n *wireNode) handle(e wireEvent) {
	n.mu.Lock()
	subs, listeners := slices.Clone(n.subscribers[e.group]), slices.Clone(n.listeners[e.address])
	n.mu.Unlock()
	switch {
	case e.address != "" && e.interrupted:
		for _, l := range listeners {
			l.Interrupted(e.address)
		}
	case e.address != "" && len(listeners) == 0:
		switch n.engine.flaw {
		case "leaves requests to who has gone unanswered":
		case "takes nobody for an answer that counts":
			e.answer(nil)
		default:
			time.AfterFunc(absenceTime, func() { e.answer(nil) })
		}
	case e.address != "":
		for _, l := range listeners {
			l.Hear(e.address, e.data, func(data []byte) { e.answer(append([]byte{}, data...)) })
		}
	case e.interrupted:
		for _, s := range subs {
			s.Interrupted(e.group)
		}
	case e.entry != nil:
		for _, s := range subs {
			s.Appear(e.group, *e.entry)
		}
	default:
		p := &wschannels.Publication{}
		err := p.UnmarshalBinary(e.data)
		p.Group, p.Seq, p.Epoch, p.Saved = e.group, e.at.Seq, e.at.Epoch, e.saved
		for _, s := range subs {
			if err != nil {
				s.Failed(err)
			} else {
				s.Deliver(p)
			}
		}
	}
}

// do calls f if the engine can be reached.
func (n *wireNode) do(ctx context.Context, f func(m *wschannels.MemoryBroker) error) error {
	c, err := n.reach(ctx)
	if err != nil {
		return err
	}
	n.engine.mu.RLock()
	if c.isDead() || !n.engine.up {
		n.engine.mu.RUnlock()
		return n.unlessClosed(wschannels.ErrUnavailable)
	}
	err = f(c.memory)
	n.engine.mu.RUnlock()
	if c.isDead() && err == nil {
		return n.unlessClosed(wschannels.ErrUnknownOutcome)
	}
	return err
}

// unlessClosed is err, or that n is closed.
func (n *wireNode) unlessClosed(err error) error {
	select {
	case <-n.closed:
		return wschannels.ErrClosed
	default:
		return err
	}
}

func (n *wireNode) reach(ctx context.Context) (*wireConn, error) {
	n.mu.Lock()
	c, done := n.conn, n.done
	n.mu.Unlock()
	switch {
	case done:
		return nil, wschannels.ErrClosed
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case c == nil || c.isDead():
		return nil, wschannels.ErrUnavailable
	}
	c.mu.Lock()
	deaf := c.deaf
	c.mu.Unlock()
	if deaf {
		select {
		case <-c.dead:
			return nil, n.unlessClosed(wschannels.ErrUnavailable)
		case <-ctx.Done():
			return nil, wschannels.ErrUnavailable
		}
	}
	return c, nil
}

// Close is Broker's.
func (n *wireNode) Close(context.Context) error {
	n.mu.Lock()
	if n.done {
		n.mu.Unlock()
		return nil
	}
	n.done = true
	c := n.conn
	n.mu.Unlock()
	close(n.closed)
	<-n.ended
	if c != nil {
		c.breakDown()
	}
	if c := n.current(); c != nil { // it had just connected
		c.breakDown()
	}
	return nil
}
