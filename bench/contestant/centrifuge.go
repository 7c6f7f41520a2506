package contestant

import (
	"compress/flate"
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/prometheus/client_golang/prometheus"
)

var centrifugeNode = Contestant{
	Name:   "centrifuge",
	Module: "github.com/centrifugal/centrifuge",
	Setup: "A Node with the in-memory broker, set up as in the tutorial of its README; a broadcast is " +
		"Node.Publish without history. It speaks its own JSON protocol, so every message is some 45 bytes " +
		"longer. WriteDelay is off and up to 16 waiting messages share a frame, both the defaults; a delay " +
		"would save it system calls and cost latency. ClientQueueMaxSize is raised from 1 MiB where the " +
		"window needs more. Pings come every 2 minutes instead of 25 seconds, as they are messages of the " +
		"protocol that clients must answer. Compression is at level 1.",
	New:     func(cfg Config) Hub { return newCentrifuge(cfg, 0, nil) },
	Dialect: Centrifuge,
}

var centrifugeExperimental = Contestant{
	Name:   "centrifuge-experimental",
	Module: "github.com/centrifugal/centrifuge",
	Setup: "The same with CompressionPreparedMessageCacheSize, by which frames that are alike are compressed " +
		"once. Its documentation says that it is experimental and not for production, so this is shown in the " +
		"compression scenario, and is not what others are compared with.",
	New:     func(cfg Config) Hub { return newCentrifuge(cfg, 16<<20, nil) },
	Dialect: Centrifuge,
	Only:    "compression",
}

// CentrifugeOnRedis says how a node of several is set up.
type CentrifugeOnRedis struct {
	Address string // of Redis
	History int    // how many messages a channel's has, and subscribers can recover; 0: none
	TTL     time.Duration
}

// NewCentrifuge returns the hub of such a node.
func NewCentrifuge(cfg Config, on CentrifugeOnRedis) Hub { return newCentrifuge(cfg, 0, &on) }

// connect gives node its broker.
func (on *CentrifugeOnRedis) connect(node *centrifuge.Node) error {
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: on.Address})
	if err != nil {
		return err
	}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
	if err == nil {
		node.SetBroker(broker)
	}
	return err
}

type centrifugeHub struct {
	http.Handler
	node    *centrifuge.Node
	publish []centrifuge.PublishOption
	recover bool
	ready   atomic.Int64 // subscriptions that have been set up, and have not ended
	slow    atomic.Int64
}

func newCentrifuge(cfg Config, cache int64, on *CentrifugeOnRedis) Hub {
	const push = 128 // more than the protocol and the name of a group put around a payload
	node, err := centrifuge.New(centrifuge.Config{
		ClientQueueMaxSize: cfg.queueBytes(1<<20, push),
		// The process's registry is for one node; tests run many.
		Metrics: centrifuge.MetricsConfig{RegistererGatherer: prometheus.NewRegistry()},
	})
	if err != nil {
		panic(err) // the options are ours
	}
	h := &centrifugeHub{node: node}
	if on != nil {
		if err := on.connect(node); err != nil {
			panic(err) // the options are ours
		}
		if on.History > 0 {
			h.recover = true
			h.publish = append(h.publish, centrifuge.WithHistory(on.History, on.TTL))
		}
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(h.connected)
	if err := node.Run(); err != nil {
		panic(err) // without an engine nothing can fail
	}
	ws := centrifuge.WebsocketConfig{
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: 2 * time.Minute},
	}
	if cfg.Compress {
		ws.Compression = true
		ws.CompressionLevel = flate.BestSpeed
		ws.CompressionPreparedMessageCacheSize = cache
	}
	h.Handler = centrifuge.NewWebsocketHandler(node, ws)
	return h
}

func (h *centrifugeHub) connected(client *centrifuge.Client) {
	client.OnSubscribe(func(_ centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
		reply(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{
			EnablePositioning: h.recover, EnableRecovery: h.recover,
		}}, nil) // returns when it has been set up
		h.ready.Add(1)
	})
	client.OnUnsubscribe(func(centrifuge.UnsubscribeEvent) { h.ready.Add(-1) })
	client.OnDisconnect(func(e centrifuge.DisconnectEvent) {
		switch e.Code {
		case centrifuge.DisconnectSlow.Code, centrifuge.DisconnectWriteError.Code:
			h.slow.Add(1)
		}
	})
}

func (h *centrifugeHub) Broadcast(group string, payload []byte) {
	// In memory nothing can fail; else the client misses the message.
	_, _ = h.node.Publish(group, payload, h.publish...)
}

// Members does without the subscriptions that the node counts while they are being set
// up: they miss what is published meanwhile, even if the client has had its answer.
func (h *centrifugeHub) Members() int {
	return min(int(h.ready.Load()), h.node.Hub().NumSubscriptions())
}

func (h *centrifugeHub) Counts() map[string]int64 {
	return map[string]int64{"slow_closed": h.slow.Load()}
}

func (h *centrifugeHub) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = h.node.Shutdown(ctx) // ctx's end is all that can be said
}
