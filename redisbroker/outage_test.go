package redisbroker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// backWithin is how long a broker may take to work again once its engine does.
const backWithin = 10 * time.Second

func TestSubscriptionsComeBackAfterTheEngineWasKilled(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), &fast)
	var r, other recorder
	groups := []string{"a", "b", "c"}
	subscribe(t, b, &r, groups...)
	subscribe(t, b, &other, "a", "left")
	before := publish(t, b, saved("a", "1"))
	until(t, "the first delivery", func() bool { return r.count("a", "seq") == 1 })
	s.Stop()
	until(t, "Failed", func() bool { return r.count("", "failed") > 0 && other.count("", "failed") > 0 })
	if err := b.Unsubscribe(t.Context(), "left", &other); err != nil {
		t.Errorf("Unsubscribe without the engine: %v", err)
	}
	until(t, "calls fail at once", func() bool {
		start := time.Now()
		err := b.Publish(within(t, redistest.Patience), message("a", "no"))
		if err == nil {
			t.Fatal("published without an engine")
		}
		wantEither(t, err)
		return time.Since(start) < time.Second
	})
	wantErr(t, b.Subscribe(within(t, redistest.Patience), "new", &r), wschannels.ErrUnavailable)
	_, err := b.Position(within(t, redistest.Patience), "a")
	wantErr(t, err, wschannels.ErrUnavailable)
	s.Restart()
	start := time.Now()
	for _, group := range groups {
		until(t, "Interrupted", func() bool { return r.count(group, "interrupted") == 1 })
	}
	if took := time.Since(start); took > backWithin {
		t.Errorf("back after %v", took)
	}
	until(t, "Interrupted", func() bool { return other.count("a", "interrupted") == 1 })
	after := publish(t, b, saved("a", "2"))
	if after.Epoch == before.Epoch || after.Seq != 1 {
		t.Errorf("after an engine without its data: %d of %s, before it %d of %s", after.Seq, after.Epoch, before.Seq, before.Epoch)
	}
	until(t, "delivery", func() bool { return slices.Equal(r.seqs("a"), []uint64{1, 1}) })
	for _, r := range []*recorder{&r, &other} {
		if n := r.count("", "failed"); n != 1 {
			t.Errorf("Failed was called %d times for one outage", n)
		}
	}
	if n := s.CLI("PUBSUB", "NUMSUB", "wschannels:{g.left}", "wschannels:{g.new}"); n != "wschannels:{g.left}\n0\nwschannels:{g.new}\n0" {
		t.Errorf("subscribed to what nobody wants: %s", n)
	}
}

func wantEither(t *testing.T, err error) {
	t.Helper()
	if is(err, wschannels.ErrUnavailable) == is(err, wschannels.ErrUnknownOutcome) {
		t.Errorf("error = %v, want one that matches either ErrUnavailable or ErrUnknownOutcome", err)
	}
}

func TestAnEngineThatKeepsItsDataGoesOn(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	b := open(t, s.URL(), &durable)
	var r recorder
	subscribe(t, b, &r, "a")
	first := publish(t, b, saved("a", "1"))
	s.Stop()
	until(t, "Failed", func() bool { return r.count("", "failed") > 0 })
	s.Restart()
	until(t, "Interrupted", func() bool { return r.count("a", "interrupted") == 1 })
	second := publish(t, b, saved("a", "2"))
	if second.Epoch != first.Epoch || second.Seq != 2 {
		t.Errorf("second: %d of %s, first: %d of %s", second.Seq, second.Epoch, first.Seq, first.Epoch)
	}
	page := history(t, b, "a", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: first.Epoch, Seq: 1}})
	wantTexts(t, page, "2:2")
	if !page.Complete {
		t.Error("not complete")
	}
}

