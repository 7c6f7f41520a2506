package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// program is the running program, as a person starts it.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, by then

	mu    sync.Mutex // guards what follows
	lines []string   // printed and not looked at
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: cmd, done: make(chan struct{})}
	go func() { // ends with the process
		for s := bufio.NewScanner(out); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it has ended
		<-p.done
	})
	return p
}

// printed waits for a line that re finds, behind those that were found before, and returns
// what its groups hold.
func (p *program) printed(re string) []string {
	p.t.Helper()
	var found []string
	eventually(p.t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, line := range p.lines {
			if found = regexp.MustCompile(re).FindStringSubmatch(line); found != nil {
				p.lines = append(p.lines[:i:i], p.lines[i+1:]...)
				return true
			}
		}
		return false
	})
	return found[1:]
}

// end asks the program to end, as a terminal does, and checks that it ends well.
func (p *program) end() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	if <-p.done; p.err != nil {
		p.t.Errorf("the program ended with %v, want no error", p.err)
	}
}

// kill ends a process without a word.
func kill(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

// listens reports whether anybody does at addr.
func listens(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

const nodeLine = `PID (\d+), http://(\S+)`

// join opens a socket of the program's page, and returns it and the node that it is on.
func join(t *testing.T, addr, name string) (visitor, string) {
	t.Helper()
	var conn *websocket.Conn
	eventually(t, func() bool { // as pages do: a node may die while it is asked
		var err error
		conn, _, err = websocket.Dial(t.Context(), "ws://"+addr+"/ws/lobby?name="+name, nil)
		return err == nil
	})
	t.Cleanup(func() { _ = conn.CloseNow() })
	v := visitor{t, conn}
	return v, v.untilType("welcome").Data.Node
}

func TestTheWholeCluster(t *testing.T) {
	c := start(t, "-addr", "127.0.0.1:0")
	addr := c.printed(`open http://(\S+)`)[0]
	a, b := c.printed("node a: "+nodeLine), c.printed("node b: "+nodeLine)

	ann, on := join(t, addr, "Ann")
	ben, other := join(t, addr, "Ben")
	if on == other {
		t.Fatalf("both are on node %s", on)
	}
	ann.say("1", "hello")
	if m := ben.untilType("line"); m.Data.Node != on {
		t.Errorf("the line is from node %s, want %s", m.Data.Node, on)
	}

	victim := map[string][]string{"a": a, "b": b}[on]
	kill(t, victim[0])
	for { // what had been sent before, and then the end
		if _, _, err := ann.conn.Read(t.Context()); err != nil {
			break
		}
	}
	if _, node := join(t, addr, "Ann"); node != other {
		t.Errorf("Ann comes back on node %s, want %s", node, other)
	}
	c.printed("node " + on + ": ended .*killed")
	again := c.printed("node " + on + ": " + nodeLine)
	if again[0] == victim[0] {
		t.Errorf("the process %s is back", again[0])
	}
	if _, node := join(t, addr, "Cid"); node != on {
		t.Errorf("Cid is on node %s, want %s, which is back and has nobody", node, on)
	}

	closed := make(chan error)
	go func() { // a page reads, or it could not answer the close
		var err error
		for err == nil {
			_, _, err = ben.conn.Read(t.Context())
		}
		closed <- err
	}()
	c.end()
	if err := <-closed; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("closed with %v, want 1001", err)
	}
	for _, node := range [][]string{a, b, again} {
		if listens(node[1]) {
			t.Errorf("the node at %s is still there", node[1])
		}
	}
}

func TestNodesEndWithTheProcessThatStartedThem(t *testing.T) {
	c := start(t, "-addr", "127.0.0.1:0", "-nodes", "3")
	c.printed(`open http://(\S+)`)
	var nodes []string
	for range 3 {
		nodes = append(nodes, c.printed(nodeLine)[1])
	}
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-c.done // and with it whoever has its standard error
	for _, addr := range nodes {
		eventually(t, func() bool { return !listens(addr) })
	}
}

func TestAnEngineThatIsNone(t *testing.T) {
	for _, url := range []string{"redis", "http://localhost", "://"} {
		if b, err := openBroker(url); err == nil {
			_ = b.Close(t.Context())
			t.Errorf("%q is taken for an engine", url)
		}
	}
	c := start(t, "-addr", "127.0.0.1:0", "-broker", "http://localhost")
	if <-c.done; c.err == nil {
		t.Error("the program ended well, want an error")
	}
}

func TestANodeByItself(t *testing.T) {
	var engine cluster
	stop, err := engine.embed()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	nodes := map[string]*program{}
	var ann, ben visitor
	for name, v := range map[string]*visitor{"x": &ann, "y": &ben} {
		p := start(t, "-node", name, "-listen", "127.0.0.1:0", "-broker", engine.broker)
		nodes[name] = p
		person, on := join(t, p.printed("^node " + name + `: http://(\S+)$`)[0], name)
		if on != name {
			t.Errorf("node %s says that it is %s", name, on)
		}
		*v = person
	}
	ann.say("1", "hello")
	if m := ben.untilType("line"); m.Data.Node != "x" {
		t.Errorf("the line is from node %s, want x", m.Data.Node)
	}
	for _, v := range []visitor{ann, ben} {
		v.conn.CloseRead(t.Context()) // a page that answers when it is closed
	}
	for _, p := range nodes {
		p.end()
	}
}
