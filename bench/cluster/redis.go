package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A redisServer is redis-server with its defaults, but for persistence: it has none.
type redisServer struct {
	addr string
	dir  string
	cmd  *exec.Cmd
}

func startRedis() (engine, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "cluster-redis-")
	if err != nil {
		return nil, err
	}
	r := &redisServer{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), dir: dir}
	if err := r.start(); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// start starts the process, and returns when it answers.
func (r *redisServer) start() error {
	host, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		return err
	}
	r.cmd = exec.Command("redis-server", "--bind", host, "--port", port, "--dir", r.dir, "--save", "", "--appendonly", "no")
	if err := r.cmd.Start(); err != nil {
		r.cmd = nil
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := r.info()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (r *redisServer) kill() {
	if r.cmd != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
	}
}

func (r *redisServer) url() string { return "redis://" + r.addr }

func (r *redisServer) restart() error {
	r.kill()
	return r.start()
}

func (r *redisServer) stop() {
	r.kill()
	_ = os.RemoveAll(r.dir)
}

func (r *redisServer) figures() (f figures, err error) {
	info, err := r.info()
	if err != nil {
		return f, err
	}
	user, err1 := strconv.ParseFloat(info["used_cpu_user"], 64)
	system, err2 := strconv.ParseFloat(info["used_cpu_sys"], 64)
	commands, err3 := strconv.ParseInt(info["total_commands_processed"], 10, 64)
	reads, err4 := strconv.ParseInt(info["total_reads_processed"], 10, 64)
	return figures{
		CPU: time.Duration((user + system) * float64(time.Second)), Commands: commands, Reads: reads,
	}, errors.Join(err1, err2, err3, err4)
}

func (r *redisServer) memory() (int64, error) {
	info, err := r.info()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(info["used_memory"], 10, 64)
}

// info asks for INFO, in the protocol's form for people.
func (r *redisServer) info() (map[string]string, error) {
	conn, err := net.DialTimeout("tcp", r.addr, time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "INFO\r\n"); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	head, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	length, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "$")))
	if err != nil {
		return nil, errors.New("the answer to INFO is " + head)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, err
	}
	info := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[key] = value
		}
	}
	return info, nil
}

// redisVersion is which Redis is installed.
func redisVersion() string {
	said, _ := exec.Command("redis-server", "--version").Output()
	for word := range strings.FieldsSeq(string(said)) {
		if version, ok := strings.CutPrefix(word, "v="); ok {
			return "Redis " + version
		}
	}
	return "Redis of an unknown version"
}
