// Package client is the process with all the connections of a run.
package client

import (
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/wschannels/wschannels/bench/child"
	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/server"
	"github.com/wschannels/wschannels/bench/usage"
)

// Connect says what to connect to, and how.
type Connect struct {
	server.Addresses
	Dialect  contestant.Dialect
	Compress bool
	Timeout  time.Duration // for each step of each connection

	Members int // who read; member i is in group i modulo Groups
	Slow    int // more, in group 0, who never read
	Groups  int
	Step    int // progress is told whenever all have so many messages more

	SampleEvery int // every so many members are looked at closely; 0: the first one only
	Document    int // the size of compressed documents, 0: there are none
}

type process struct {
	members  []*member
	slow     []*session
	progress *progress
	cpu      time.Duration // at the mark
}

// Serve is the process.
func Serve() {
	debug.SetGCPercent(400) // there is nearly nothing to collect
	p := new(process)
	child.Serve(map[string]child.Handler{
		"connect": child.Func(p.connect),
		"mark":    child.Func(p.mark),
		"report":  child.Func(p.report),
		"slow":    child.Func(p.whatBecame),
		"churn":   child.Func(churn),
	})
}

func (p *process) connect(c Connect) (struct{}, error) {
	reports, err := net.Dial("tcp", c.Progress)
	if err != nil {
		return struct{}{}, err
	}
	p.progress = newProgress(reports, c.Members, c.Step)
	p.members = make([]*member, c.Members)
	p.slow = make([]*session, c.Slow)
	t := target{addr: c.Hub, dialect: c.Dialect, compress: c.Compress, timeout: c.Timeout}
	if err := each(c.Slow, func(i int) error {
		s, err := t.join(slowDialer(), server.GroupName(0))
		p.slow[i] = s
		return err
	}); err != nil {
		return struct{}{}, err
	}
	if err := each(c.Members, func(i int) error {
		s, err := t.join(new(net.Dialer), server.GroupName(i%c.Groups))
		if err == nil {
			p.members[i] = adopt(s, p.progress)
		}
		return err
	}); err != nil {
		return struct{}{}, err
	}
	lines := newLineCache(4096)
	for i, m := range p.members {
		m.lines = lines
		if i == 0 || c.SampleEvery > 0 && i%c.SampleEvery == 0 {
			m.sampled = &sample{document: c.Document}
		}
		go m.run() // ends with the process
	}
	return struct{}{}, nil
}

func (t target) join(d *net.Dialer, group string) (*session, error) {
	s, err := t.open(d, group)
	if err != nil {
		return nil, err
	}
	if err := s.join(group); err != nil {
		s.abort()
		return nil, err
	}
	return s, nil
}

// each calls f for 0 to n-1, some at the same time, and returns the first error.
func each(n int, f func(int) error) error {
	const workers = 32
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				if err := f(i); err != nil {
					errs <- fmt.Errorf("connection %d of %d: %w", i+1, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// mark begins the part that is measured.
func (p *process) mark(struct{}) (struct{}, error) {
	for _, m := range p.members {
		m.mark()
	}
	p.cpu = usage.CPU()
	return struct{}{}, nil
}
