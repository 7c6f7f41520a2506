package client

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/server"
	"github.com/wschannels/wschannels/bench/usage"
)

// Churn says how often to come and go.
type Churn struct {
	server.Addresses
	Dialect contestant.Dialect
	Timeout time.Duration // for each step of each cycle

	Cycles, Workers int
}

// Churned is how that went.
type Churned struct {
	Took, CPU time.Duration
	Failed    int64
	Why       string // of one of those that failed
}

// churn connects, joins, leaves, closes and disconnects, again and again.
func churn(c Churn) (done Churned, err error) {
	t := target{addr: c.Hub, dialect: c.Dialect, timeout: c.Timeout}
	cpu, start := usage.CPU(), time.Now()
	var next, failed atomic.Int64
	var why atomic.Value
	var wg sync.WaitGroup
	for w := range c.Workers {
		group := server.GroupName(w)
		wg.Go(func() {
			for next.Add(1) <= int64(c.Cycles) {
				if err := t.cycle(group); err != nil {
					why.Store(err.Error())
					if failed.Add(1) > 100 {
						return
					}
				}
			}
		})
	}
	wg.Wait()
	done = Churned{Took: time.Since(start), CPU: usage.CPU() - cpu, Failed: failed.Load()}
	if done.Failed > 0 {
		done.Why = why.Load().(string)
	}
	if done.Failed > 100 {
		return done, fmt.Errorf("more than 100 cycles failed: %s", done.Why)
	}
	return done, nil
}

func (t target) cycle(group string) error {
	s, err := t.join(new(net.Dialer), group)
	if err != nil {
		return err
	}
	if err := s.leave(group); err != nil {
		s.abort()
		return err
	}
	return s.close()
}
