package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/wschannels/wschannels/bench/report"
)

// measured is a part with what came of it.
type measured struct {
	part
	runs []report.Run
}

func (m measured) failures() (n int) {
	for _, r := range m.runs {
		if r.Failed != "" {
			n++
		}
	}
	return n
}

// cells returns the table, the heads first.
func (m measured) cells() [][]string {
	var floors []string
	for _, c := range m.cases {
		for _, f := range c.floors {
			if !slices.Contains(floors, f) {
				floors = append(floors, f)
			}
		}
	}
	heads := []string{"", ""}
	for _, c := range m.metrics {
		title := c.Title
		if c.Unit != "" {
			title += ", " + c.Unit
		}
		heads = append(heads, title)
		for _, f := range floors {
			if c.ratio {
				heads = append(heads, "× "+f)
			}
		}
	}
	all := [][]string{heads}
	for _, c := range m.cases {
		rows := report.Rows(report.Scenario{Name: c.name}, m.runs)
		for _, link := range c.links {
			row := report.Find(rows, link)
			line := []string{c.name, link}
			if !row.OK() {
				if row != nil {
					all = append(all, append(line, "failed: "+cut(row.Why)))
				}
				continue
			}
			for _, column := range m.metrics {
				line = append(line, row.Values[column.Key].String())
				for _, f := range floors {
					if column.ratio {
						line = append(line, report.Number(report.Ratio(row, report.Find(rows, f), column.Key)))
					}
				}
			}
			all = append(all, line)
		}
	}
	return all
}

// notes is what runs had to say beside their figures, or why they failed.
func (m measured) notes() (all []string) {
	for _, r := range m.runs {
		for _, n := range r.Notes {
			all = append(all, fmt.Sprintf("%s, %s: %s", r.Scenario, r.Contestant, n))
		}
		if r.Failed != "" {
			all = append(all, fmt.Sprintf("%s, %s, round %d failed: %s", r.Scenario, r.Contestant, r.Round+1, cut(r.Failed)))
		}
	}
	return slices.Compact(all)
}

// cut is as much of an error as a table has room for.
func cut(why string) string {
	if len(why) > 200 {
		why = why[:200] + "…"
	}
	return why
}

func (m measured) writeText(w io.Writer) error {
	fmt.Fprintf(w, "\n%s\n", m.title)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range m.cells() {
		fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range m.notes() {
		fmt.Fprintln(w, n)
	}
	return nil
}

// command is how this was started, as far as that matters for what was measured.
func (r *runner) command() string {
	c := "go run ./cluster"
	if r.engine != "" {
		c += " -engine " + r.engine
	}
	if r.only != "" {
		c += " -parts " + r.only
	}
	if r.quick {
		c += " -quick"
	}
	return fmt.Sprintf("%s -rounds %d", c, r.rounds)
}

// head says what was run where.
func (r *runner) head() string {
	m := report.ThisMachine([]string{
		"github.com/centrifugal/centrifuge", "github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go",
		"github.com/redis/rueidis",
	})
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` in `bench` on %s, with %d cores of %s, %s, %s, %s.\n\n",
		r.command(), m.Date, m.Cores, m.CPU, m.System, m.Go, redisVersion())
	for i, path := range slices.Sorted(maps.Keys(m.Modules)) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(path + " " + m.Modules[path])
	}
	b.WriteString(".\n\n")
	if r.quick {
		b.WriteString("Sizes were tiny: this shows that everything works, not how fast.\n\n")
	}
	fmt.Fprintf(&b, "A cell is the median of the rounds (minimum–maximum).\n\n")
	return b.String()
}

// section is the Markdown about one engine.
func section(engine string, all []measured) string {
	var b strings.Builder
	name := map[string]string{onRedis: "Redis", onNATS: "NATS"}[engine]
	targets := [][]string{{"on " + name, "target", "reached", ""}}
	for _, m := range all {
		for _, t := range m.targets {
			v, ok := t.reached(m.part, m.runs)
			if math.IsNaN(v) {
				continue
			}
			sign, answer := "≤", "no"
			if t.atLeast {
				sign = "≥"
			}
			if ok {
				answer = "yes"
			}
			targets = append(targets, []string{t.text, fmt.Sprintf("%s %v", sign, t.limit), report.Number(v), answer})
		}
	}
	if len(targets) > 1 {
		report.MarkdownTable(&b, 1, targets)
	}
	for _, m := range all {
		fmt.Fprintf(&b, "### %s: %s\n\n%s\n\n", name, m.title, m.text)
		report.MarkdownTable(&b, 2, m.cells())
		for _, n := range m.notes() {
			b.WriteString("- " + n + "\n")
		}
		if len(m.notes()) > 0 {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// The markers of the section.
const (
	beginMark = "<!-- measurements -->"
	endMark   = "<!-- /measurements -->"
)

// splice replaces the section in a file, which is made if there is none.
func splice(file, text string) error {
	old, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = []byte("## Measurements\n\n"+beginMark+"\n"+endMark+"\n"), nil
	}
	if err != nil {
		return err
	}
	now, err := report.Splice(old, beginMark, endMark, text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, now, 0o644)
}
