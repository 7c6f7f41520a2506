package main

import (
	"fmt"
	"time"

	"github.com/wschannels/wschannels/bench/report"
)

// joining is what it costs a node to be in many groups.
func joining(r *runner, engine string) part {
	groups := r.sizes(100, 10_000)[0]
	p := part{
		key: "join", title: "Joining " + report.Number(float64(groups)) + " groups",
		text: "A node joins them, with one channel, by 1,000 goroutines or by one. Or the engine is killed and started anew, on Redis with " +
			"nothing left: the time is that from when it answers to when the broker has told the box (or the Subscriber) of each group that it is " +
			"subscribed again, and caught up is when the node has nothing more to ask. Then a message is published to each group, and has to arrive.",
		metrics: []metric{
			{Metric: report.Metric{Key: "took", Title: "time", Unit: "s"}, ratio: true},
			{Metric: report.Metric{Key: "calm", Title: "caught up", Unit: "s"}},
			{Metric: report.Metric{Key: "node_cpu", Title: "CPU of the node", Unit: "s"}},
			{Metric: report.Metric{Key: "engine_cpu", Title: "CPU of the engine", Unit: "s"}},
		},
	}
	if engine == onRedis {
		p.metrics = append(p.metrics,
			metric{Metric: report.Metric{Key: "commands", Title: "commands, those in scripts included"}},
			metric{Metric: report.Metric{Key: "reads", Title: "reads by the engine"}})
	} else {
		p.metrics = append(p.metrics, metric{Metric: report.Metric{Key: "commands", Title: "messages to the engine"}})
	}
	p.metrics = append(p.metrics, metric{Metric: report.Metric{Key: "missing", Title: "missing"}})
	for _, goroutines := range []int{1000, 1} {
		p.cases = append(p.cases, testCase{
			name: "joined by " + count(goroutines, "goroutine"), links: []string{bare, broker, box}, floors: []string{bare},
			run: func(r *runner, link, profile string) (outcome, error) {
				return r.join(engine, link, profile, groups, goroutines)
			},
		})
	}
	p.cases = append(p.cases, testCase{
		name: "subscribed again", links: []string{broker, box},
		run: func(r *runner, link, profile string) (outcome, error) { return r.rejoin(engine, link, profile, groups) },
	})
	return p
}

func (r *runner) join(engine, link, profile string, groups, goroutines int) (o outcome, err error) {
	f, err := startFleet(engine, 1, nodeStart{linkStart{Link: link, Members: 1, MaxGroups: groups}, groups})
	if err != nil {
		return o, err
	}
	defer f.stop()
	var took time.Duration
	used, err := f.measure(profile, func() error {
		return f.ask(f.nodes[0], "join", join{Goroutines: goroutines}, &took)
	})
	if err != nil {
		return o, err
	}
	return f.joined(took, used)
}

// rejoin has the engine killed.
func (r *runner) rejoin(engine, link, profile string, groups int) (o outcome, err error) {
	f, err := startFleet(engine, 1, nodeStart{linkStart{Link: link, Members: 1, MaxGroups: groups}, groups})
	if err != nil {
		return o, err
	}
	defer f.stop()
	if err := f.ask(f.nodes[0], "join", join{Goroutines: 64}, nil); err != nil {
		return o, err
	}
	if err := f.engine.restart(); err != nil {
		return o, err
	}
	back := time.Now()
	var got awaited
	var calm time.Time
	used, err := f.measure(profile, func() error {
		err := f.ask(f.nodes[0], "await", await{Interrupted: int64(groups), Patience: 30 * time.Second}, &got)
		if err != nil {
			return err
		}
		calm, err = f.calm()
		return err
	})
	if err != nil {
		return o, err
	}
	if got.Interrupted != int64(groups) {
		return o, fmt.Errorf("%d of %d groups are subscribed again", got.Interrupted, groups)
	}
	if o, err = f.joined(got.At.Sub(back), used); err == nil {
		o.values["calm"] = calm.Sub(back).Seconds()
	}
	return o, err
}

// calm waits until nearly nothing is asked of the engine, and returns since when.
func (f *fleet) calm() (since time.Time, err error) {
	const step, probes = 20 * time.Millisecond, 20
	since = time.Now()
	last, err := f.engine.figures()
	for err == nil && time.Since(since) < 10*step {
		time.Sleep(step)
		now, bad := f.engine.figures()
		if now.Commands-last.Commands > probes {
			since = time.Now()
		}
		last, err = now, bad
	}
	return since, err
}

// joined publishes a message to each group, which has to arrive.
func (f *fleet) joined(took time.Duration, used costs) (o outcome, err error) {
	var done published
	if err := f.ask(f.nodes[0], "publish", publish{Goroutines: 64}, &done); err != nil {
		return o, err
	}
	if done.Failed > 0 {
		o.notes = append(o.notes, fmt.Sprintf("%d publishes failed: %s", done.Failed, done.Why))
	}
	var got awaited
	if err := f.ask(f.nodes[0], "await", await{Messages: done.Messages, Patience: patience}, &got); err != nil {
		return o, err
	}
	o.values = map[string]float64{
		"took":       max(0, took.Seconds()),
		"node_cpu":   used.nodes.Seconds(),
		"engine_cpu": used.engine.CPU.Seconds(),
		"commands":   float64(used.engine.Commands),
		"reads":      float64(used.engine.Reads),
		"missing":    float64(done.Messages - got.Messages),
	}
	if done.Messages != got.Messages {
		more, err := f.complaints()
		o.notes = append(o.notes, more...)
		return o, err
	}
	return o, nil
}
