package main

import (
	"fmt"
	"time"

	"github.com/wschannels/wschannels/bench/client"
	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/report"
	"github.com/wschannels/wschannels/bench/server"
	"github.com/wschannels/wschannels/bench/usage"
)

// churn is the scenario of connections that come and go.
func churn() *scenario {
	return &scenario{
		Scenario: report.Scenario{
			Name: "churn", Title: "20,000 times: connect, join, leave, close",
			Text: "16 clients at a time connect, join a group, leave it, shake hands to close, and disconnect. " +
				"What is left afterwards should be nothing.",
			Metrics: []report.Metric{
				{Key: "cpu", Title: "server CPU a cycle", Unit: "µs"},
				{Key: "rate", Title: "cycles", Unit: "1/s", More: true},
				{Key: "failed", Title: "failed cycles"},
				{Key: "members", Title: "members left"},
				{Key: "goroutines", Title: "goroutines left"},
				{Key: "heap", Title: "heap left", Unit: "KiB"},
				{Key: "allocs", Title: "allocations a cycle"},
			},
		},
		rounds: 5, takes: 5 * time.Second, run: runChurn,
	}
}

func runChurn(r *runner, c contestant.Contestant, profile string) (map[string]float64, []string, error) {
	p, err := startPair(c, contestant.Config{Window: 256, MaxMessage: 128}, r.bound)
	if err != nil {
		return nil, nil, err
	}
	defer p.stop()
	job := client.Churn{Addresses: p.Addresses, Dialect: c.Dialect, Timeout: 10 * time.Second, Workers: 16}

	// What is made once, and kept, is made by a few cycles that do not count.
	var done client.Churned
	job.Cycles = r.few(1000, 50)
	if err := p.connect("churn", job, &done); err != nil {
		return nil, nil, err
	}
	var before, after usage.Memory
	if err := p.serve("memory", none{}, &before); err != nil {
		return nil, nil, err
	}
	if err := p.serve("begin", usage.Begin{Profile: profile}, nil); err != nil {
		return nil, nil, err
	}
	job.Cycles = r.few(20000, 200)
	if err := p.connect("churn", job, &done); err != nil {
		return nil, nil, err
	}
	var used usage.Usage
	if err := p.serve("end", none{}, &used); err != nil {
		return nil, nil, err
	}
	var members int
	if err := p.serve("wait", server.Wait{Members: 0, Timeout: 5 * time.Second}, &members); err != nil {
		return nil, nil, err
	}
	if err := p.serve("memory", none{}, &after); err != nil {
		return nil, nil, err
	}
	var notes []string
	if done.Failed > 0 {
		notes = append(notes, fmt.Sprintf("%d cycles failed: %s", done.Failed, done.Why))
	}
	n := float64(job.Cycles)
	return map[string]float64{
		"cpu":        micros(used.CPU) / n,
		"rate":       n / done.Took.Seconds(),
		"failed":     float64(done.Failed),
		"members":    float64(members),
		"goroutines": float64(after.Goroutines - before.Goroutines),
		"heap":       float64(after.Heap-before.Heap) / 1024,
		"allocs":     float64(used.Allocs) / n,
	}, notes, nil
}
