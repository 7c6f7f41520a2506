package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"time"
)

// A process is a running node.
type process struct {
	name string
	cmd  *exec.Cmd
	addr string
}

var address = regexp.MustCompile(`^node .*: http://(\S+)\n$`)

// startNode starts a node of this program, and waits until it listens. When ctx ends,
// the node is asked to, and killed if it takes too long.
func startNode(ctx context.Context, name, broker string) (*process, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "-owned", "-node", name, "-broker", broker)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel = in.Close
	cmd.WaitDelay = goodbye + 5*time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	found := address.FindStringSubmatch(line)
	if found == nil {
		_ = in.Close() // what it says when it ends counts
		if err == io.EOF {
			err = nil
		}
		return nil, fmt.Errorf("node %s did not start: %w", name, errors.Join(err, cmd.Wait()))
	}
	return &process{name: name, cmd: cmd, addr: found[1]}, nil
}

// pause is how long after its end a node is started again.
const pause = 3 * time.Second

// keep gives p its share of what comes, and starts it again whenever it ends, until ctx
// does. Then it waits for p, and returns how that ended.
func (c *cluster) keep(ctx context.Context, p *process) error {
	for {
		fmt.Printf("node %s: PID %d, http://%s\n", p.name, p.cmd.Process.Pid, p.addr)
		remove := c.balancer.add(p.addr)
		err := p.cmd.Wait()
		remove()
		if ctx.Err() != nil {
			if err == nil || errors.Is(err, ctx.Err()) { // it ended well, because ctx did
				return nil
			}
			return fmt.Errorf("node %s: %w", p.name, err)
		}
		fmt.Printf("node %s: ended (%v); starts again in %v\n", p.name, p.cmd.ProcessState, pause)
		if p = c.again(ctx, p.name); p == nil {
			return nil
		}
	}
}

// again starts the node after a pause, as often as it takes; nil if ctx ends.
func (c *cluster) again(ctx context.Context, name string) *process {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		p, err := startNode(ctx, name, c.broker)
		if err == nil {
			return p
		}
		if ctx.Err() == nil {
			fmt.Printf("node %s: %v; starts again in %v\n", name, err, pause)
		}
	}
}
