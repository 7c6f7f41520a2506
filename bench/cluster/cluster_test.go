package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wschannels/wschannels/internal/leak"
)

func TestMain(m *testing.M) {
	if isChild() {
		return
	}
	leak.Main(m)
}

// quick runs the program and returns the section that it wrote.
func quick(t *testing.T, args ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts many processes")
	}
	if err := available(onRedis); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "clustering.md")
	if err := run(append(args, "-quick", "-rounds", "1", "-readme", file), t.Output()); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryPartOnEveryEngine(t *testing.T) {
	for _, engine := range []string{onRedis, onNATS} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			text := quick(t, "-engine", engine)
			r := &runner{quick: true}
			for _, p := range parts(r, engine) {
				if !strings.Contains(text, ": "+p.title+"\n") {
					t.Errorf("there is no table %q", p.title)
				}
				for _, c := range p.cases {
					for _, link := range c.links {
						row := rowOf(text, c.name, link)
						if row == nil {
							t.Errorf("there is no row %q, %q", c.name, link)
						} else if missing := row[len(row)-1]; missing != "0" {
							t.Errorf("%s, %s: missing are %s", c.name, link, missing)
						}
					}
				}
			}
			if t.Failed() {
				t.Log(text)
			}
		})
	}
}

// rowOf returns the cells of a row of a table.
func rowOf(text, name, link string) []string {
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " *")
		}
		if len(cells) > 2 && cells[0] == name && cells[1] == link {
			return cells
		}
	}
	return nil
}

func TestTheSectionReplacesTheOldOne(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clustering.md")
	for _, text := range []string{"first", "second"} {
		if err := splice(file, text); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(got), "second") || strings.Contains(string(got), "first") {
		t.Errorf("%v, %s", err, got)
	}
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"-engine", "nonsense"}, {"-parts", "nonsense"}, {"-rounds", "0"}, {"-rounds", "x"}, {"redis"}} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("no error for %v", args)
		}
	}
}