// Even if it was said to lose nothing.
func TestASubscribersOrderOfWhichTheEngineLostTheEndStartsAnew(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), &durable)
	var r recorder
	subscribe(t, b, &r, "a")
	publish(t, b, saved("a", "1"))
	s.CLI("SAVE")
	first := publish(t, b, saved("a", "2"))
	until(t, "delivery", func() bool { return len(r.seqs("a")) == 2 })
	s.Stop()
	until(t, "Failed", func() bool { return r.count("", "failed") > 0 })
	s.Restart() // with what was saved
	until(t, "Interrupted", func() bool { return r.count("a", "interrupted") == 1 })
	if got := s.CLI("HGET", "wschannels:{g.a}", first.Epoch+strings.Repeat("-", 16)); got != "2" {
		t.Fatalf("the engine has next seq %s, want 2", got)
	}
	at, err := b.Position(t.Context(), "a")
	if err != nil || at.Epoch == first.Epoch || at.Seq != 0 {
		t.Errorf("Position = %+v, %v; want a new epoch", at, err)
	}
}

func TestALostConnectionIsReplaced(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(s *redistest.Server, p *redistest.Proxy)
	}{
		{"killed by the server", func(s *redistest.Server, p *redistest.Proxy) { s.CLI("CLIENT", "KILL", "TYPE", "pubsub") }},
		{"cut", func(s *redistest.Server, p *redistest.Proxy) { p.Cut() }},
		{"deaf", func(s *redistest.Server, p *redistest.Proxy) { p.Deafen() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := redistest.Start(t)
			p := redistest.NewProxy(t, s.Addr())
			b := open(t, p.URL(), &fast)
			var r recorder
			subscribe(t, b, &r, "a")
			publish(t, b, message("a", "1"))
			start := time.Now()
			tt.lose(s, p)
			until(t, "Interrupted", func() bool { return r.count("a", "interrupted") == 1 })
			until(t, "publishing", func() bool {
				return b.Publish(within(t, time.Second), message("a", "2")) == nil
			})
			until(t, "delivery", func() bool { return slices.Contains(r.seqs("a"), 2) })
			if took := time.Since(start); took > backWithin {
				t.Errorf("back after %v", took)
			}
			if n := r.count("", "failed"); n != 1 {
				t.Errorf("Failed was called %d times for one outage", n)
			}
			if n := r.count("a", "interrupted"); n != 1 {
				t.Errorf("Interrupted was called %d times for one outage", n)
			}
		})
	}
}

func TestAFrozenEngineIsAnOutageAndCallsEndWithTheirContext(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), &fast)
	var r recorder
	subscribe(t, b, &r, "a")
	s.Freeze()
	err := b.Publish(within(t, 50*time.Millisecond), message("a", "1"))
	wantErr(t, err, wschannels.ErrUnknownOutcome)
	until(t, "Failed", func() bool { return r.count("", "failed") == 1 })
	until(t, "calls fail at once", func() bool {
		return is(b.Publish(within(t, redistest.Patience), message("a", "2")), wschannels.ErrUnavailable)
	})
	s.Thaw()
	start := time.Now()
	until(t, "Interrupted", func() bool { return r.count("a", "interrupted") == 1 })
	if took := time.Since(start); took > backWithin {
		t.Errorf("back after %v", took)
	}
	publish(t, b, message("a", "3"))
}

func TestAPausedEngineIsNoOutageIfItIsShort(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), &redisbroker.Options{ProbeInterval: time.Second})
	var r recorder
	subscribe(t, b, &r, "a")
	s.CLI("CLIENT", "PAUSE", "500")
	publish(t, b, message("a", "1"))
	until(t, "delivery", func() bool { return len(r.seqs("a")) == 1 })
	if r.count("", "failed") > 0 {
		t.Error("an outage was reported")
	}
}

func TestManySubscriptionsAtOnceAreAFewRoundTrips(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), nil)
	var r recorder
	var wg sync.WaitGroup
	const n = 10_000
	subscribe(t, b, &r, "first")
	s.CLI("CONFIG", "RESETSTAT")
	for i := range n {
		wg.Go(func() { subscribe(t, b, &r, fmt.Sprint("group ", i)) })
	}
	wg.Wait()
	stats := s.CLI("INFO", "commandstats")
	var calls int
	for line := range lines(stats) {
		if _, err := fmt.Sscanf(line, "cmdstat_subscribe:calls=%d,", &calls); err == nil {
			break
		}
	}
	if calls == 0 || calls > n/10 {
		t.Errorf("%d subscriptions took %d commands", n, calls)
	}
	s.CLI("CLIENT", "KILL", "TYPE", "pubsub")
	until(t, "all are back", func() bool {
		for i := range n {
			if r.count(fmt.Sprint("group ", i), "interrupted") == 0 {
				return false
			}
		}
		return true
	})
}

