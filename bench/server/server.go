// Package server is the process in which one contestant serves one scenario.
package server

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/wschannels/wschannels/bench/child"
	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/usage"
)

// Start says what to serve.
type Start struct {
	Contestant string
	Config     contestant.Config
}

// Addresses are where clients connect to, and where they say how far they are.
type Addresses struct {
	Hub, Progress string
}

// Wait says how many members there have to be, and for how long to wait for them.
type Wait struct {
	Members int
	Timeout time.Duration
}

// Counts is what the contestant says at the end.
type Counts struct {
	Members int
	Slow    map[string]int64
}

type process struct {
	all      []contestant.Contestant
	hub      contestant.Hub
	progress progress
	marks    usage.Marks
	sent     int64 // messages to each group
}

// Serve is the process. all are the contestants that it may be asked for.
func Serve(all []contestant.Contestant) {
	p := &process{all: all, progress: progress{moved: make(chan struct{}, 1)}}
	child.Serve(map[string]child.Handler{
		"start":   child.Func(p.start),
		"wait":    child.Func(p.wait),
		"begin":   child.Func(p.marks.Begin),
		"end":     child.Func(p.marks.End),
		"publish": child.Func(p.publish),
		"memory":  child.Func(func(struct{}) (usage.Memory, error) { return usage.SettledMemory(), nil }),
		"counts":  child.Func(p.counts),
		"close":   child.Func(p.close),
	})
}

func (p *process) start(s Start) (a Addresses, err error) {
	for _, c := range p.all {
		if c.Name == s.Contestant {
			p.hub = c.New(s.Config)
		}
	}
	if p.hub == nil {
		return a, fmt.Errorf("no contestant %q", s.Contestant)
	}
	hub, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return a, err
	}
	reports, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return a, err
	}
	go func() { _ = http.Serve(hub, p.hub) }() // both end with the process
	go p.progress.listen(reports)
	return Addresses{hub.Addr().String(), reports.Addr().String()}, nil
}

// wait waits until there are so many members, and returns how many there are.
func (p *process) wait(w Wait) (members int, err error) {
	deadline := time.Now().Add(w.Timeout)
	for {
		members = p.hub.Members()
		if members == w.Members || time.Now().After(deadline) {
			return members, nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *process) counts(struct{}) (Counts, error) {
	return Counts{p.hub.Members(), p.hub.Counts()}, nil
}

func (p *process) close(struct{}) (struct{}, error) {
	p.hub.Close()
	return struct{}{}, nil
}
