package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// grid returns the cells of a scenario's table, the heads first.
func grid(s Scenario, rows []*Row) [][]string {
	headline := s.Metrics[0]
	floor := Find(rows, Floor)
	heads := []string{"contestant", title(headline)}
	if floor != nil {
		heads = append(heads, "× floor")
	}
	for _, m := range s.Metrics[1:] {
		heads = append(heads, title(m))
	}
	cells := [][]string{heads}
	for _, r := range rows {
		line := []string{r.Contestant}
		if !r.OK() {
			cells = append(cells, append(line, "failed: "+r.Why))
			continue
		}
		if r.Failed > 0 {
			line[0] += fmt.Sprintf(" (%d of %d rounds failed: %s)", r.Failed, r.Rounds, r.Why)
		}
		line = append(line, r.Values[headline.Key].String())
		if floor != nil {
			line = append(line, Number(Ratio(r, floor, headline.Key)))
		}
		for _, m := range s.Metrics[1:] {
			line = append(line, r.Values[m.Key].String())
		}
		cells = append(cells, line)
	}
	return cells
}

func title(m Metric) string {
	if m.Unit == "" {
		return m.Title
	}
	return m.Title + ", " + m.Unit
}

// verdict compares ours with the best peer.
func verdict(s Scenario, rows []*Row) string {
	m := s.Metrics[0]
	peer := BestPeer(rows, m)
	ratio := Ratio(Find(rows, Ours), peer, m.Key)
	if math.IsNaN(ratio) {
		return ""
	}
	return fmt.Sprintf("%s: %s has %s times what the best peer, %s, has.", m.Title, Ours, Number(ratio), peer.Contestant)
}

// notes returns what rows have to say beside their figures.
func notes(rows []*Row) (all []string) {
	for _, r := range rows {
		if len(r.Notes) > 0 {
			all = append(all, r.Contestant+": "+strings.Join(r.Notes, "; "))
		}
	}
	return all
}

// WriteText writes a scenario's table for a terminal.
func WriteText(w io.Writer, s Scenario, runs []Run) error {
	rows := Rows(s, runs)
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\n%s: %s\n", s.Name, s.Title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range grid(s, rows) {
		fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range append(notes(rows), verdict(s, rows)) {
		if n != "" {
			fmt.Fprintln(w, n)
		}
	}
	return nil
}
