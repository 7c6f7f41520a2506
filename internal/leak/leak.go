// Package leak is for TestMain: it fails a test binary that leaves goroutines behind.
package leak

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Patience is how long after the last test goroutines may take to end: that of the
// package's fifth promise.
const Patience = 2 * time.Second

// Main runs the tests of m and exits. If they passed, but goroutines that did not exist
// before are still there [Patience] later, it prints their stacks and exits with 1.
// Goroutines whose stack contains one of foreign are somebody else's to mend.
func Main(m *testing.M, foreign ...string) { os.Exit(Run(m.Run, foreign...)) }

// Run is Main for a run of the tests that needs something before or after it, and
// returns the exit code.
func Run(tests func() int, foreign ...string) (code int) {
	before := Snapshot()
	code = tests()
	if code == 0 && !fuzzing() {
		http.DefaultClient.CloseIdleConnections() // kept for later, not leaked
		if left := Left(before, Patience, foreign...); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "FAIL: %d goroutines left behind\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	return code
}

// fuzzing reports whether this is a run with -fuzz, whose workers are the go command's.
func fuzzing() bool {
	f := flag.Lookup("test.fuzz")
	return f != nil && f.Value.String() != ""
}

// Left returns the stacks of the goroutines that are there, were not in before and are
// not foreign, once there are none, or patience has passed.
func Left(before map[string]string, patience time.Duration, foreign ...string) []string {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var left []string
		for id, stack := range Snapshot() {
			if _, ok := before[id]; !ok && !containsAny(stack, foreign) && !containsAny(stack, standing) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

var header = regexp.MustCompile(`^goroutine (\d+) `)

// Snapshot returns the stack of each goroutine but the caller's, by its number.
func Snapshot() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	all := make(map[string]string)
	for i, stack := range strings.Split(string(buf), "\n\n") {
		if id := header.FindStringSubmatch(stack); i > 0 && id != nil { // the first is ours
			all[id[1]] = strings.TrimSpace(stack)
		}
	}
	return all
}

// standing goroutines are the standard library's, for as long as the process lives.
var standing = []string{"os/signal.loop", "runtime.ensureSigM"}

func containsAny(stack string, parts []string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(stack, p) })
}
