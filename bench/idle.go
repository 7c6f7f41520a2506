package main

import (
	"time"

	"github.com/wschannels/wschannels/bench/client"
	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/report"
	"github.com/wschannels/wschannels/bench/usage"
)

// idle is the scenario of connections on which nothing happens.
func idle() *scenario {
	return &scenario{
		Scenario: report.Scenario{
			Name: "idle", Title: "5,000 members and no messages",
			Text: "What the server's process holds for a connection that has sent a browser's request and joined a group, " +
				"after two collections: what was there before is taken off. Buffers in the kernel are not counted.",
			Metrics: []report.Metric{
				{Key: "memory", Title: "heap and stack", Unit: "KiB"},
				{Key: "heap", Title: "heap", Unit: "KiB"},
				{Key: "stack", Title: "stack", Unit: "KiB"},
				{Key: "resident", Title: "RSS", Unit: "KiB"},
				{Key: "goroutines", Title: "goroutines"},
			},
		},
		rounds: 3, takes: 4 * time.Second, run: runIdle,
	}
}

func runIdle(r *runner, c contestant.Contestant, _ string) (map[string]float64, []string, error) {
	members := r.few(5000, 50)
	p, err := startPair(c, contestant.Config{MaxMessage: 128, Limit: true}, r.bound)
	if err != nil {
		return nil, nil, err
	}
	defer p.stop()
	var before, after usage.Memory
	if err := p.serve("memory", none{}, &before); err != nil {
		return nil, nil, err
	}
	if err := p.connect("connect", client.Connect{
		Addresses: p.Addresses, Dialect: c.Dialect, Timeout: r.bound / 2, Members: members, Groups: 1, Step: 1,
	}, nil); err != nil {
		return nil, nil, err
	}
	if err := p.expectMembers(members); err != nil {
		return nil, nil, err
	}
	if err := p.serve("memory", none{}, &after); err != nil {
		return nil, nil, err
	}
	each := func(before, after int64) float64 { return float64(after-before) / 1024 / float64(members) }
	heap, stack := each(before.Heap, after.Heap), each(before.Stack, after.Stack)
	return map[string]float64{
		"memory":     heap + stack,
		"heap":       heap,
		"stack":      stack,
		"resident":   each(before.Resident, after.Resident),
		"goroutines": float64(after.Goroutines-before.Goroutines) / float64(members),
	}, nil, nil
}
