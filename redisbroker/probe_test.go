package redisbroker_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels/redisbroker/redistest"
)

func TestADeafConnectionIsNoticedWithoutTheClientsHelp(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	b := newBroker(t, rueidis.ClientOption{InitAddress: []string{p.Addr()}, ForceSingleClient: true, DisableCache: true,
		ConnWriteTimeout: time.Hour}, &fast)
	var r recorder
	subscribe(t, b, &r, "a")
	start := time.Now()
	p.Deafen()
	until(t, "Interrupted", func() bool { return r.count("a", "interrupted") == 1 })
	if took := time.Since(start); took > backWithin {
		t.Errorf("after %v", took)
	}
	p.Cut() // or the client's connection for calls stays deaf
}

func TestAConnectionToAServerThatNothingIsPublishedAtIsReplaced(t *testing.T) {
	s, wrong := redistest.Start(t), redistest.Start(t)
	var target atomic.Value
	target.Store(s.Addr())
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr()}, ForceSingleClient: true, DisableCache: true,
		PipelineMultiplex: -1,
		DialCtxFn: func(ctx context.Context, _ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", target.Load().(string))
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	target.Store(wrong.Addr()) // as one that was a master
	b := brokerOf(t, client, &fast)
	var r recorder
	subscribe(t, b, &r, "a")
	if wrong.CLI("PUBSUB", "NUMSUB", "wschannels:{g.a}") != "wschannels:{g.a}\n1" {
		t.Skip("the connection was replaced already")
	}
	target.Store(s.Addr())
	until(t, "Interrupted", func() bool { return r.count("a", "interrupted") > 0 })
	publish(t, b, message("a", "1"))
	until(t, "delivery", func() bool { return len(r.seqs("a")) == 1 })
}
