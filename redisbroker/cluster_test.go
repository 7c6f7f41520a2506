package redisbroker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

func newBroker(t testing.TB, co rueidis.ClientOption, opts *redisbroker.Options) *redisbroker.Broker {
	t.Helper()
	client, err := rueidis.NewClient(co)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return brokerOf(t, client, opts)
}

// brokerOf returns a broker that uses client, and leaves it open.
func brokerOf(t testing.TB, client rueidis.Client, opts *redisbroker.Options) *redisbroker.Broker {
	t.Helper()
	b, err := redisbroker.New(client, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeBroker(t, b)
		if err := client.Do(context.Background(), client.B().Ping().Build()).Error(); err == rueidis.ErrClosing {
			t.Error("the application's client has been closed")
		}
	})
	return b
}

func ofCluster(nodes []*redistest.Server) rueidis.ClientOption {
	co := rueidis.ClientOption{DisableCache: true}
	for _, s := range nodes {
		co.InitAddress = append(co.InitAddress, s.Addr())
	}
	return co
}

func groupNames(n int) (groups []string) {
	for i := range n {
		groups = append(groups, fmt.Sprint("group {", i))
	}
	return groups
}

func TestAClusterCarriesAllThatOneServerDoes(t *testing.T) {
	nodes := redistest.StartCluster(t)
	a, b := newBroker(t, ofCluster(nodes), &fast), newBroker(t, ofCluster(nodes), &fast)
	groups := groupNames(60)
	var ra, rb recorder
	subscribe(t, a, &ra, groups...)
	subscribe(t, b, &rb, groups...)
	for range 5 {
		for _, g := range groups {
			publish(t, a, saved(g, "x"))
		}
	}
	for _, g := range groups {
		for _, r := range []*recorder{&ra, &rb} {
			until(t, "delivery", func() bool { return len(r.seqs(g)) >= 5 })
			if got := r.seqs(g); !slices.Equal(got, upTo(5)) {
				t.Errorf("%q: %v", g, got)
			}
		}
		wantTexts(t, history(t, b, g, &wschannels.HistoryOptions{Last: 1}), "5:x")
	}
	used := 0
	for _, s := range nodes {
		if s.CLI("PUBSUB", "SHARDCHANNELS", "*group*") != "" {
			used++
		}
	}
	if used != len(nodes) {
		t.Errorf("%d servers have subscriptions", used)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		wantTexts(t, history(t, a, g, nil))
	}

	l := &echo{}
	if err := a.Listen(t.Context(), "here", l); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Request(t.Context(), "here", []byte("x")); err != nil || string(got) != "x!" {
		t.Errorf("Request = %q, %v", got, err)
	}
	_, err := b.Request(t.Context(), "nowhere", nil)
	wantErr(t, err, wschannels.ErrNobody)

	if _, err := a.Renew(t.Context(), "a", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := a.SetPresence(t.Context(), groups[0], wschannels.PresenceEntry{Node: "a", User: "ann"}); err != nil {
		t.Fatal(err)
	}
	if es, err := b.Presence(t.Context(), groups[0]); err != nil || len(es) != 1 || es[0].User != "ann" {
		t.Errorf("Presence = %+v, %v", es, err)
	}
}

type echo struct{}

func (*echo) Hear(_ string, data []byte, answer func([]byte)) { answer(append(data, '!')) }
func (*echo) Interrupted(string)                              {}

func TestWhatOneServerOfAClusterHasComesBackWithIt(t *testing.T) {
	nodes := redistest.StartCluster(t)
	b := newBroker(t, ofCluster(nodes), &fast)
	var r recorder
	groups := groupNames(30)
	subscribe(t, b, &r, groups...)
	for _, g := range groups {
		publish(t, b, message(g, "1"))
	}
	lost := strings.Fields(nodes[0].CLI("PUBSUB", "SHARDCHANNELS", "*group*"))
	nodes[0].Stop()
	until(t, "Failed", func() bool { return r.count("", "failed") == 1 })
	away, there := 0, 0
	for _, g := range groups {
		if err := b.Publish(within(t, 2*time.Second), message(g, "2")); err != nil {
			away++
			wantEither(t, err)
		} else {
			there++
		}
	}
	if away != len(lost) || there == 0 {
		t.Errorf("%d groups cannot be published to, %d can; the server had %d", away, there, len(lost))
	}
	nodes[0].Restart()
	start := time.Now()
	until(t, "Interrupted", func() bool {
		n := 0
		for _, g := range groups {
			n += r.count(g, "interrupted")
		}
		return n == len(lost)
	})
	if took := time.Since(start); took > backWithin {
		t.Errorf("back after %v", took)
	}
	for _, g := range groups {
		defer func() {
			if t.Failed() {
				t.Logf("%q: %d times interrupted, got %v", g, r.count(g, "interrupted"), r.seqs(g))
			}
		}()
		n := len(r.seqs(g))
		until(t, "publishing", func() bool { return b.Publish(within(t, time.Second), message(g, "3")) == nil })
		until(t, "delivery", func() bool { return len(r.seqs(g)) > n })
	}
	if n := r.count("", "failed"); n != 1 {
		t.Errorf("Failed was called %d times for one outage", n)
	}
}

func TestASlotThatMovesTakesItsSubscriptionsAlong(t *testing.T) {
	nodes := redistest.StartCluster(t)
	b := newBroker(t, ofCluster(nodes), &fast)
	var r recorder
	groups := groupNames(30)
	subscribe(t, b, &r, groups...)
	moved := nodes[0].CLI("PUBSUB", "SHARDCHANNELS", "*group*")
	channel, _, _ := strings.Cut(moved, "\n")
	slot := nodes[0].CLI("CLUSTER", "KEYSLOT", channel)
	to := nodes[1].CLI("CLUSTER", "MYID")
	for _, s := range []int{1, 0, 2} {
		nodes[s].CLI("CLUSTER", "SETSLOT", slot, "NODE", to)
	}
	until(t, "Interrupted", func() bool {
		n := 0
		for _, g := range groups {
			n += r.count(g, "interrupted")
		}
		return n > 0
	})
	for _, g := range groups {
		publish(t, b, message(g, "x"))
		until(t, "delivery", func() bool { return len(r.seqs(g)) == 1 })
	}
	if !strings.Contains(nodes[1].CLI("PUBSUB", "SHARDCHANNELS", "*group*"), channel) {
		t.Error("the new server has no subscription")
	}
}
