package child

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// roleVariable tells a process that it is a child, and which.
const roleVariable = "WSCHANNELS_BENCH_ROLE"

// Role is what this process was started as, "" for the parent.
func Role() string { return os.Getenv(roleVariable) }

// A Process is a child, as its parent sees it.
type Process struct {
	role string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	says tail
}

// Start starts this program again in the given role, with more of the environment: "A=B".
func Start(role string, env ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{role: role, cmd: exec.Command(self)}
	p.cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	p.cmd.Stderr = &p.says
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

// ErrTimeout is in the error of a call that took too long. The child has been killed.
var ErrTimeout = errors.New("no answer in time")

// Call lets the child do something and stores what it returns in result, which may be nil.
func (p *Process) Call(timeout time.Duration, do string, with, result any) error {
	if err := p.call(timeout, do, with, result); err != nil {
		if said := p.says.String(); said != "" {
			return fmt.Errorf("%s: %s: %w (%s)", p.role, do, err, said)
		}
		return fmt.Errorf("%s: %s: %w", p.role, do, err)
	}
	return nil
}

func (p *Process) call(timeout time.Duration, do string, with, result any) error {
	args, err := json.Marshal(with)
	if err != nil {
		return err
	}
	line, err := json.Marshal(call{do, args})
	if err != nil {
		return err
	}
	late := time.AfterFunc(timeout, func() { _ = p.cmd.Process.Kill() })
	_, werr := p.in.Write(append(line, '\n'))
	line, err = p.out.ReadBytes('\n')
	if !late.Stop() {
		return fmt.Errorf("%w (%v)", ErrTimeout, timeout)
	}
	if err = errors.Join(werr, err); err != nil {
		return fmt.Errorf("the process is gone: %w", err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return err
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(a.Value, result)
}

// Stop ends the child, whatever it is doing, and waits for it.
func (p *Process) Stop() {
	_ = p.in.Close() // Serve ends the process
	late := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	late.Stop()
}

// A tail keeps the end of what is written to it, for error messages.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if n := len(t.last) - 1000; n > 0 {
		t.last = append(t.last[:0], t.last[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.last)), " ")
}
