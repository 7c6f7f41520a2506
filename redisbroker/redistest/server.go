// Package redistest starts Redis servers for tests. It needs redis-server; where there is
// none, tests are skipped, or fail if the environment says CI=true.
package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is how long to wait for what must happen.
const Patience = time.Minute

// A Server is a Redis server of a test's own, on a free port of this machine. Its methods
// fail the test on errors. They are for one goroutine.
type Server struct {
	tb   testing.TB
	port int
	dir  string
	args []string

	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has
}

// Start starts a server without persistence, whose configuration args adds to, as
// "--appendonly", "yes". It ends with the test.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	Need(tb, "redis-server")
	s := &Server{tb: tb, dir: tb.TempDir(), args: args}
	tb.Cleanup(s.Stop)
	for attempt := 0; ; attempt++ {
		s.port = freePort(tb)
		if err := s.launch(); err == nil {
			return s
		} else if attempt == 5 { // somebody else took the port
			tb.Fatal(err)
		}
	}
}

// Need skips the test unless program is installed.
func Need(tb testing.TB, program string) {
	tb.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("%s is not installed, and CI=true", program)
		}
		tb.Skipf("%s is not installed", program)
	}
}

// FreePort returns a port that nobody uses now.
func FreePort(tb testing.TB) string {
	tb.Helper()
	return strconv.Itoa(freePort(tb))
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// launch starts the server and waits until it answers.
func (s *Server) launch() error {
	args := append([]string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--daemonize", "no"}, s.args...)
	var log bytes.Buffer
	cmd := exec.Command("redis-server", args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // nobody reads the log before
		close(ended)
	}()
	s.cmd, s.ended = cmd, ended
	for deadline := time.Now().Add(Patience); !s.answers(); {
		select {
		case <-ended:
			s.cmd = nil
			return fmt.Errorf("redis-server has ended:\n%s", log.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return errors.New("redis-server does not answer")
		}
	}
	return nil
}

// answers reports whether the server has loaded its data.
func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	// With TLS, or a password, an answer of any kind will do.
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	b := make([]byte, 64)
	n, _ := c.Read(b)
	return n == 0 || !bytes.HasPrefix(b[:n], []byte("-LOADING"))
}

// Addr returns the server's address.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the server's URL.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Dir returns the directory of the server's files.
func (s *Server) Dir() string { return s.dir }

// Stop kills the server without a warning, if it runs.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
}

// Restart starts a stopped server in its place: on its port, with what it has on disk.
func (s *Server) Restart() {
	s.tb.Helper()
	if err := s.launch(); err != nil {
		s.tb.Fatal(err)
	}
}

// Freeze suspends the server: it accepts connections, and says nothing.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatal(err)
	}
}

// CLI runs redis-cli with args, and returns what it prints.
func (s *Server) CLI(args ...string) string {
	s.tb.Helper()
	Need(s.tb, "redis-cli")
	out, err := exec.Command("redis-cli", append([]string{"-p", strconv.Itoa(s.port)}, args...)...).CombinedOutput()
	if err != nil {
		s.tb.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
