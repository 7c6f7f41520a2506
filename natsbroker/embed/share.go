package embed

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// takeOver is how often a process looks whether there is no server any more.
const takeOver = 100 * time.Millisecond

// A Shared is one process's part in a server that processes share; see [Share]. All methods
// may be called concurrently.
type Shared struct {
	addr, dir string
	closing   chan struct{}
	once      sync.Once
	wg        sync.WaitGroup

	mu  sync.Mutex // guards err
	err error      // why this process could not be the server the last time
}

// Share has processes of one machine share a NATS server that one of them runs: the first
// that listens on addr, "127.0.0.1:port". When that one ends, or dies, another takes over
// within about a second, with all that is stored in dir. All give the same addr and dir.
// Share does not wait for the server; see [Shared.Err].
//
// All of them, the one with the server too, connect to its URL:
//
//	shared, err := embed.Share("127.0.0.1:7422", "/var/lib/chat")
//	broker, err := natsbroker.Open(shared.URL(), nil)
//
// addr may only be a loopback address. There is no password: any process of the machine may
// connect.
func Share(addr, dir string) (*Shared, error) {
	if dir == "" {
		return nil, badOption("there is no directory")
	}
	if _, port, err := address("the address of Share", addr, ""); err != nil {
		return nil, err
	} else if port <= 0 {
		return nil, badOption("the address of Share is %q, without the port that all processes must know", addr)
	}
	s := &Shared{addr: addr, dir: dir, closing: make(chan struct{})}
	s.wg.Go(s.run)
	return s, nil
}

// URL returns the URL that all processes connect to.
func (s *Shared) URL() string { return "nats://" + s.addr }

// Err returns why this process could not run the server when it last tried. It is nil if it
// could, has not tried, or another process runs it.
func (s *Shared) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close stops the server, if this process runs it: another one takes over. It waits until
// that has stopped or ctx ends.
func (s *Shared) Close(ctx context.Context) error {
	s.once.Do(func() { close(s.closing) })
	stopped := make(chan struct{})
	go func() { // ends with the server
		s.wg.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run is the server whenever nobody else is.
func (s *Shared) run() {
	for {
		// Who has the address may use the directory. So it is not the server that listens:
		// it would open its files before.
		if l, err := net.Listen("tcp", s.addr); err == nil {
			s.serve(l)
		}
		select {
		case <-s.closing:
			return
		case <-time.After(takeOver):
		}
	}
}

// serve runs a server behind l until Close.
func (s *Shared) serve(l net.Listener) {
	defer l.Close()
	started, err := Start(&Options{Dir: s.dir})
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		select {
		case <-s.closing:
		case <-stop:
		}
		l.Close()
	})
	for {
		conn, err := l.Accept()
		if err != nil {
			break
		}
		wg.Go(func() { pipe(started.server, conn) })
	}
	close(stop)
	started.server.Shutdown() // which ends the pipes
	started.server.WaitForShutdown()
	wg.Wait()
}

// pipe connects conn with the server until either ends.
func pipe(s *server.Server, conn net.Conn) {
	defer conn.Close()
	inner, err := s.InProcessConn()
	if err != nil {
		return
	}
	defer inner.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(inner, conn)
		inner.Close()
	})
	_, _ = io.Copy(conn, inner)
	conn.Close()
	wg.Wait()
}
