package main

import (
	"github.com/wschannels/wschannels/bench/report"
)

// A part is what is measured about one thing: a table.
type part struct {
	key     string // for the command line
	title   string
	text    string
	metrics []metric
	cases   []testCase
	targets []target
}

// A metric is a column.
type metric struct {
	report.Metric
	ratio bool // followed by how many times what the floors have
}

// A testCase is one row for each link.
type testCase struct {
	name   string
	links  []string // and other things that are compared
	floors []string // those that others are compared with
	saved  bool     // with history
	run    func(r *runner, link, profile string) (outcome, error)
}

// An outcome is what a run came to.
type outcome struct {
	values map[string]float64
	notes  []string
}

// parts returns what there is to measure about an engine.
func parts(r *runner, engine string) []part {
	return []part{publishing(engine), latency(engine), memory(r, engine), joining(r, engine)}
}

// A target is what wschannels wants to reach.
type target struct {
	text    string
	key     string
	limit   float64
	atLeast bool // else at most
	saved   bool // of cases with history; else of those without
}

// reached returns the worst ratio of box to floor of the cases that t is about, and which
// of their floors that was.
func (t target) reached(p part, runs []report.Run) (worst float64, ok bool) {
	found := false
	for _, c := range p.cases {
		rows := report.Rows(report.Scenario{Name: c.name}, runs)
		ours := report.Find(rows, box)
		if c.saved != t.saved || !ours.OK() || len(c.floors) == 0 {
			continue
		}
		ratio := report.Ratio(ours, report.Find(rows, c.floors[len(c.floors)-1]), t.key)
		if !found || t.atLeast && ratio < worst || !t.atLeast && ratio > worst {
			worst, found = ratio, true
		}
	}
	return worst, found && (t.atLeast && worst >= t.limit || !t.atLeast && worst <= t.limit)
}
