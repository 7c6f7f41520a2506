package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
)

// options are what the command line says.
type options struct {
	scenarios   string
	contestants string
	rounds      int
	measure     time.Duration
	out         string
	readme      string
	profiles    string
	quick       bool
}

func parse(args []string, log io.Writer) (*options, error) {
	o := new(options)
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(log)
	f.StringVar(&o.scenarios, "scenarios", "", "only these, separated by commas")
	f.StringVar(&o.contestants, "contestants", "", "only these, separated by commas")
	f.IntVar(&o.rounds, "rounds", 0, "rounds of each scenario (default 5; 3 where a round is long)")
	f.DurationVar(&o.measure, "measure", 0, "how long to measure (default: what the scenario says)")
	f.StringVar(&o.out, "out", "results", "folder for results.md, results.json and charts")
	f.StringVar(&o.readme, "readme", "", "a Markdown `file` whose results section is to be replaced")
	f.StringVar(&o.profiles, "cpuprofile", "", "folder for CPU and allocation profiles of the servers")
	f.BoolVar(&o.quick, "quick", false, "one round of everything, tiny: does it work?")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, nil
}

// pickScenarios returns those that were asked for.
func (o *options) pickScenarios(all []*scenario) ([]*scenario, error) {
	return pick(o.scenarios, all, func(s *scenario) string { return s.Name })
}

// pickContestants returns those that were asked for.
func (o *options) pickContestants(all []contestant.Contestant) ([]contestant.Contestant, error) {
	return pick(o.contestants, all, func(c contestant.Contestant) string { return c.Name })
}

func pick[T any](names string, all []T, name func(T) string) ([]T, error) {
	if names == "" {
		return all, nil
	}
	var picked []T
	for n := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(v T) bool { return name(v) == n })
		if i < 0 {
			var known []string
			for _, v := range all {
				known = append(known, name(v))
			}
			return nil, fmt.Errorf("there is no %q, only %s", n, strings.Join(known, ", "))
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}
