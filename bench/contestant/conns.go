package contestant

import (
	"sync"
	"time"
)

// conns are the open connections of a hub, so that it can end them and wait for their
// goroutines.
type conns[C comparable] struct {
	mu     sync.Mutex
	open   map[C]struct{}
	closed bool
	wg     sync.WaitGroup
}

// add counts c in, for as many goroutines as call done. It returns false once the hub
// has been closed: the caller must then end c itself.
func (s *conns[C]) add(c C, goroutines int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = make(map[C]struct{})
	}
	s.open[c] = struct{}{}
	s.wg.Add(goroutines)
	return true
}

// remove is told when c has been closed. It returns whether c had been counted in.
func (s *conns[C]) remove(c C) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.open[c]
	delete(s.open, c)
	return ok
}

// done is called at the end of each goroutine.
func (s *conns[C]) done() { s.wg.Done() }

// close calls end for every connection, and waits until all goroutines have ended. It
// calls end again for those that are still open after a while: melody loses a close
// message where the buffer is full. end must not call remove.
func (s *conns[C]) close(end func(C)) {
	ended := make(chan struct{})
	s.endAll(end)
	go func() {
		s.wg.Wait()
		close(ended)
	}()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ended:
			return
		case <-again.C:
			s.endAll(end)
		}
	}
}

func (s *conns[C]) endAll(end func(C)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		end(c)
	}
}
