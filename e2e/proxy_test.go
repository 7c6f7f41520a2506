package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between a browser and a program, and loses connections.
type proxy struct {
	addr string

	mu     sync.Mutex // guards what follows
	target string
	down   bool           // refuses new connections
	mute   bool           // what the program says gets lost
	budget int64          // bytes that may still pass to the browser before everything is cut; 0: no end
	pairs  map[*pair]bool // open connections
	over   bool           // the test has ended
	wg     sync.WaitGroup // of everything that runs
}

// pair is one connection, seen from both sides.
type pair struct{ browser, program net.Conn }

// cut resets both sides, as a network that goes away does.
func (p *pair) cut() {
	for _, c := range []net.Conn{p.browser, p.program} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // an error means that it is closed
		}
		_ = c.Close()
	}
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: listener.Addr().String(), target: target, pairs: map[*pair]bool{}}
	p.wg.Go(func() {
		for {
			browser, err := listener.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(browser) })
		}
	})
	t.Cleanup(func() {
		p.set(func() { p.over = true })
		_ = listener.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// set changes p's fields.
func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// cut resets every connection. New ones pass, unless p is down.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute, p.budget = false, 0
	for pair := range p.pairs {
		pair.cut()
	}
}

// cutAfter cuts when n more bytes have gone to the browser, wherever in a
// message that is.
func (p *proxy) cutAfter(n int64) { p.set(func() { p.budget = n }) }

// lose keeps from the browser all that the program says, until the next cut.
func (p *proxy) lose() { p.set(func() { p.mute = true }) }

// goDown cuts, and refuses new connections until comeBack.
func (p *proxy) goDown() { p.set(func() { p.down = true }); p.cut() }

// comeBack lets connections pass, to a program that may be another.
func (p *proxy) comeBack(target string) { p.set(func() { p.down, p.target = false, target }) }

// serve carries one connection.
func (p *proxy) serve(browser net.Conn) {
	pair := &pair{browser: browser}
	if !p.connect(pair) {
		pair.browser.Close()
		return
	}
	defer p.set(func() { pair.cut(); delete(p.pairs, pair) })
	p.wg.Go(func() {
		_, _ = io.Copy(pair.program, pair.browser) // ends with either side
		p.set(pair.cut)
	})
	buf := make([]byte, 4<<10)
	for {
		n, err := pair.program.Read(buf)
		if !p.pass(pair.browser, buf[:n]) || err != nil {
			return
		}
	}
}

func (p *proxy) connect(pair *pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down || p.over {
		return false
	}
	var err error
	if pair.program, err = net.Dial("tcp", p.target); err != nil {
		return false
	}
	p.pairs[pair] = true
	return true
}

// pass hands data to the browser, as far as it may go, and says whether the
// connection goes on.
func (p *proxy) pass(browser net.Conn, data []byte) bool {
	p.mu.Lock()
	mute, end := p.mute, false
	if p.budget > 0 {
		if end = int64(len(data)) >= p.budget; end {
			data = data[:p.budget]
		}
		p.budget -= int64(len(data))
	}
	p.mu.Unlock()
	if mute {
		return true
	}
	_, err := browser.Write(data)
	if end {
		p.cut()
	}
	return err == nil && !end
}
