package main

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"sync"
	"time"
)

// A balancer passes requests, WebSockets among them, to the nodes that live: each to the
// one with the fewest sockets, in turn where they have as many. A node that cannot be
// reached is skipped.
type balancer struct {
	proxy  httputil.ReverseProxy
	dialer net.Dialer
	active sync.WaitGroup // of requests, until their sockets have ended

	mu    sync.Mutex // guards what follows
	nodes []*backend
	turn  int // the index from which on the next one is looked for
}

// A backend is a node that has said that it listens.
type backend struct {
	addr    string
	sockets int // open, or about to be; guarded by the balancer's mu
}

func newBalancer(logger *slog.Logger) *balancer {
	b := &balancer{dialer: net.Dialer{Timeout: 2 * time.Second}}
	b.proxy = httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			// Out.Host stays as it came: nodes compare it with the Origin of a socket.
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "a-node"
			r.SetXForwarded()
		},
		// Which node it is, is decided while the connection is made: at that time nothing has
		// been sent, and another can be tried.
		Transport: &http.Transport{
			DialContext:           b.dial,
			DisableKeepAlives:     true, // or the next request would have no choice
			ResponseHeaderTimeout: 5 * time.Second,
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, errNoNode) {
				w.Header().Set("Retry-After", "3")
				http.Error(w, "No node is up. Try again in a few seconds.", http.StatusServiceUnavailable)
				return
			}
			logger.Warn("balancer", "err", err)
			w.WriteHeader(http.StatusBadGateway)
		},
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug), // sockets that ended in the middle
	}
	return b
}

// isSocket is the key of a context whose request asks for a WebSocket.
type isSocket struct{}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.active.Add(1)
	defer b.active.Done()
	if r.Header.Get("Upgrade") != "" {
		r = r.WithContext(context.WithValue(r.Context(), isSocket{}, true))
		w = whole{w}
	}
	b.proxy.ServeHTTP(w, r)
}

// whole hands out connections that are closed as a whole: when a node's end of a socket
// has gone, the proxy would else wait for the other, which may never notice.
type whole struct{ http.ResponseWriter }

func (w whole) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w whole) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	return struct{ net.Conn }{conn}, rw, err // without CloseWrite
}

// wait waits until all requests and sockets have ended, or ctx has.
func (b *balancer) wait(ctx context.Context) error {
	idle := make(chan struct{})
	go func() { b.active.Wait(); close(idle) }() // ends with the last
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// add lets the node at addr have its share until remove is called. Sockets that it has by
// then go on.
func (b *balancer) add(addr string) (remove func()) {
	n := &backend{addr: addr}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes = append(b.nodes, n)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.nodes = slices.DeleteFunc(b.nodes, func(o *backend) bool { return o == n })
	}
}

var errNoNode = errors.New("no node can be reached")

// dial connects to the first node that takes the connection.
func (b *balancer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	share := 0
	if ctx.Value(isSocket{}) != nil {
		share = 1
	}
	var tried []*backend
	for {
		n := b.take(tried, share)
		if n == nil {
			return nil, errNoNode
		}
		conn, err := b.dialer.DialContext(ctx, network, n.addr)
		if err == nil {
			return &counted{Conn: conn, done: sync.OnceFunc(func() { b.give(n, share) })}, nil
		}
		b.give(n, share)
		tried = append(tried, n)
	}
}

// take picks a node that was not tried, and counts share sockets for it.
func (b *balancer) take(tried []*backend, share int) *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	var best *backend
	turn := 0
	for i := range b.nodes {
		at := (b.turn + i) % len(b.nodes)
		n := b.nodes[at]
		if !slices.Contains(tried, n) && (best == nil || n.sockets < best.sockets) {
			best, turn = n, at+1
		}
	}
	if best != nil {
		best.sockets += share
		b.turn = turn
	}
	return best
}

func (b *balancer) give(n *backend, share int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n.sockets -= share
}

// counted is a connection to a node, which has one less when it closes.
type counted struct {
	net.Conn
	done func()
}

func (c *counted) Close() error {
	c.done()
	return c.Conn.Close()
}
