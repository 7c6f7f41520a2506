package redistest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A Proxy is between a client and a server, and misbehaves when told to. Its methods may be
// called concurrently.
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex // guards what follows
	target string
	pairs  map[*pair]struct{}
	done   bool
}

// A pair is a connection, at both ends.
type pair struct {
	client, server net.Conn

	mu   sync.Mutex // guards deaf
	deaf chan struct{}
}

// NewProxy starts a proxy in front of the address target. It ends with the test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, pairs: make(map[*pair]struct{})}
	p.wg.Add(1)
	go p.accept()
	tb.Cleanup(func() {
		p.mu.Lock()
		p.done = true
		p.mu.Unlock()
		_ = l.Close()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// Addr returns the proxy's address.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// URL returns the proxy's URL.
func (p *Proxy) URL() string { return "redis://" + p.Addr() }

// Redirect has connections that are made from now on go to target. The present ones stay.
func (p *Proxy) Redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Cut ends the present connections.
func (p *Proxy) Cut() {
	for _, c := range p.present() {
		_ = c.client.Close()
		_ = c.server.Close()
		c.deafen()
	}
}

// Deafen has the present connections carry nothing any more, without ending them.
func (p *Proxy) Deafen() {
	for _, c := range p.present() {
		c.deafen()
	}
}

func (c *pair) deafen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.deaf:
	default:
		close(c.deaf)
	}
}

func (p *Proxy) present() []*pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*pair
	for c := range p.pairs {
		all = append(all, c)
	}
	return all
}

func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &pair{client: client, server: server, deaf: make(chan struct{})}
		p.mu.Lock()
		if p.done {
			_ = client.Close()
			_ = server.Close()
		}
		p.pairs[c] = struct{}{}
		p.wg.Add(2)
		p.mu.Unlock()
		go p.carry(c, server, client)
		go p.carry(c, client, server)
	}
}

// carry copies from one end to the other until either ends.
func (p *Proxy) carry(c *pair, to, from net.Conn) {
	defer p.wg.Done()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		select {
		case <-c.deaf:
			_, _ = io.Copy(io.Discard, from)
			err = io.EOF
		default:
			if err == nil {
				_, err = to.Write(b[:n])
			}
		}
		if err != nil {
			_ = c.client.Close()
			_ = c.server.Close()
			p.mu.Lock()
			delete(p.pairs, c)
			p.mu.Unlock()
			return
		}
	}
}
