package wschannels_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/wschannels/wschannels"
)

// faultsChildEnv says which test a process was started for.
const faultsChildEnv = "WSCHANNELS_TEST_CHILD"

// faultsChild returns this very test as a process of its own.
func faultsChild(t *testing.T) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), faultsChildEnv+"="+t.Name())
	return cmd
}

func faultsIsChild(t *testing.T) bool { return os.Getenv(faultsChildEnv) == t.Name() }

// A faultsServer is a child that serves a box and does what it is told.
type faultsServer struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.Writer
	out  chan string // what it says; closed at its end
	addr string

	mu   sync.Mutex // guards all
	all  []string   // what it has written
	full chan struct{}
}

// faultsStart starts the child.
func faultsStart(t *testing.T) *faultsServer {
	t.Helper()
	s := &faultsServer{t: t, cmd: faultsChild(t), out: make(chan string, 100), full: make(chan struct{})}
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.in = in
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.cmd.Stdout
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the child
		defer close(ended)
		defer close(s.out)
		var full sync.Once
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line := lines.Text()
			s.mu.Lock()
			s.all = append(s.all, line)
			s.mu.Unlock()
			if strings.Contains(line, "too many open files") {
				full.Do(func() { close(s.full) })
			}
			if said, ok := strings.CutPrefix(line, "> "); ok {
				s.out <- said
			}
		}
	}()
	t.Cleanup(func() {
		in.Close()
		s.cmd.Process.Kill()
		<-ended
		s.cmd.Wait()
		if t.Failed() {
			t.Logf("the last that the child said:\n%s", strings.Join(s.all[max(0, len(s.all)-30):], "\n"))
		}
	})
	s.addr = s.hear()
	return s
}

func (s *faultsServer) hear() string {
	s.t.Helper()
	select {
	case line, ok := <-s.out:
		if !ok {
			s.t.Fatal("the child has ended")
		}
		return line
	case <-time.After(boxPatience):
		s.t.Fatal("the child says nothing")
	}
	return ""
}

// ask has the child do something and returns its answer.
func (s *faultsServer) ask(what string) string {
	s.t.Helper()
	fmt.Fprintln(s.in, what)
	return s.hear()
}

func (s *faultsServer) count(what string) (n int) {
	s.t.Helper()
	if _, err := fmt.Sscan(s.ask(what), &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *faultsServer) stats() (st Stats) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.ask("stats")), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// end ends the child in good order.
func (s *faultsServer) end() {
	s.t.Helper()
	if got := s.ask("end"); got != "done" {
		s.t.Errorf("at the end: %s", got)
	}
}

// faultsServeChild is the child: it serves until it is told to end. Whoever comes joins g.
func faultsServeChild(t *testing.T, opts ChannelOptions) {
	before := runtime.NumGoroutine()
	var box *ChannelBox
	opts.PayloadType = Text
	box = boxOf(t, &Options{Channel: opts, Events: Events{OnConnect: faultsJoins(&box)}})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(box.ServeHTTP))
	srv.Config.ErrorLog = log.New(os.Stdout, "", 0)
	var accepted atomic.Int64
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted.Add(1)
		}
	}
	srv.Start()
	fmt.Println(">", srv.Listener.Addr())
	sent := 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "send":
			sent++
			res, err := box.GroupSend(t.Context(), "g", fmt.Sprint(sent), nil)
			fmt.Println(">", res.Queued, err)
		case "stats":
			p, _ := json.Marshal(box.Stats())
			fmt.Printf("> %s\n", p)
		case "members":
			fmt.Println(">", len(box.Members("g")))
		case "accepted":
			fmt.Println(">", accepted.Load())
		case "descriptors":
			var limit syscall.Rlimit // what was open above it before does not count
			_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
			n := 0
			for fd := range limit.Cur {
				if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0); errno == 0 {
					n++
				}
			}
			fmt.Println(">", n)
		case "end":
			ctx, cancel := context.WithTimeout(context.Background(), boxPatience)
			err := box.Shutdown(ctx)
			cancel()
			srv.CloseClientConnections()
			srv.Close()
			boxNothingLeft(t, box)
			boxGoroutines(t, before)
			if err != nil || t.Failed() {
				fmt.Println("> not clean:", err)
			} else {
				fmt.Println("> done")
			}
			return
		}
	}
}
