package brokertest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/brokertest"
)

// A wireEngine is an engine that its nodes reach by connections, which break: the smallest
// that has all that an engine of its own process has.
type wireEngine struct {
	flaw  string // what a node does wrong; see flawed_test.go
	keeps bool

	mu     sync.RWMutex // read-locked by what is done in data
	up     bool
	data   map[string]*wschannels.MemoryBroker // by prefix
	limits map[string]wschannels.HistoryLimits
	conns  map[*wireConn]struct{}

	slowest   sync.Mutex // held while anybody takes a message, with one flaw
	numbering sync.Mutex // guards what follows, for others
	numbers   map[uuid.UUID]uint64
	asked     []string
}

func newWireEngine(keeps bool, flaw string) *wireEngine {
	e := &wireEngine{flaw: flaw, keeps: keeps, up: true}
	e.data = make(map[string]*wschannels.MemoryBroker)
	e.limits = make(map[string]wschannels.HistoryLimits)
	e.conns = make(map[*wireConn]struct{})
	return e
}

// memory returns the data of prefix, new if need be. e.mu is locked.
func (e *wireEngine) memory(prefix string) *wschannels.MemoryBroker {
	m := e.data[prefix]
	if m == nil {
		m, _ = wschannels.NewMemoryBroker(&wschannels.MemoryBrokerOptions{History: e.limits[prefix]})
		e.data[prefix] = m
	}
	return m
}

func (e *wireEngine) stop() {
	e.mu.Lock()
	e.up = false
	conns := e.conns
	e.conns = make(map[*wireConn]struct{})
	if !e.keeps {
		e.data = make(map[string]*wschannels.MemoryBroker)
	}
	e.mu.Unlock()
	for c := range conns {
		c.breakDown()
	}
}

func (e *wireEngine) start() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.up = true
}

// connect returns a connection of a node with that prefix, nil if the engine is away.
func (e *wireEngine) connect(prefix string) *wireConn {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.up {
		return nil
	}
	c := &wireConn{engine: e, memory: e.memory(prefix), prefix: prefix, dead: make(chan struct{}), more: make(chan struct{}, 1)}
	c.groups, c.addresses = make(map[string]bool), make(map[string]bool)
	e.conns[c] = struct{}{}
	return c
}

// subscribed reports whether any connection has a subscription to group.
func (e *wireEngine) subscribed(prefix, group string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for c := range e.conns {
		c.mu.Lock()
		has := c.prefix == prefix && c.groups[group]
		c.mu.Unlock()
		if has {
			return true
		}
	}
	return false
}

func (e *wireEngine) garbage(prefix, group string) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for c := range e.conns {
		c.mu.Lock()
		has := c.prefix == prefix && c.groups[group]
		c.mu.Unlock()
		if has {
			c.push(wireEvent{group: group, data: []byte("garbage")})
		}
	}
}

// A wireConn is a connection: what it is subscribed to, and what it has yet to hand on.
type wireConn struct {
	engine *wireEngine
	memory *wschannels.MemoryBroker
	prefix string
	dead   chan struct{}
	more   chan struct{} // has one when queue has

	mu        sync.Mutex // guards what follows
	broken    bool
	deaf      bool
	groups    map[string]bool
	addresses map[string]bool
	queue     []wireEvent
}

// A wireEvent is what comes over a connection: one of its kinds.
type wireEvent struct {
	group string
	data  []byte // a publication
	at    wschannels.Position
	saved bool

	entry       *wschannels.PresenceEntry
	interrupted bool

	address string // a request
	answer  func([]byte)
}

func (c *wireConn) push(e wireEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.deaf {
		return
	}
	c.queue = append(c.queue, e)
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *wireConn) pop() []wireEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.queue
	c.queue = nil
	return all
}

// Deliver, Appear, Interrupted and Failed make the connection a subscriber of the engine's data.
func (c *wireConn) Deliver(p *wschannels.Publication) {
	data, _ := p.MarshalBinary()
	c.push(wireEvent{group: p.Group, data: data, at: wschannels.Position{Epoch: p.Epoch, Seq: p.Seq}, saved: p.Saved})
}

func (c *wireConn) Appear(group string, e wschannels.PresenceEntry) {
	c.push(wireEvent{group: group, entry: &e})
}

func (c *wireConn) Interrupted(string) {}
func (c *wireConn) Failed(error)       {}

// Hear makes it a listener, too.
func (c *wireConn) Hear(address string, data []byte, answer func([]byte)) {
	c.push(wireEvent{address: address, data: data, answer: answer})
}

// breakDown ends the connection, and what the engine has for it.
func (c *wireConn) breakDown() {
	c.mu.Lock()
	if c.broken {
		c.mu.Unlock()
		return
	}
	c.broken = true
	groups, addresses := c.groups, c.addresses
	c.queue = nil
	c.mu.Unlock()
	c.engine.mu.Lock()
	delete(c.engine.conns, c)
	c.engine.mu.Unlock()
	for g := range groups {
		_ = c.memory.Unsubscribe(context.Background(), g, c)
	}
	for a := range addresses {
		_ = c.memory.Unlisten(context.Background(), a, c)
	}
	close(c.dead)
}

func (c *wireConn) isDead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// goDeaf has c carry nothing any more; its node's probe notices after a while.
func (c *wireConn) goDeaf() {
	c.mu.Lock()
	c.deaf = true
	c.mu.Unlock()
	if c.engine.flaw != "does not notice that it is deaf" {
		time.AfterFunc(50*time.Millisecond, c.breakDown)
	}
}

// wireFeatures are the features of nodes on e.
func wireFeatures(e *wireEngine) brokertest.Features {
	node := func(b wschannels.Broker) *wireNode { return b.(based).base() }
	return brokertest.Features{
		Node: func(t *testing.T, b wschannels.Broker) wschannels.Broker { return wireOpen(t, e, node(b).prefix) },
		Limited: func(t *testing.T, limits wschannels.HistoryLimits) wschannels.Broker {
			prefix := fmt.Sprint(t.Name(), limits)
			e.mu.Lock()
			e.limits[prefix] = e.flawed(limits)
			e.mu.Unlock()
			return wireOpen(t, e, prefix)
		},
		Stranger: func(t *testing.T, b wschannels.Broker) wschannels.Broker {
			if e.flaw == "has one prefix" {
				return wireOpen(t, e, node(b).prefix)
			}
			return wireOpen(t, e, node(b).prefix+"2")
		},
		Garbage: func(_ *testing.T, b wschannels.Broker, group string) { e.garbage(node(b).prefix, group) },
		Subscribed: func(_ *testing.T, b wschannels.Broker, group string) bool {
			return e.subscribed(node(b).prefix, group)
		},
		Cut: func(_ *testing.T, b wschannels.Broker) {
			if c := node(b).current(); c != nil {
				c.breakDown()
			}
		},
		Deaf: func(_ *testing.T, b wschannels.Broker) {
			if c := node(b).current(); c != nil {
				c.goDeaf()
			}
		},
		Stop:      func(*testing.T, wschannels.Broker) { e.stop() },
		Start:     func(*testing.T, wschannels.Broker) { e.start() },
		KeepsData: e.keeps,
		Lease:     200 * time.Millisecond,
	}
}
