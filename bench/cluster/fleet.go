package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wschannels/wschannels/bench/child"
	"github.com/wschannels/wschannels/bench/usage"
)

// patience is how long to wait for something that does not come.
const patience = 5 * time.Second

// A fleet is a fresh engine and fresh nodes on it.
type fleet struct {
	engine engine
	nodes  []*child.Process
	bound  time.Duration // for anything that a process is asked
}

func startFleet(kind string, nodes int, s nodeStart) (*fleet, error) {
	f := &fleet{bound: 3 * time.Minute}
	var err error
	if f.engine, err = startEngine(kind); err != nil {
		return nil, err
	}
	s.Engine, s.URL = kind, f.engine.url()
	for range nodes {
		n, err := child.Start("node")
		if err == nil {
			f.nodes = append(f.nodes, n)
			err = f.ask(n, "start", s, nil)
		}
		if err != nil {
			f.stop()
			return nil, err
		}
	}
	return f, nil
}

func (f *fleet) stop() {
	for _, n := range f.nodes {
		n.Stop()
	}
	f.engine.stop()
}

// ask asks one node.
func (f *fleet) ask(n *child.Process, do string, with, result any) error {
	return n.Call(f.bound, do, with, result)
}

// askAll asks all nodes at the same time.
func askAll[R any](f *fleet, do string, with any) ([]R, error) {
	results, errs := make([]R, len(f.nodes)), make([]error, len(f.nodes))
	var wg sync.WaitGroup
	for i, n := range f.nodes {
		wg.Go(func() { errs[i] = f.ask(n, do, with, &results[i]) })
	}
	wg.Wait()
	return results, errors.Join(errs...)
}

// costs are the CPU time of all nodes, and what the engine did.
type costs struct {
	nodes  time.Duration
	engine figures
}

// measure returns what f costs while do runs. The first node is profiled, if profile is not
// empty.
func (f *fleet) measure(profile string, do func() error) (c costs, err error) {
	for i, n := range f.nodes {
		b := usage.Begin{}
		if i == 0 {
			b.Profile = profile
		}
		if err := f.ask(n, "begin", b, nil); err != nil {
			return c, err
		}
	}
	before, err := f.engine.figures()
	if err != nil {
		return c, err
	}
	if err := do(); err != nil {
		return c, err
	}
	after, err := f.engine.figures()
	if err != nil {
		return c, err
	}
	used, err := askAll[usage.Usage](f, "end", none{})
	for _, u := range used {
		c.nodes += u.CPU
	}
	c.engine = after.since(before)
	return c, err
}

// complaints are errors of nodes that no call returned, in words, or nothing. They say
// more if something is missing.
func (f *fleet) complaints() (notes []string, err error) {
	all, err := askAll[[]string](f, "errors", none{})
	for i, errs := range all {
		for _, e := range errs {
			notes = append(notes, fmt.Sprintf("node %d: %s", i+1, e))
		}
	}
	return notes, err
}
