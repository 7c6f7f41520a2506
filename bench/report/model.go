// Package report makes tables and charts of what was measured.
package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Metric is a column.
type Metric struct {
	Key   string `json:"key"`
	Title string `json:"title"`
	Unit  string `json:"unit"`
	More  bool   `json:"more_is_better,omitempty"`
}

// A Scenario is a table.
type Scenario struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Text    string   `json:"text"`
	Metrics []Metric `json:"metrics"` // the first one is what the chart shows
}

// A Run is one contestant in one round of one scenario.
type Run struct {
	Scenario   string             `json:"scenario"`
	Contestant string             `json:"contestant"`
	Round      int                `json:"round"`
	Values     map[string]float64 `json:"values,omitempty"`
	Notes      []string           `json:"notes,omitempty"`
	Failed     string             `json:"failed,omitempty"`
}

// A Spread is what the rounds came to.
type Spread struct {
	Median, Min, Max float64
	N                int
}

// SpreadOf returns the spread of values, which it sorts.
func SpreadOf(values []float64) Spread {
	n := len(values)
	if n == 0 {
		return Spread{}
	}
	slices.Sort(values)
	s := Spread{values[n/2], values[0], values[n-1], n}
	if n%2 == 0 {
		s.Median = (values[n/2-1] + values[n/2]) / 2
	}
	return s
}

// A Row is one contestant in a scenario.
type Row struct {
	Contestant string
	Rounds     int
	Failed     int
	Why        string // of the last one that failed
	Values     map[string]Spread
	Notes      []string // what the rounds said, each once
}

// OK says that at least one round succeeded.
func (r *Row) OK() bool { return r != nil && r.Failed < r.Rounds }

// Rows returns the rows of scenario s, in the order in which contestants first come.
func Rows(s Scenario, runs []Run) []*Row {
	var rows []*Row
	values := make(map[string]map[string][]float64)
	for _, r := range runs {
		if r.Scenario != s.Name {
			continue
		}
		row := Find(rows, r.Contestant)
		if row == nil {
			row = &Row{Contestant: r.Contestant, Values: make(map[string]Spread)}
			rows = append(rows, row)
			values[r.Contestant] = make(map[string][]float64)
		}
		row.Rounds++
		if r.Failed != "" {
			row.Failed++
			row.Why = r.Failed
			continue
		}
		for key, v := range r.Values {
			values[r.Contestant][key] = append(values[r.Contestant][key], v)
		}
		for _, n := range r.Notes {
			if !slices.Contains(row.Notes, n) {
				row.Notes = append(row.Notes, n)
			}
		}
	}
	for _, row := range rows {
		for key, v := range values[row.Contestant] {
			row.Values[key] = SpreadOf(v)
		}
	}
	return rows
}

// Find returns the row of a contestant, or nil.
func Find(rows []*Row, contestant string) *Row {
	for _, r := range rows {
		if r.Contestant == contestant {
			return r
		}
	}
	return nil
}

// Floor and Ours are the contestants that others are compared with, and that is.
const (
	Floor = "floor"
	Ours  = "wschannels"
)

// experimental ends the name of a contestant with settings that its own documentation
// advises against.
const experimental = "-experimental"

// BestPeer returns the row with the best median of m that is neither the floor nor
// ours nor experimental, or nil.
func BestPeer(rows []*Row, m Metric) (best *Row) {
	for _, r := range rows {
		if r.Contestant == Floor || strings.HasPrefix(r.Contestant, Ours) || strings.HasSuffix(r.Contestant, experimental) || !r.OK() {
			continue
		}
		v := r.Values[m.Key].Median
		if best == nil || m.More && v > best.Values[m.Key].Median || !m.More && v < best.Values[m.Key].Median {
			best = r
		}
	}
	return best
}

// Ratio returns the ratio of two contestants' medians, not a number without either.
func Ratio(a, b *Row, key string) float64 {
	if !a.OK() || !b.OK() || b.Values[key].Median == 0 {
		return math.NaN()
	}
	return a.Values[key].Median / b.Values[key].Median
}

// Number writes v with three or four digits that matter.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case v == 0:
		return "0"
	case a >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.0fk", v/1e3)
	case a >= 1e3:
		return fmt.Sprintf("%.2fk", v/1e3)
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a < 0.1:
		return fmt.Sprintf("%.3f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// String is the median with minimum and maximum.
func (s Spread) String() string {
	switch {
	case s.N == 0:
		return "–"
	case s.Min == s.Max:
		return Number(s.Median)
	default:
		return fmt.Sprintf("%s (%s–%s)", Number(s.Median), Number(s.Min), Number(s.Max))
	}
}
