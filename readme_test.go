package wschannels_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The server in the README compiles, and is the one in the package's documentation.
func TestREADMEServer(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```go\n(package main.*?)```").FindSubmatch(readme)
	if m == nil {
		t.Fatal("README.md has no program")
	}
	program := string(m[1])

	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, m[1], 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "server"), file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}

	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	comments := regexp.MustCompile(`\s*//[^\n]*`)
	for line := range strings.Lines(program) {
		line = comments.ReplaceAllString(strings.TrimRight(line, "\n"), "")
		if line != "" && !strings.Contains(string(doc), "//\t"+line+"\n") {
			t.Errorf("doc.go lacks the README's line %q", line)
		}
	}
}
