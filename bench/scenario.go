package main

import (
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/report"
)

// A scenario is one kind of work.
type scenario struct {
	report.Scenario
	rounds int           // by default
	takes  time.Duration // a run, about, without what is measured for a given time
	timed  time.Duration // how long that is
	sits   string        // the contestant that does not take part
	run    func(r *runner, c contestant.Contestant, profile string) (map[string]float64, []string, error)
}

// takesPart says whether a contestant is in the scenario.
func (s *scenario) takesPart(c contestant.Contestant) bool {
	return c.Name != s.sits && (c.Only == "" || c.Only == s.Name)
}

var (
	rate      = report.Metric{Key: "rate", Title: "deliveries", Unit: "1/s", More: true}
	cpu       = report.Metric{Key: "cpu", Title: "server CPU a delivery", Unit: "µs"}
	p50       = report.Metric{Key: "p50", Title: "p50", Unit: "ms"}
	p99       = report.Metric{Key: "p99", Title: "p99", Unit: "ms"}
	worst     = report.Metric{Key: "max", Title: "max", Unit: "ms"}
	allocs    = report.Metric{Key: "allocs", Title: "allocations a delivery"}
	missing   = report.Metric{Key: "missing", Title: "missing"}
	clientCPU = report.Metric{Key: "client_cpu", Title: "client CPU a delivery", Unit: "µs"}
	wireBytes = report.Metric{Key: "bytes", Title: "bytes a delivery"}
)

// scenarios returns all, in the order in which they are run.
func scenarios() []*scenario {
	all := []*scenario{
		delivery("paced", "1,000 members, 50 messages of 128 bytes a second",
			"One group of 1,000 members gets 50 messages a second: what a delivery costs when there is time.",
			load{Members: 1000, Groups: 1, Size: 128, Rate: 50, Window: 256,
				Warmup: time.Second, Measured: 5 * time.Second, SampleEvery: 1},
			cpu, p50, p99, worst, allocs, missing, clientCPU),
	}
	for _, b := range []struct {
		name, title  string
		members, len int
	}{
		{"burst-1000x128B", "1,000 members, messages of 128 bytes as fast as possible", 1000, 128},
		{"burst-100x128B", "100 members, messages of 128 bytes as fast as possible", 100, 128},
		{"burst-1000x16KiB", "1,000 members, messages of 16 KiB as fast as possible", 1000, 16 << 10},
		{"burst-100x16KiB", "100 members, messages of 16 KiB as fast as possible", 100, 16 << 10},
	} {
		l := load{Members: b.members, Groups: 1, Size: b.len, Window: 256,
			Warmup: 500 * time.Millisecond, Measured: 3 * time.Second, SampleEvery: 8}
		text := "The publisher sends as fast as it can, but is never more than 256 messages ahead of the slowest member."
		if b.len > 1024 {
			l.Window = 32
			text = "The publisher sends as fast as it can, but is never more than 32 messages ahead of the slowest member."
		}
		all = append(all, delivery(b.name, b.title, text, l, rate, cpu, p50, p99, worst, allocs, missing, clientCPU))
	}
	return append(all,
		delivery("rooms", "200 groups of 10 members, messages of 128 bytes as fast as possible",
			"The publisher goes round all groups as fast as it can, and is never more than 32 messages ahead of any member.",
			load{Members: 2000, Groups: 200, Size: 128, Window: 32,
				Warmup: 500 * time.Millisecond, Measured: 3 * time.Second, SampleEvery: 8},
			rate, cpu, p50, p99, worst, allocs, missing, clientCPU),
		idle(),
		slow(),
		delivery("compression", "100 members, JSON of 1 KiB, compressed, as fast as possible",
			"As a burst with a window of 64 messages, but permessage-deflate is negotiated, without context takeover. "+
				"Clients inflate and check a sample; latency is of one member.",
			load{Members: 100, Groups: 1, Size: 1 << 10, Window: 64, Compress: true,
				Warmup: 500 * time.Millisecond, Measured: 3 * time.Second},
			rate, cpu, p50, p99, wireBytes, allocs, missing, clientCPU),
		churn(),
	)
}

// delivery makes a scenario of a load.
func delivery(name, title, text string, l load, metrics ...report.Metric) *scenario {
	return &scenario{
		Scenario: report.Scenario{Name: name, Title: title, Text: text, Metrics: metrics},
		rounds:   5,
		takes:    l.Warmup + 1500*time.Millisecond,
		timed:    l.Measured,
		run: func(r *runner, c contestant.Contestant, profile string) (map[string]float64, []string, error) {
			d, err := r.deliver(c, r.sized(l), profile)
			if err != nil {
				return nil, nil, err
			}
			return d.values(), d.notes(), nil
		},
	}
}
