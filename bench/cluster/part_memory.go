package main

import (
	"fmt"
	"time"

	"github.com/wschannels/wschannels/bench/report"
)

// memory is what groups take on a node and on the engine.
func memory(r *runner, engine string) part {
	p := part{
		key: "memory", title: "Memory",
		text: "One node joins so many groups, with one channel, and publishes a message of 128 bytes to each; then another node joins them, " +
			"too. Heap of the nodes' processes after two collections; the engine's is used_memory (Redis) or the heap of its process (NATS, whose " +
			"streams are in files). The client keeps no more of a group than its subscription.",
		metrics: []metric{
			{Metric: report.Metric{Key: "node", Title: "node, a group", Unit: "bytes"}, ratio: true},
			{Metric: report.Metric{Key: "engine", Title: "engine, a group", Unit: "bytes"}, ratio: true},
			{Metric: report.Metric{Key: "node2", Title: "another node, a subscription", Unit: "bytes"}},
			{Metric: report.Metric{Key: "engine2", Title: "engine, a subscription", Unit: "bytes"}},
			{Metric: report.Metric{Key: "empty_node", Title: "node without groups", Unit: "KiB"}},
			{Metric: report.Metric{Key: "empty_engine", Title: "engine without groups", Unit: "KiB"}},
			{Metric: report.Metric{Key: "missing", Title: "missing"}},
		},
	}
	floor := bare
	if engine == onNATS {
		floor = streamed
	}
	for _, groups := range r.sizes(100, 10_000, 50_000) {
		p.cases = append(p.cases, testCase{
			name: report.Number(float64(groups)) + " groups", saved: true, links: []string{floor, broker, box}, floors: []string{floor},
			run: func(r *runner, link, _ string) (outcome, error) { return r.memory(engine, link, groups) },
		})
	}
	return p
}

func (r *runner) memory(engine, link string, groups int) (o outcome, err error) {
	f, err := startFleet(engine, 2, nodeStart{linkStart{Link: link, Members: 1, MaxGroups: groups}, groups})
	if err != nil {
		return o, err
	}
	defer f.stop()
	if _, err := askAll[none](f, "warm", none{}); err != nil {
		return o, err
	}
	before, err := f.held()
	if err != nil {
		return o, err
	}
	if err := f.ask(f.nodes[0], "join", join{Goroutines: 64}, nil); err != nil {
		return o, err
	}
	var done published
	if err := f.ask(f.nodes[0], "publish", publish{Goroutines: 64, Save: true}, &done); err != nil {
		return o, err
	}
	if done.Failed > 0 {
		return o, fmt.Errorf("%d publishes failed: %s", done.Failed, done.Why)
	}
	var got awaited
	if err := f.ask(f.nodes[0], "await", await{Messages: done.Messages, Patience: patience}, &got); err != nil {
		return o, err
	}
	first, err := f.held()
	if err != nil {
		return o, err
	}
	if err := f.ask(f.nodes[1], "join", join{Goroutines: 64}, nil); err != nil {
		return o, err
	}
	second, err := f.held()
	if err != nil {
		return o, err
	}
	each := func(now, before int64) float64 { return float64(now-before) / float64(groups) }
	o.values = map[string]float64{
		"node":         each(first.nodes[0], before.nodes[0]),
		"engine":       each(first.engine, before.engine),
		"node2":        each(second.nodes[1], before.nodes[1]),
		"engine2":      each(second.engine, first.engine),
		"empty_node":   float64(before.nodes[0]) / 1024,
		"empty_engine": float64(before.engine) / 1024,
		"missing":      float64(max(0, done.Messages-got.Messages)),
	}
	return o, nil
}

// held is memory in bytes.
type held struct {
	nodes  []int64
	engine int64
}

func (f *fleet) held() (h held, err error) {
	time.Sleep(100 * time.Millisecond) // what is about to end ends
	if h.nodes, err = askAll[int64](f, "heap", none{}); err != nil {
		return h, err
	}
	h.engine, err = f.engine.memory()
	return h, err
}
