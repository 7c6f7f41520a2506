package natsbroker_test

import (
	"net"
	"sync"
	"testing"
)

// A proxy is a network between one broker and its engine, that can break.
type proxy struct {
	listener net.Listener
	target   func() string
	wg       sync.WaitGroup

	mu    sync.Mutex // guards what follows
	pairs map[*pair]bool
	muted chan struct{} // not nil: what the engine says waits until it is closed
	held  int           // how often it has
	lost  bool          // what waits is dropped
}

// A pair is one connection through a proxy, and its other half.
type pair struct {
	near, far net.Conn
	deaf      chan struct{} // closed: nothing is carried any more
}

func newProxy(t testing.TB, target func() string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, pairs: make(map[*pair]bool)}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.unmute()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		target := p.target()
		far, err := net.Dial("tcp", target)
		p.mu.Lock()
		if err != nil || p.target() != target { // no connection escapes who changes that first, and then cuts
			p.mu.Unlock()
			near.Close()
			if far != nil {
				far.Close()
			}
			continue
		}
		c := &pair{near, far, make(chan struct{})}
		p.pairs[c] = true
		p.mu.Unlock()
		p.wg.Go(func() { p.carry(c, near, far) })
		p.wg.Go(func() { p.carry(c, far, near) })
	}
}

func (p *proxy) carry(c *pair, from, to net.Conn) {
	defer p.drop(c)
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		select {
		case <-c.deaf:
			if err == nil {
				continue // it goes nowhere
			}
		default:
		}
		if err != nil {
			return
		}
		if from == c.far && p.wait(c) {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) drop(c *pair) {
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
	c.near.Close()
	c.far.Close()
}

// each calls f with the present connections.
func (p *proxy) each(f func(*pair)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		f(c)
	}
}

// cut ends the present connections.
func (p *proxy) cut() {
	p.each(func(c *pair) {
		c.near.Close()
		c.far.Close()
	})
}

// deafen has the present connections carry nothing any more.
func (p *proxy) deafen() {
	p.each(func(c *pair) {
		select {
		case <-c.deaf:
		default:
			close(c.deaf)
		}
	})
}

// mute holds back what the engine says.
func (p *proxy) mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted, p.held, p.lost = make(chan struct{}), 0, false
}

// lose drops what is held back, once unmuted.
func (p *proxy) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = true
}

func (p *proxy) unmute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.muted != nil {
		close(p.muted)
		p.muted = nil
	}
}

// holds reports whether something is held back.
func (p *proxy) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held > 0
}

// wait waits while the engine is muted, and reports whether what it said is lost.
func (p *proxy) wait(c *pair) bool {
	p.mu.Lock()
	muted := p.muted
	if muted != nil {
		p.held++
	}
	p.mu.Unlock()
	if muted == nil {
		return false
	}
	<-muted
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}
