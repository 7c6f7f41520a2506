package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wschannels/wschannels/bench/report"
)

// A runner goes through the parts.
type runner struct {
	engine, only, readme, profiles string
	rounds                         int
	quick                          bool
	log                            io.Writer
}

func parse(args []string, log io.Writer) (*runner, error) {
	r := &runner{log: log}
	f := flag.NewFlagSet("cluster", flag.ContinueOnError)
	f.SetOutput(log)
	f.StringVar(&r.engine, "engine", "", "redis or nats (default both, one after the other)")
	f.StringVar(&r.only, "parts", "", "only these of publish, latency, memory, join, separated by commas")
	f.IntVar(&r.rounds, "rounds", 3, "rounds of each case")
	f.StringVar(&r.readme, "readme", "", "a Markdown `file` whose section of measurements is to be replaced; it is made if there is none")
	f.StringVar(&r.profiles, "cpuprofile", "", "folder for CPU and allocation profiles of the first node")
	f.BoolVar(&r.quick, "quick", false, "everything tiny: does it work?")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case r.engine != "" && r.engine != onRedis && r.engine != onNATS:
		return nil, fmt.Errorf("there is no engine %q, only %s and %s", r.engine, onRedis, onNATS)
	case r.rounds < 1:
		return nil, fmt.Errorf("%d rounds", r.rounds)
	}
	return r, nil
}

// run is the program.
func run(args []string, log io.Writer) error {
	r, err := parse(args, log)
	if err != nil {
		return err
	}
	if r.profiles != "" {
		if err := os.MkdirAll(r.profiles, 0o755); err != nil {
			return err
		}
	}
	engines := []string{onRedis, onNATS}
	if r.engine != "" {
		engines = []string{r.engine}
	}
	if err := available(onRedis); err != nil {
		return err // centrifuge has no other
	}
	text := r.head()
	failures := 0
	for _, engine := range engines {
		all, err := r.picked(parts(r, engine))
		if err != nil {
			return err
		}
		var done []measured
		for _, p := range all {
			m := measured{p, r.part(engine, p)}
			failures += m.failures()
			if err := m.writeText(log); err != nil {
				return err
			}
			done = append(done, m)
		}
		text += section(engine, done)
	}
	if r.readme != "" {
		if err := splice(r.readme, strings.TrimSuffix(text, "\n")); err != nil {
			return err
		}
	}
	if failures > 0 {
		return fmt.Errorf("%d runs failed", failures)
	}
	return nil
}

// picked returns those parts that were asked for.
func (r *runner) picked(all []part) ([]part, error) {
	if r.only == "" {
		return all, nil
	}
	var some []part
	for key := range strings.SplitSeq(r.only, ",") {
		n := len(some)
		for _, p := range all {
			if p.key == key {
				some = append(some, p)
			}
		}
		if len(some) == n {
			return nil, fmt.Errorf("there is no part %q", key)
		}
	}
	return some, nil
}

// part runs all rounds of p's cases. Each round begins with another link.
func (r *runner) part(engine string, p part) (runs []report.Run) {
	for _, c := range p.cases {
		for round := range r.rounds {
			for i := range c.links {
				link := c.links[(i+round)%len(c.links)]
				fmt.Fprintf(r.log, "%s  %s %s: %s %d/%d  %s: ", time.Now().Format(time.TimeOnly), engine, p.key, c.name, round+1, r.rounds, link)
				run := report.Run{Scenario: c.name, Contestant: link, Round: round}
				o, err := c.run(r, link, r.profile(engine, p.key, c.name, link, round))
				run.Values, run.Notes = o.values, o.notes
				if err != nil {
					run.Failed = err.Error()
					fmt.Fprintln(r.log, "failed:", run.Failed)
				} else {
					m := p.metrics[0]
					fmt.Fprintln(r.log, report.Number(run.Values[m.Key]), m.Unit, m.Title, strings.Join(o.notes, "; "))
				}
				runs = append(runs, run)
			}
		}
	}
	return runs
}

// profile is where profiles go, "" for nowhere.
func (r *runner) profile(engine, part, name, link string, round int) string {
	if r.profiles == "" {
		return ""
	}
	name = strings.NewReplacer(" ", "-", ",", "").Replace(name)
	return filepath.Join(r.profiles, fmt.Sprintf("%s-%s-%s-%s-%d", engine, part, name, link, round+1))
}

// quickly is d, or where it has to be quick, quick.
func (r *runner) quickly(d, quick time.Duration) time.Duration {
	if r.quick {
		return quick
	}
	return d
}

// sizes are the sizes, or where it has to be quick, the one that is.
func (r *runner) sizes(quick int, sizes ...int) []int {
	if r.quick {
		return []int{quick}
	}
	return sizes
}
