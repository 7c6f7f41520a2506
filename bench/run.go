package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/report"
	"github.com/wschannels/wschannels/bench/usage"
)

// A runner goes through the scenarios.
type runner struct {
	*options
	bound    time.Duration // for anything that a process is asked
	patience time.Duration // for a member that does not go on
	quiet    time.Duration // how long nothing comes on a connection that is still open
	log      io.Writer
	left     time.Duration // estimated
	runs     []report.Run
}

// run is the program.
func run(args []string, all []contestant.Contestant, log io.Writer) error {
	o, err := parse(args, log)
	if err != nil {
		return err
	}
	r := &runner{options: o, bound: time.Minute, patience: 5 * time.Second, quiet: time.Second, log: log}
	if o.quick {
		r.quiet = 100 * time.Millisecond
	}
	todo, err := o.pickScenarios(scenarios())
	if err != nil {
		return err
	}
	if all, err = o.pickContestants(all); err != nil {
		return err
	}
	for _, dir := range []string{o.out, o.profiles} {
		if dir != "" {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
	}
	for _, s := range todo {
		for _, c := range all {
			if s.takesPart(c) {
				r.left += time.Duration(r.roundsOf(s)) * r.estimate(s)
			}
		}
	}
	if err := r.enoughFiles(); err != nil {
		return err
	}
	fmt.Fprintf(log, "This takes about %v.\n", r.left.Round(time.Second))
	for i, s := range todo {
		r.scenario(s, all)
		err := report.WriteText(log, s.Scenario, r.runs)
		if err = errors.Join(err, r.write(args, all, todo[:i+1])); err != nil {
			return err
		}
	}
	return nil
}

// enoughFiles says what is wrong if a process may not have all connections.
func (r *runner) enoughFiles() error {
	const enough = 5500
	files, err := usage.Files()
	if err == nil && files < enough && !r.quick {
		err = fmt.Errorf("a process may have %d open files, and %d are needed: see ulimit -n", files, enough)
	}
	return err
}

func (r *runner) roundsOf(s *scenario) int {
	switch {
	case r.rounds > 0:
		return r.rounds
	case r.quick:
		return 1
	default:
		return s.rounds
	}
}

// scenario runs all rounds of s. The order of contestants is another in each, so that
// none is always the one after some other.
func (r *runner) scenario(s *scenario, all []contestant.Contestant) {
	rounds := r.roundsOf(s)
	for round := range rounds {
		for i := range all {
			c := all[(i+round)%len(all)]
			if !s.takesPart(c) {
				continue
			}
			fmt.Fprintf(r.log, "%-6v left  %s %d/%d  %s: ", r.left.Round(time.Second), s.Name, round+1, rounds, c.Name)
			run := r.one(s, c, round+1)
			r.runs = append(r.runs, run)
			r.left -= r.estimate(s)
			if run.Failed != "" {
				fmt.Fprintln(r.log, "failed:", run.Failed)
			} else {
				m := s.Metrics[0]
				fmt.Fprintln(r.log, report.Number(run.Values[m.Key]), m.Unit, m.Title)
			}
		}
	}
}

func (r *runner) one(s *scenario, c contestant.Contestant, round int) report.Run {
	profile := ""
	if r.profiles != "" {
		profile = filepath.Join(r.profiles, fmt.Sprintf("%s-%s-%d", s.Name, c.Name, round))
	}
	result := report.Run{Scenario: s.Name, Contestant: c.Name, Round: round}
	var err error
	if result.Values, result.Notes, err = s.run(r, c, profile); err != nil {
		result.Failed = err.Error()
	}
	return result
}

// estimate is how long a run of s takes, about.
func (r *runner) estimate(s *scenario) time.Duration {
	switch {
	case r.quick:
		return 600 * time.Millisecond
	case r.measure > 0 && s.timed > 0:
		return s.takes + r.measure
	default:
		return s.takes + s.timed
	}
}

// sized is l as the command line wants it.
func (r *runner) sized(l load) load {
	if r.measure > 0 {
		l.Measured = r.measure
	}
	if r.quick {
		l.Members = min(l.Members, 2*max(l.Groups/10, 10))
		l.Groups = min(l.Groups, 5)
		l.Warmup, l.Measured = 50*time.Millisecond, 150*time.Millisecond
	}
	return l
}

// few is n, or if it has to be quick, a few.
func (r *runner) few(n, quick int) int {
	if r.quick {
		return quick
	}
	return n
}
