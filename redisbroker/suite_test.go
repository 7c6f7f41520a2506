package redisbroker_test

import (
	"crypto/rand"
	"strings"
	"sync"
	"testing"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/brokertest"
	"github.com/wschannels/wschannels/redisbroker"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// A harness opens brokers on a server, each through a proxy of its own, and remembers which
// is which.
type harness struct {
	server *redistest.Server

	mu   sync.Mutex
	made map[wschannels.Broker]made
}

type made struct {
	server *redistest.Server
	proxy  *redistest.Proxy
	opts   redisbroker.Options
}

func (h *harness) open(t *testing.T, s *redistest.Server, opts redisbroker.Options) wschannels.Broker {
	t.Helper()
	p := redistest.NewProxy(t, s.Addr())
	b := open(t, p.URL(), &opts)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made[b] = made{s, p, opts}
	return b
}

func (h *harness) of(t *testing.T, b wschannels.Broker) made {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	m, ok := h.made[b]
	if !ok {
		t.Fatal("a broker that nobody made")
	}
	return m
}

func (h *harness) channel(t *testing.T, b wschannels.Broker, group string) string {
	return h.of(t, b).opts.Prefix + ":{g." + group + "}"
}

func TestBroker(t *testing.T) {
	h := &harness{server: redistest.Start(t), made: make(map[wschannels.Broker]made)}
	brokertest.Run(t, func(t *testing.T) wschannels.Broker {
		return h.open(t, h.server, redisbroker.Options{Prefix: strings.ToLower(rand.Text())})
	}, h.features())
}

func TestBrokerWhoseEngineKeepsItsData(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	h := &harness{server: redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always"), made: make(map[wschannels.Broker]made)}
	f := h.features()
	f.KeepsData = true
	brokertest.Run(t, func(t *testing.T) wschannels.Broker {
		return h.open(t, h.server, redisbroker.Options{Prefix: strings.ToLower(rand.Text()), Durable: true})
	}, f)
}

func (h *harness) features() brokertest.Features {
	return brokertest.Features{
		Node: func(t *testing.T, b wschannels.Broker) wschannels.Broker {
			m := h.of(t, b)
			return h.open(t, m.server, m.opts)
		},
		Limited: func(t *testing.T, limits wschannels.HistoryLimits) wschannels.Broker {
			return h.open(t, h.server, redisbroker.Options{Prefix: strings.ToLower(rand.Text()), History: limits})
		},
		Stranger: func(t *testing.T, b wschannels.Broker) wschannels.Broker {
			m := h.of(t, b)
			m.opts.Prefix += ":g."
			return h.open(t, m.server, m.opts)
		},
		Garbage: func(t *testing.T, b wschannels.Broker, group string) {
			h.of(t, b).server.CLI("PUBLISH", h.channel(t, b, group), "what no broker sent")
		},
		Subscribed: func(t *testing.T, b wschannels.Broker, group string) bool {
			return !strings.HasSuffix(h.of(t, b).server.CLI("PUBSUB", "NUMSUB", h.channel(t, b, group)), "\n0")
		},
		Cut:  func(t *testing.T, b wschannels.Broker) { h.of(t, b).proxy.Cut() },
		Deaf: func(t *testing.T, b wschannels.Broker) { h.of(t, b).proxy.Deafen() },
		Stop: func(t *testing.T, b wschannels.Broker) { h.of(t, b).server.Stop() },
		Start: func(t *testing.T, b wschannels.Broker) {
			h.of(t, b).server.Restart()
		},
	}
}
