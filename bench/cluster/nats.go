package main

import (
	"errors"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/wschannels/wschannels/bench/child"
	"github.com/wschannels/wschannels/bench/usage"
)

// A natsServer is a nats-server with JetStream, in a child.
type natsServer struct {
	start   natsStart
	process *child.Process
}

// natsStart says what the child is to serve.
type natsStart struct {
	Port int
	Dir  string
}

func startNATS() (engine, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "cluster-nats-")
	if err != nil {
		return nil, err
	}
	n := &natsServer{start: natsStart{port, dir}}
	if err := n.run(); err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

func (n *natsServer) run() (err error) {
	if n.process, err = child.Start("nats"); err != nil {
		return err
	}
	return n.process.Call(time.Minute, "start", n.start, nil)
}

func (n *natsServer) url() string {
	return "nats://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(n.start.Port))
}

func (n *natsServer) figures() (f figures, err error) {
	err = n.process.Call(time.Minute, "figures", none{}, &f)
	return f, err
}

func (n *natsServer) memory() (m int64, err error) {
	err = n.process.Call(time.Minute, "memory", none{}, &m)
	return m, err
}

func (n *natsServer) restart() error {
	n.process.Stop() // the child exits without a word
	return n.run()
}

func (n *natsServer) stop() {
	if n.process != nil {
		n.process.Stop()
	}
	_ = os.RemoveAll(n.start.Dir)
}

// serveNATS is the child.
func serveNATS() {
	var s *server.Server
	child.Serve(map[string]child.Handler{
		"start": child.Func(func(start natsStart) (struct{}, error) {
			var err error
			s, err = server.NewServer(&server.Options{
				Host: "127.0.0.1", Port: start.Port, JetStream: true, StoreDir: start.Dir, NoLog: true, NoSigs: true,
			})
			if err != nil {
				return none{}, err
			}
			s.Start()
			if !s.ReadyForConnections(30 * time.Second) {
				return none{}, errors.New("it does not listen")
			}
			return none{}, nil
		}),
		"figures": child.Func(func(struct{}) (figures, error) {
			v, err := s.Varz(nil)
			if err != nil {
				return figures{}, err
			}
			return figures{CPU: usage.CPU(), Commands: v.InMsgs}, nil
		}),
		"memory": child.Func(func(struct{}) (int64, error) { return usage.SettledMemory().Heap, nil }),
	})
}
