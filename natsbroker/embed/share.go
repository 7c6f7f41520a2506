package embed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// takeOver is how often a process looks whether there is no server any more.
const takeOver = 100 * time.Millisecond

// A Shared is what [Share] returns.
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
// within a second, with all that is stored in dir, which all name alike.
//
// They connect to URL:
//
//	shared, err := embed.Share("127.0.0.1:7422", "/var/lib/chat")
//	broker, err := natsbroker.Open(shared.URL(), nil)
//
// addr may only be a loopback address: any process of the machine may connect to it.
func Share(addr, dir string) (*Shared, error) {
	if dir == "" {
		return nil, errors.New("embed: no directory")
	}
	if _, port, err := address("addr", addr, ""); err != nil {
		return nil, err
	} else if port <= 0 {
		return nil, fmt.Errorf("embed: %q names no port, which all processes must know", addr)
	}
	s := &Shared{addr: addr, dir: dir, closing: make(chan struct{})}
	s.wg.Go(s.run)
	return s, nil
}

// URL is where all processes connect.
func (s *Shared) URL() string { return "nats://" + s.addr }

// Err says why this process could not be the server when it last tried, other than that
// another one is; nil if it could.
func (s *Shared) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close stops the server, if this process runs it, and has it run none any more. It waits
// for that until ctx ends.
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
			err = s.serve(l)
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
		}
		select {
		case <-s.closing:
			return
		case <-time.After(takeOver):
		}
	}
}

// serve runs a server behind l until Close.
func (s *Shared) serve(l net.Listener) error {
	defer l.Close()
	started, err := Start(&Options{Dir: s.dir})
	if err != nil {
		return err
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
	return nil
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
