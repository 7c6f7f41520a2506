package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/report"
)

// slow is the scenario of members who do not read.
func slow() *scenario {
	l := load{
		Members: 990, Groups: 1, Slow: 10, Size: 4 << 10, Rate: 50, Window: 256, Limit: true,
		Warmup: time.Second, Measured: 8 * time.Second, SampleEvery: 1,
	}
	return &scenario{
		Scenario: report.Scenario{
			Name: "slow", Title: "1,000 members, 10 of whom never read",
			Text: "50 messages of 4 KiB a second, to 1,000 members who read, and then to 990 who do and 10 who do not. " +
				"Latency and missing deliveries are those of members who read.",
			Metrics: []report.Metric{
				{Key: "p99", Title: "p99 with slow members", Unit: "ms"},
				{Key: "p99_without", Title: "p99 without", Unit: "ms"},
				{Key: "ratio", Title: "p99 with / without"},
				{Key: "p50", Title: "p50 with", Unit: "ms"},
				{Key: "p50_without", Title: "p50 without", Unit: "ms"},
				{Key: "max", Title: "max with", Unit: "ms"},
				{Key: "max_without", Title: "max without", Unit: "ms"},
				{Key: "missing", Title: "missing with"},
				{Key: "missing_without", Title: "missing without"},
				{Key: "closed", Title: "slow ones closed"},
				{Key: "told", Title: "of these with a code"},
				{Key: "4004", Title: "of these 4004"},
			},
		},
		rounds: 3, takes: 2 * (l.Warmup + 2*time.Second), timed: 2 * l.Measured, sits: report.Floor,
		run: func(r *runner, c contestant.Contestant, profile string) (map[string]float64, []string, error) {
			return runSlow(r, c, r.sized(l), profile)
		},
	}
}

func runSlow(r *runner, c contestant.Contestant, l load, profile string) (map[string]float64, []string, error) {
	healthy := l
	healthy.Members, healthy.Slow = l.Members+l.Slow, 0
	without, err := r.deliver(c, healthy, "")
	if err != nil {
		return nil, nil, fmt.Errorf("without slow members: %w", err)
	}
	with, err := r.deliver(c, l, profile)
	if err != nil {
		return nil, nil, fmt.Errorf("with slow members: %w", err)
	}
	values := with.values()
	for key, v := range without.values() {
		values[key+"_without"] = v
	}
	values["ratio"] = values["p99"] / values["p99_without"]
	values["slow"] = float64(l.Slow)
	values["told"], values["closed"], values["4004"] = 0, 0, 0
	for fate, n := range with.Fates {
		if strings.HasPrefix(fate, "closed with") {
			values["told"] += float64(n)
		}
		if fate != "still open" {
			values["closed"] += float64(n)
		}
	}
	values["4004"] = float64(with.Fates["closed with 4004"])
	return values, append(with.notes(), with.story()...), nil
}

// story is what became of the slow ones, and what the contestant says of them.
func (d *delivered) story() (all []string) {
	for _, fate := range slices.Sorted(maps.Keys(d.Fates)) {
		all = append(all, fmt.Sprintf("%d %s", d.Fates[fate], fate))
	}
	for _, what := range slices.Sorted(maps.Keys(d.Slow)) {
		if n := d.Slow[what]; n > 0 {
			all = append(all, fmt.Sprintf("its %s: %d", what, n))
		}
	}
	return all
}
