package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/bench/child"
	"github.com/wschannels/wschannels/bench/client"
	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/report"
	"github.com/wschannels/wschannels/bench/server"
)

const centrifuge = "centrifuge"

// latency is how long a message takes from one node to a WebSocket client of another.
func latency(engine string) part {
	p := part{
		key: "latency", title: "Latency",
		text: "One node sends 200 messages of 128 bytes a second to a group, for 5 seconds; a WebSocket client of another node, " +
			"over loopback, reads them. With history, each group keeps 1,000 messages for 10 minutes. centrifuge is a node " +
			"with its Redis broker, its own JSON protocol and no WriteDelay; with history, its subscribers recover and are positioned.",
		metrics: []metric{
			{Metric: report.Metric{Key: "p50", Title: "p50", Unit: "ms"}, ratio: true},
			{Metric: report.Metric{Key: "p99", Title: "p99", Unit: "ms"}, ratio: true},
			{Metric: report.Metric{Key: "max", Title: "max", Unit: "ms"}},
			{Metric: report.Metric{Key: "cpu", Title: "CPU of nodes and engine a message", Unit: "µs"}, ratio: true},
			{Metric: report.Metric{Key: "missing", Title: "missing"}},
		},
		targets: []target{
			{"p50, × centrifuge, without history", "p50", 1, false, false},
			{"p99, × centrifuge, without history", "p99", 1, false, false},
			{"p50, × centrifuge, with history", "p50", 1, false, true},
			{"p99, × centrifuge, with history", "p99", 1, false, true},
		},
	}
	for _, saved := range []bool{false, true} {
		name := "without history"
		if saved {
			name = "with history"
		}
		p.cases = append(p.cases, testCase{
			name: name, saved: saved, links: []string{centrifuge, box}, floors: []string{centrifuge},
			run: func(r *runner, link, profile string) (outcome, error) {
				on := engine
				if link == centrifuge {
					on = onRedis
				}
				return r.latency(on, link, profile, saved)
			},
		})
	}
	return p
}

// What the servers of a latency case are told.
const (
	engineVariable = "WSCHANNELS_BENCH_ENGINE"
	urlVariable    = "WSCHANNELS_BENCH_URL"
	savedVariable  = "WSCHANNELS_BENCH_SAVED"
)

// contestants are what those servers may be.
func contestants() []contestant.Contestant {
	engine, at, saved := os.Getenv(engineVariable), os.Getenv(urlVariable), os.Getenv(savedVariable) != ""
	history := wschannels.HistoryLimits{Len: limits.Len, TTL: ownTTL}
	return []contestant.Contestant{
		{Name: box, New: func(cfg contestant.Config) contestant.Hub {
			b, err := newBroker(engine, at, history)
			if err != nil {
				panic(err) // the options are ours
			}
			return contestant.NewBox(cfg, wschannels.Options{Broker: b}, &wschannels.SendOptions{SaveHistory: saved})
		}},
		{Name: centrifuge, Dialect: contestant.Centrifuge, New: func(cfg contestant.Config) contestant.Hub {
			on := contestant.CentrifugeOnRedis{Address: at}
			if saved {
				on.History, on.TTL = history.Len, history.TTL
			}
			return contestant.NewCentrifuge(cfg, on)
		}},
	}
}

// A route is a node that sends, a node that delivers, and a client of the latter.
type route struct {
	engine           engine
	from, to, client *child.Process
	addresses        server.Addresses
	dialect          contestant.Dialect
}

func (r *runner) latency(on, link, profile string, saved bool) (o outcome, err error) {
	w, err := startRoute(on, link, saved)
	if err != nil {
		return o, err
	}
	defer w.stop()
	job := server.Publish{
		Duration: r.quickly(time.Second, 50*time.Millisecond), Rate: 200, Step: 1, Groups: 1, Size: len(payload), Patience: patience,
	}
	err = w.client.Call(time.Minute, "connect", client.Connect{
		Addresses: w.addresses, Dialect: w.dialect, Timeout: 20 * time.Second, Members: 1, Groups: 1, Step: 1,
	}, nil)
	if err != nil {
		return o, err
	}
	var members int
	if err := w.to.Call(time.Minute, "wait", server.Wait{Members: 1, Timeout: 20 * time.Second}, &members); err != nil {
		return o, err
	}
	if members != 1 {
		return o, fmt.Errorf("there are %d members", members)
	}
	var warm, done server.Published
	if err := w.from.Call(time.Minute, "publish", job, &warm); err != nil {
		return o, err
	}
	job.Duration = r.quickly(5*time.Second, 200*time.Millisecond)
	if err := w.client.Call(time.Minute, "mark", none{}, nil); err != nil {
		return o, err
	}
	f := fleet{engine: w.engine, nodes: []*child.Process{w.from, w.to}, bound: time.Minute}
	used, err := f.measure(profile, func() error { return w.from.Call(time.Minute, "publish", job, &done) })
	if err != nil {
		return o, err
	}
	var got client.Report
	if err := w.client.Call(time.Minute, "report", client.Ask{Published: warm.Messages + done.Messages}, &got); err != nil {
		return o, err
	}
	if bad := got.Surplus + got.Wrong + int64(got.Lost); bad > 0 {
		o.notes = append(o.notes, fmt.Sprintf("%d too many, %d wrong, %d connections lost", got.Surplus, got.Wrong, got.Lost))
	}
	n := float64(max(done.Messages, 1))
	o.values = map[string]float64{
		"p50": micros(got.P50) / 1000, "p99": micros(got.P99) / 1000, "max": micros(got.Max) / 1000,
		"cpu":     micros(used.nodes+used.engine.CPU) / n,
		"missing": float64(got.Missing),
	}
	return o, nil
}

func startRoute(on, link string, saved bool) (*route, error) {
	w := new(route)
	var err error
	if w.engine, err = startEngine(on); err != nil {
		return nil, err
	}
	at := w.engine.url()
	for _, c := range contestants() {
		if c.Name == link {
			w.dialect = c.Dialect
		}
	}
	if link == centrifuge {
		u, err := url.Parse(at)
		if err != nil {
			return nil, err
		}
		at = u.Host
	}
	env := []string{engineVariable + "=" + on, urlVariable + "=" + at}
	if saved {
		env = append(env, savedVariable+"=1")
	}
	var errs [5]error
	var from, to server.Addresses
	w.from, errs[0] = child.Start("server", env...)
	w.to, errs[1] = child.Start("server", env...)
	w.client, errs[2] = child.Start("client")
	if err = errors.Join(errs[:]...); err == nil {
		start := server.Start{Contestant: link, Config: contestant.Config{Window: 1, MaxMessage: len(payload)}}
		errs[3] = w.from.Call(time.Minute, "start", start, &from)
		errs[4] = w.to.Call(time.Minute, "start", start, &to)
		err = errors.Join(errs[:]...)
	}
	if err != nil {
		w.stop()
		return nil, err
	}
	w.addresses = server.Addresses{Hub: to.Hub, Progress: from.Progress}
	return w, nil
}

func (w *route) stop() {
	for _, p := range []*child.Process{w.client, w.to, w.from} {
		if p != nil {
			p.Stop()
		}
	}
	w.engine.stop()
}
