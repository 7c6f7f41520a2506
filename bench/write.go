package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/report"
)

// write writes all files.
func (r *runner) write(args []string, all []contestant.Contestant, done []*scenario) error {
	var modules []string
	for _, c := range all {
		modules = append(modules, c.Module)
	}
	results := report.Results{
		Machine: report.ThisMachine(modules),
		Command: strings.Join(append([]string{"go run ."}, without(args, "out", "readme", "cpuprofile")...), " "),
		Quick:   r.quick,
		Runs:    r.runs,
	}
	for _, s := range done {
		results.Scenarios = append(results.Scenarios, s.Scenario)
	}
	raw, err := json.MarshalIndent(&results, "", " ")
	if err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(r.out, "results.json"), append(raw, '\n'), 0o644),
		os.WriteFile(filepath.Join(r.out, "results.md"), []byte("# Results\n\n"+results.Markdown("")), 0o644),
	)
	for _, s := range results.Scenarios {
		chart := report.Chart(s, r.runs)
		err = errors.Join(err, os.WriteFile(filepath.Join(r.out, s.Name+".svg"), []byte(chart), 0o644))
	}
	if r.readme == "" || err != nil {
		return err
	}
	text, err := os.ReadFile(r.readme)
	if err != nil {
		return err
	}
	folder, err := filepath.Rel(filepath.Dir(r.readme), r.out)
	if err != nil {
		return err
	}
	text, err = report.Splice(text, report.BeginMark, report.EndMark, results.Markdown(filepath.ToSlash(folder)+"/"))
	if err != nil {
		return err
	}
	return os.WriteFile(r.readme, text, 0o644)
}

// without returns args without the flags that say only where files are.
func without(args []string, flags ...string) (kept []string) {
	for i := 0; i < len(args); i++ {
		name, _, joined := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		where := false
		for _, f := range flags {
			where = where || f == name
		}
		if !where {
			kept = append(kept, args[i])
		} else if !joined {
			i++
		}
	}
	return kept
}
