package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// builds holds each example's binary once it is built: name to func() (string, error).
var builds sync.Map

func build(t *testing.T, name string) string {
	t.Helper()
	once, _ := builds.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		path := filepath.Join(scratch, name)
		cmd := exec.Command("go", "build", "-o", path, ".")
		cmd.Dir = filepath.Join("..", "examples", name) // which may be a module
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		return path, cmd.Run()
	}))
	path, err := once.(func() (string, error))()
	if err != nil {
		t.Fatalf("build %s: %v", name, err)
	}
	return path
}

// program is a running example.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	addr string // host and port
	done chan error

	mu      sync.Mutex // guards what follows
	printed []string   // lines after the first, without those that line has found
}

var link = regexp.MustCompile(`http://(\S+)`)

// start builds an example, starts it on a free port and waits until it listens.
func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	browser(t) // without one there is no need
	cmd := exec.Command(build(t, name), append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	found := link.FindStringSubmatch(first)
	if found == nil {
		_ = cmd.Process.Kill()
		t.Fatalf("%s printed %q (%v), want its address", name, first, err)
	}
	p := &program{t: t, cmd: cmd, addr: found[1], done: make(chan error, 1)}
	go func() { // ends with the process
		for s := bufio.NewScanner(lines); s.Scan(); {
			p.mu.Lock()
			p.printed = append(p.printed, s.Text())
			p.mu.Unlock()
		}
		p.done <- cmd.Wait()
	}()
	t.Cleanup(p.stop)
	return p
}

// url returns the address of a page.
func (p *program) url(path string) string { return "http://" + p.addr + path }

// line waits until the program has printed a line that re finds, which no call has found
// before, and returns what its groups hold.
func (p *program) line(re string) []string {
	p.t.Helper()
	expression := regexp.MustCompile(re)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		p.mu.Lock()
		at := slices.IndexFunc(p.printed, expression.MatchString)
		var found []string
		if at >= 0 {
			found = expression.FindStringSubmatch(p.printed[at])[1:]
			p.printed = slices.Delete(p.printed, at, at+1)
		}
		p.mu.Unlock()
		if at >= 0 {
			return found
		}
	}
	p.t.Fatalf("the program has not printed %s", re)
	return nil
}

// stop asks the program to end, as a terminal or a service manager does, and
// checks that it ends well.
func (p *program) stop() {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Errorf("stop: %v", err)
	}
	if err := <-p.done; err != nil {
		p.t.Errorf("the program ended with %v, want no error", err)
	}
	p.cmd = nil
}

// kill ends the program without a word.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // an error means that it is gone
	<-p.done
	p.cmd = nil
}
