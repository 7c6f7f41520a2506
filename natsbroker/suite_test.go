package natsbroker_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/brokertest"
	"github.com/wschannels/wschannels/natsbroker"
)

// A cluster remembers how brokers of a test were made.
type cluster struct {
	engine *engine

	mu      sync.Mutex // guards what follows
	opts    map[wschannels.Broker]natsbroker.Options
	proxies map[wschannels.Broker]*proxy
}

func (c *cluster) open(t *testing.T, opts natsbroker.Options) wschannels.Broker {
	p := newProxy(t, c.engine.addr)
	b := open(t, p.url(), &opts)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opts[b], c.proxies[b] = opts, p
	return b
}

func (c *cluster) proxy(b wschannels.Broker) *proxy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proxies[b]
}

func (c *cluster) of(b wschannels.Broker) natsbroker.Options {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opts[b]
}

func TestItKeepsWhatABrokerPromises(t *testing.T) {
	c := &cluster{
		engine: newEngine(t), opts: make(map[wschannels.Broker]natsbroker.Options), proxies: make(map[wschannels.Broker]*proxy),
	}
	brokertest.Run(t, func(t *testing.T) wschannels.Broker {
		return c.open(t, natsbroker.Options{Prefix: newPrefix()})
	}, brokertest.Features{
		Node: func(t *testing.T, b wschannels.Broker) wschannels.Broker { return c.open(t, c.of(b)) },
		Limited: func(t *testing.T, limits wschannels.HistoryLimits) wschannels.Broker {
			return c.open(t, natsbroker.Options{Prefix: newPrefix(), History: limits})
		},
		Stranger: func(t *testing.T, b wschannels.Broker) wschannels.Broker {
			opts := c.of(b)
			opts.Prefix += "x"
			return c.open(t, opts)
		},
		Garbage: func(t *testing.T, b wschannels.Broker, group string) {
			nc := connect(t, c.engine.url())
			if err := nc.Publish(c.of(b).Prefix+".d."+natsbroker.Token(group), []byte("garbage")); err != nil {
				t.Fatal(err)
			}
			flush(t, nc)
		},
		Subscribed: func(t *testing.T, b wschannels.Broker, group string) bool {
			subs, err := c.engine.server.Subsz(&server.SubszOptions{Subscriptions: true, Test: c.of(b).Prefix + ".d." + natsbroker.Token(group)})
			if err != nil {
				t.Fatal(err)
			}
			return subs.Total > 0
		},
		Cut:       func(t *testing.T, b wschannels.Broker) { c.proxy(b).cut() },
		Deaf:      func(t *testing.T, b wschannels.Broker) { c.proxy(b).deafen() },
		Stop:      func(t *testing.T, b wschannels.Broker) { c.engine.stop() },
		Start:     func(t *testing.T, b wschannels.Broker) { c.engine.start(t) },
		KeepsData: true,
		Foreign:   []string{"nats-server"},
	})
}

func flush(t testing.TB, nc *nats.Conn) {
	t.Helper()
	if err := nc.Flush(); err != nil {
		t.Fatal(fmt.Errorf("flush: %w", err))
	}
}
