package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A result is what a soak has found.
type result struct {
	cfg        *config
	start      sample // with the server, before anybody has connected
	base       sample // after a first round with all connections
	during     []sample
	end        sample // after the round that counts
	elapsed    time.Duration
	processors float64       // that were busy, on average
	pause      time.Duration // the longest time for which the machine did something else
	ledger     *ledger
	problems   []string
}

// soak does everything that cfg says. An error means that it could not.
func soak(cfg *config) (*result, error) {
	if err := needDescriptors(2*cfg.conns + cfg.conns/10 + 100); err != nil {
		return nil, err
	}
	before := take()
	s, err := newServer(cfg)
	if err != nil {
		return nil, err
	}
	r := &result{cfg: cfg, ledger: &s.ledger, start: s.take()}
	fmt.Fprintf(cfg.out, "%d connections for %v, seed %d\n%s\n", cfg.conns, cfg.length, cfg.seed, sampleHead)

	// Once all connections at once, so that what the runtime and the box keep for the
	// next time is there.
	s.round(0, cfg.ramp()+2*cfg.act, func(sample) {})
	if left := s.settle(&r.start); len(left) > 0 {
		r.problems = append(left, s.faults.all()...)
		return r, s.stop() // more would only hide it
	}
	r.base = s.take()
	fmt.Fprintf(cfg.out, "%s  base line\n", r.base)

	began, used := time.Now(), processorTime()
	s.round(1, cfg.length, func(m sample) {
		m.at = time.Since(began)
		r.during = append(r.during, m)
		fmt.Fprintln(cfg.out, m)
	})
	r.elapsed = time.Since(began)
	r.processors = float64(processorTime()-used) / float64(r.elapsed)
	r.problems = append(r.problems, s.settle(&r.start)...)
	r.end = s.take()
	r.end.at = r.elapsed
	fmt.Fprintf(cfg.out, "%s  all closed\n", r.end)

	r.pause = s.pause
	r.problems = append(append(r.problems, r.judge()...), s.faults.all()...)
	if len(r.problems) > 0 && r.pause > longPause {
		r.problems = append(r.problems, fmt.Sprintf("the machine left the process waiting for %v: time limits may have passed because of that", r.pause))
	}
	if err := s.stop(); err != nil {
		r.problems = append(r.problems, fmt.Sprintf("the server does not stop: %v", err))
	}
	if !eventually(func() bool { return before.same(take()) == "" }) {
		r.problems = append(r.problems, "after the server's end, "+before.same(take()))
	}
	return r, nil
}

const longPause = time.Second

// ramp is how long all clients take to connect: a thousand a second.
func (cfg *config) ramp() time.Duration { return time.Duration(cfg.conns) * time.Millisecond }

// round lets all clients come and go for a while, tells now and then how it goes, and
// closes them all.
func (s *server) round(n uint64, length time.Duration, progress func(sample)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	kinds := s.cfg.kinds()
	clients := make([]*client, s.cfg.conns)
	for i := range clients {
		clients[i] = newClient(ctx, s, i, kinds, n)
	}
	s.clients.Store(&clients)
	defer s.clients.Store(nil)

	var all, pressing sync.WaitGroup
	rnd := rand.New(rand.NewPCG(s.cfg.seed, 3_000_000+n))
	for _, c := range clients {
		after := time.Duration(rnd.Int64N(int64(s.cfg.ramp())))
		all.Go(func() {
			if wait(ctx, after) {
				c.run()
			}
		})
	}
	press, stop := context.WithCancel(ctx)
	defer stop()
	pressing.Go(func() { s.press(press) })

	end := time.After(length)
	tick := time.NewTicker(s.cfg.every())
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-tick.C:
			m := s.take()
			s.faults.addAll(s.overCaps(&m))
			progress(m)
		case <-end:
			over = true
		}
	}
	stop()
	pressing.Wait()
	cancel()
	gone := make(chan struct{})
	go func() { all.Wait(); close(gone) }()
	s.closeAll(gone)
}

// every is how often a sample is taken.
func (cfg *config) every() time.Duration {
	return max(500*time.Millisecond, min(10*time.Second, cfg.length/10))
}
