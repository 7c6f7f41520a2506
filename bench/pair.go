package main

import (
	"time"

	"github.com/wschannels/wschannels/bench/child"
	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/server"
)

// A pair is a fresh server and a fresh client.
type pair struct {
	server, client *child.Process
	server.Addresses
	bound time.Duration // for anything that either is asked
}

func startPair(c contestant.Contestant, cfg contestant.Config, bound time.Duration) (*pair, error) {
	p := &pair{bound: bound}
	var err error
	if p.server, err = child.Start("server"); err != nil {
		return nil, err
	}
	if p.client, err = child.Start("client"); err != nil {
		p.server.Stop()
		return nil, err
	}
	if err := p.serve("start", server.Start{Contestant: c.Name, Config: cfg}, &p.Addresses); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *pair) stop() {
	p.client.Stop()
	p.server.Stop()
}

// none is an argument that says nothing.
type none struct{}

// serve asks the server.
func (p *pair) serve(do string, with, result any) error {
	return p.server.Call(p.bound, do, with, result)
}

// connect asks the client.
func (p *pair) connect(do string, with, result any) error {
	return p.client.Call(p.bound, do, with, result)
}
