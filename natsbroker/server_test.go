package natsbroker_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
)

// An engine is a NATS server in this process, on a free port that it keeps.
type engine struct {
	opts   *server.Options
	server *server.Server
}

func newEngine(t testing.TB) *engine {
	e := &engine{opts: &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, MaxPayload: 8 << 20}}
	e.start(t)
	t.Cleanup(e.stop)
	return e
}

func (e *engine) start(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		s, err := server.NewServer(e.opts.Clone())
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if s.ReadyForConnections(10 * time.Second) {
			e.server = s
			if e.opts.Port == server.RANDOM_PORT {
				e.opts.Port = s.Addr().(*net.TCPAddr).Port
			}
			return
		}
		s.Shutdown()
		if time.Now().After(deadline) {
			t.Fatal("the NATS server does not start")
		}
	}
}

func (e *engine) stop() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

func (e *engine) addr() string { return fmt.Sprintf("127.0.0.1:%d", e.opts.Port) }

func (e *engine) url() string { return "nats://" + e.addr() }

var prefixes atomic.Int64

func newPrefix() string { return fmt.Sprintf("t%d", prefixes.Add(1)) }

func open(t testing.TB, url string, opts *natsbroker.Options) *natsbroker.Broker {
	t.Helper()
	b, err := natsbroker.Open(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBroker(t, b) })
	return b
}

func closeBroker(t testing.TB, b wschannels.Broker) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, natsbroker.ConnectOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}
