package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/report"
	"github.com/wschannels/wschannels/internal/leak"
)

func TestMain(m *testing.M) {
	if isChild(withDropper()) {
		return
	}
	leak.Main(m)
}

// dropper is a floor that loses every tenth message, and does not say so.
type dropper struct {
	contestant.Hub
	n int
}

func (d *dropper) Broadcast(group string, payload []byte) {
	if d.n++; d.n%10 != 0 {
		d.Hub.Broadcast(group, payload)
	}
}

func withDropper() []contestant.Contestant {
	all := contestant.All()
	return append(all, contestant.Contestant{Name: "dropper", New: func(cfg contestant.Config) contestant.Hub {
		return &dropper{Hub: all[0].New(cfg)}
	}})
}

// quick runs the program and returns what it has written.
func quick(t *testing.T, args ...string) report.Results {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	dir := t.TempDir()
	if err := run(append(args, "-quick", "-out", dir), withDropper(), t.Output()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r report.Results
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Scenarios {
		if _, err := os.Stat(filepath.Join(dir, s.Name+".svg")); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "results.md")); err != nil {
		t.Error(err)
	}
	return r
}

// clean complains of what should not be.
func clean(t *testing.T, r report.Run) {
	t.Helper()
	if r.Failed != "" {
		t.Errorf("%s, %s: failed: %s", r.Scenario, r.Contestant, r.Failed)
	}
	for _, key := range []string{"missing", "missing_without", "failed", "members"} {
		if n := r.Values[key]; n != 0 {
			t.Errorf("%s, %s: %s is %v", r.Scenario, r.Contestant, key, n)
		}
	}
	if len(r.Notes) > 0 && r.Scenario != "slow" {
		t.Errorf("%s, %s: %q", r.Scenario, r.Contestant, r.Notes)
	}
}

func TestEveryScenario(t *testing.T) {
	r := quick(t, "-contestants", "floor,wschannels,wschannels-handler")
	if len(r.Scenarios) != len(scenarios()) {
		t.Errorf("%d scenarios", len(r.Scenarios))
	}
	for _, run := range r.Runs {
		clean(t, run)
	}
	for _, s := range r.Scenarios {
		rows := report.Rows(s, r.Runs)
		want := []string{"floor", "wschannels"}
		switch s.Name {
		case "idle":
			want = append(want, "wschannels-handler")
		case "slow":
			want = want[1:]
		}
		var got []string
		for _, row := range rows {
			got = append(got, row.Contestant)
			for _, m := range s.Metrics {
				if _, ok := row.Values[m.Key]; !ok {
					t.Errorf("%s: %s has no %s", s.Name, row.Contestant, m.Key)
				}
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: the contestants are %v, want %v", s.Name, got, want)
		}
	}
}

func TestEveryContestant(t *testing.T) {
	var names []string
	for _, c := range contestant.All() {
		names = append(names, c.Name)
	}
	r := quick(t, "-contestants", strings.Join(names, ","), "-scenarios", "rooms,compression")
	if want := 2*(len(names)-2) + 1; len(r.Runs) != want { // two take part in one scenario each
		t.Errorf("%d runs, want %d", len(r.Runs), want)
	}
	for _, run := range r.Runs {
		clean(t, run)
	}
}

func TestLostMessagesAreNoticed(t *testing.T) {
	r := quick(t, "-contestants", "dropper,floor", "-scenarios", "paced,burst-100x128B")
	if len(r.Runs) != 4 {
		t.Errorf("%d runs, want 4", len(r.Runs))
	}
	for _, run := range r.Runs {
		switch {
		case run.Contestant == "floor":
			clean(t, run)
		case run.Scenario == "paced":
			if run.Values["missing"] == 0 || len(run.Notes) == 0 {
				t.Errorf("nothing is missing: %+v", run)
			}
		default:
			if !strings.Contains(run.Failed, "deliveries missing") {
				t.Errorf("it is not failed: %+v", run)
			}
		}
	}
}

func TestRoundsBeginWithAnother(t *testing.T) {
	r := quick(t, "-contestants", "floor,wschannels", "-scenarios", "idle", "-rounds", "2")
	var got []string
	for _, run := range r.Runs {
		got = append(got, run.Contestant)
	}
	if want := []string{"floor", "wschannels", "wschannels", "floor"}; !slices.Equal(got, want) {
		t.Errorf("the order is %v, want %v", got, want)
	}
}

func TestReadmeIsWritten(t *testing.T) {
	dir := t.TempDir()
	readme := filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte("# Title\n<!-- results:begin --><!-- results:end -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := quick(t, "-contestants", "floor", "-scenarios", "idle", "-readme", readme, "-cpuprofile", filepath.Join(dir, "profiles"))
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "/idle.svg)") || strings.Contains(r.Command, readme) {
		t.Errorf("the command is %s, the file\n%s", r.Command, text)
	}
}

func TestProfiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "profiles")
	quick(t, "-contestants", "floor", "-scenarios", "rooms,churn", "-cpuprofile", dir)
	files, err := filepath.Glob(filepath.Join(dir, "*-floor-1.*.pprof"))
	if err != nil || len(files) != 4 {
		t.Errorf("the files are %v, %v", files, err)
	}
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{
		{"-scenarios", "nonsense"}, {"-contestants", "floor,nobody"}, {"-rounds", "x"}, {"rooms"},
	} {
		if err := run(append(args, "-out", t.TempDir()), contestant.All(), io.Discard); err == nil {
			t.Errorf("no error for %v", args)
		}
	}
	args := []string{"-rounds", "2", "-out", "a", "--readme=b", "-quick", "-cpuprofile", "c"}
	if got := strings.Join(without(args, "out", "readme", "cpuprofile"), " "); got != "-rounds 2 -quick" {
		t.Errorf("what is left is %q", got)
	}
}

func TestEstimates(t *testing.T) {
	for _, s := range scenarios() {
		full, short := &runner{options: &options{}}, &runner{options: &options{measure: time.Second}}
		if a, b := full.estimate(s), short.estimate(s); a < time.Second || b > a {
			t.Errorf("%s takes %v, or with a second %v", s.Name, a, b)
		}
	}
}

// The README says how each contestant is set up, in its own words.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.Join(strings.Fields(string(text)), " ")
	for _, c := range contestant.All() {
		if !strings.Contains(plain, c.Setup) {
			t.Errorf("README.md does not say how %s is set up: %s", c.Name, c.Setup)
		}
	}
	for _, s := range scenarios() {
		if !strings.Contains(plain, "`"+s.Name+"`") {
			t.Errorf("README.md does not tell of the scenario %s", s.Name)
		}
	}
}