// A gate is a Subscriber that holds up deliveries until it is opened.
type gate struct {
	recorder
	open chan struct{}
}

func (g *gate) Deliver(p *wschannels.Publication) {
	<-g.open
	g.recorder.Deliver(p)
}

func TestWhoIsTooSlowForTheServerIsToldThatMessagesMayBeMissing(t *testing.T) {
	s := redistest.Start(t, "--client-output-buffer-limit", "pubsub 256kb 256kb 1")
	b := open(t, s.URL(), nil)
	g := &gate{open: make(chan struct{})}
	subscribe(t, b, g, "a")
	other := open(t, s.URL(), nil)
	large := strings.Repeat("x", 100_000)
	until(t, "the server has ended the connection", func() bool {
		publish(t, other, message("a", large))
		return s.CLI("PUBSUB", "NUMSUB", "wschannels:{g.a}") == "wschannels:{g.a}\n0"
	})
	close(g.open)
	until(t, "Interrupted", func() bool { return g.count("a", "interrupted") == 1 })
	p := publish(t, other, message("a", "after"))
	until(t, "delivery", func() bool { return slices.Contains(g.seqs("a"), p.Seq) })
	if n := g.count("", "failed"); n != 1 {
		t.Errorf("Failed was called %d times", n)
	}
	if !slices.IsSorted(g.seqs("a")) {
		t.Errorf("not in order: %v", g.seqs("a"))
	}
}

func TestFailedPublishesAreNotRepeated(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	b, watch := open(t, p.URL(), &fast), open(t, s.URL(), nil)
	var sent, unknown atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := b.Publish(within(t, time.Second), message("a", "x"))
				switch {
				case err == nil:
					sent.Add(1)
				case is(err, wschannels.ErrUnknownOutcome):
					unknown.Add(1)
				case !is(err, wschannels.ErrUnavailable):
					t.Errorf("Publish: %v", err)
				}
			}
		})
	}
	for range 20 {
		n := sent.Load()
		until(t, "traffic", func() bool { return sent.Load() > n+20 })
		p.Cut()
	}
	close(stop)
	wg.Wait()
	at, err := watch.Position(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if n := int64(at.Seq); n < sent.Load() || n > sent.Load()+unknown.Load() {
		t.Errorf("%d published; %d succeeded, %d have an unknown outcome", n, sent.Load(), unknown.Load())
	}
}

func TestAServerThatRefusesHasDoneNothing(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), nil)
	var r recorder
	subscribe(t, b, &r, "a")
	publish(t, b, saved("a", "1"))
	s.CLI("CONFIG", "SET", "maxmemory", "1mb", "maxmemory-policy", "noeviction")
	wantErr(t, b.Publish(t.Context(), saved("a", "no")), wschannels.ErrUnavailable)
	s.CLI("CONFIG", "SET", "maxmemory", "0")
	if p := publish(t, b, saved("a", "2")); p.Seq != 2 {
		t.Errorf("Seq = %d, want 2", p.Seq)
	}
	s.CLI("SCRIPT", "FLUSH")
	if p := publish(t, b, saved("a", "3")); p.Seq != 3 {
		t.Errorf("without scripts: Seq = %d, want 3", p.Seq)
	}
	s.CLI("CONFIG", "SET", "min-replicas-to-write", "1")
	wantErr(t, b.Publish(t.Context(), saved("a", "no")), wschannels.ErrUnavailable)
	s.CLI("CONFIG", "SET", "min-replicas-to-write", "0")
	wantTexts(t, history(t, b, "a", nil), "1:1", "2:2", "3:3")
}
