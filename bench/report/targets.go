package report

import (
	"fmt"
	"math"
)

// A Target is what wschannels wants to reach.
type Target struct {
	Scenario, Text string
	Limit          float64
	AtLeast        bool // else at most
	value          func(rows []*Row, s Scenario) float64
}

// Reached returns the value, and whether that is within the target. Without the runs
// that it takes the value is not a number.
func (t Target) Reached(s Scenario, runs []Run) (v float64, ok bool) {
	v = t.value(Rows(s, runs), s)
	if t.AtLeast {
		return v, v >= t.Limit
	}
	return v, v <= t.Limit
}

// Targets returns all targets.
func Targets() []Target {
	return []Target{
		{"paced", "CPU a delivery, × floor", 1.05, false, timesFloor("cpu")},
		{"paced", "CPU a delivery, × best peer", 1, false, timesPeer},
		{"burst-1000x128B", "deliveries, × floor", 40, true, timesFloor("rate")},
		{"burst-1000x128B", "deliveries, × best peer", 8, true, timesPeer},
		{"burst-1000x16KiB", "deliveries, × best peer", 1.15, true, timesPeer},
		{"burst-100x16KiB", "deliveries, × best peer", 1.15, true, timesPeer},
		{"rooms", "deliveries, × floor", 3.5, true, timesFloor("rate")},
		{"rooms", "deliveries, × best peer", 2, true, timesPeer},
		{"compression", "deliveries, × best peer", 3.5, true, timesPeer},
		{"idle", "heap and stack in event mode, KiB", 7.8, false, median(Ours, "memory")},
		{"idle", "heap and stack with a Handler, KiB", 12, false, median(Ours+"-handler", "memory")},
		{"slow", "p99 with slow members, × without", 1.5, false, median(Ours, "ratio")},
		{"slow", "slow members closed with 4004, of those there are", 1, true, told},
		{"churn", "CPU a cycle, × floor", 1.3, false, timesFloor("cpu")},
		{"churn", "members left", 0, false, largest(Ours, "members")},
		{"churn", "goroutines left", 0, false, largest(Ours, "goroutines")},
	}
}

func timesFloor(key string) func([]*Row, Scenario) float64 {
	return func(rows []*Row, _ Scenario) float64 { return Ratio(Find(rows, Ours), Find(rows, Floor), key) }
}

func timesPeer(rows []*Row, s Scenario) float64 {
	return Ratio(Find(rows, Ours), BestPeer(rows, s.Metrics[0]), s.Metrics[0].Key)
}

func median(contestant, key string) func([]*Row, Scenario) float64 {
	return func(rows []*Row, _ Scenario) float64 {
		if r := Find(rows, contestant); r.OK() {
			return r.Values[key].Median
		}
		return math.NaN()
	}
}

func largest(contestant, key string) func([]*Row, Scenario) float64 {
	return func(rows []*Row, _ Scenario) float64 {
		if r := Find(rows, contestant); r.OK() {
			return r.Values[key].Max
		}
		return math.NaN()
	}
}

// told is the share of the slow members who were told why they were closed, in the
// worst round.
func told(rows []*Row, _ Scenario) float64 {
	r := Find(rows, Ours)
	if !r.OK() {
		return math.NaN()
	}
	return r.Values["4004"].Min / r.Values["slow"].Max
}

// targetTable returns the cells of the table of those targets that there are runs for.
func targetTable(scenarios []Scenario, runs []Run) [][]string {
	cells := [][]string{{"scenario", "wschannels", "target", "reached", ""}}
	for _, t := range Targets() {
		for _, s := range scenarios {
			if s.Name != t.Scenario {
				continue
			}
			v, ok := t.Reached(s, runs)
			if math.IsNaN(v) {
				continue
			}
			sign, answer := "≤", "no"
			if t.AtLeast {
				sign = "≥"
			}
			if ok {
				answer = "yes"
			}
			cells = append(cells, []string{t.Scenario, t.Text, fmt.Sprintf("%s %v", sign, t.Limit), Number(v), answer})
		}
	}
	return cells
}
