package main

import (
	"fmt"
	"net"
	"os/exec"
	"time"
)

// The engines.
const (
	onRedis = "redis"
	onNATS  = "nats"
)

// An engine is a server that carries messages between nodes: a process of its own, with
// nothing in it.
type engine interface {
	url() string
	figures() (figures, error)
	memory() (int64, error) // bytes in use, without what is only to be collected
	restart() error         // kills it, and returns when another one answers at the same address
	stop()
}

// figures are what an engine says of itself.
type figures struct {
	CPU      time.Duration // since it was started
	Commands int64         // Redis: commands, those of scripts included; NATS: messages that came in
	Reads    int64         // Redis: reads from connections; NATS: none
}

// since is what has come to f since earlier.
func (f figures) since(earlier figures) figures {
	f.CPU -= earlier.CPU
	f.Commands -= earlier.Commands
	f.Reads -= earlier.Reads
	return f
}

func startEngine(kind string) (engine, error) {
	if kind == onNATS {
		return startNATS()
	}
	return startRedis()
}

// available says why an engine is not there to be measured.
func available(kind string) error {
	if kind == onRedis {
		if _, err := exec.LookPath("redis-server"); err != nil {
			return fmt.Errorf("no Redis is installed: %w", err)
		}
	}
	return nil
}

// freePort returns a port that nobody listened on a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
