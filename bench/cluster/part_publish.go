package main

import (
	"fmt"
	"time"

	"github.com/wschannels/wschannels/bench/report"
)

// What the nodes do in a publishing case.
type traffic struct {
	groups, goroutines int
	save               bool
}

// publishing is how many messages three nodes can publish to groups that all are in.
func publishing(engine string) part {
	floors := map[bool][]string{false: {bare}, true: {bare}}
	if engine == onNATS {
		floors = map[bool][]string{false: {bare, streamed}, true: {streamed}}
	}
	p := part{
		key: "publish", title: "Publishing",
		text: "Three nodes publish 128 bytes from so many goroutines each, in turn to so many groups that all three are in, " +
			"for 2 seconds; each publish is waited for. With history, each group keeps the last 1,000 messages.",
		metrics: []metric{
			{Metric: report.Metric{Key: "rate", Title: "publishes", Unit: "1/s", More: true}, ratio: true},
			{Metric: report.Metric{Key: "deliveries", Title: "deliveries", Unit: "1/s", More: true}},
			{Metric: report.Metric{Key: "cpu", Title: "CPU of nodes and engine a publish", Unit: "µs"}, ratio: true},
			{Metric: report.Metric{Key: "node_cpu", Title: "nodes", Unit: "µs"}},
			{Metric: report.Metric{Key: "engine_cpu", Title: "engine", Unit: "µs"}},
			{Metric: report.Metric{Key: "missing", Title: "missing"}},
		},
		targets: []target{
			{"publishes without history, × the client", "rate", 0.7, true, false},
			{"publishes with history, × the client", "rate", 0.5, true, true},
		},
	}
	for _, t := range []traffic{{1, 1, false}, {1, 64, false}, {100, 1, false}, {100, 64, false},
		{1, 1, true}, {1, 64, true}, {100, 1, true}, {100, 64, true}} {
		c := testCase{
			name:   fmt.Sprintf("%s, %s", count(t.groups, "group"), count(t.goroutines, "goroutine")),
			floors: floors[t.save], links: append(floors[t.save][:len(floors[t.save]):len(floors[t.save])], broker, box),
			saved: t.save,
			run:   func(r *runner, link, profile string) (outcome, error) { return r.publish(engine, link, profile, t) },
		}
		if t.save {
			c.name += ", history"
		}
		p.cases = append(p.cases, c)
	}
	return p
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (r *runner) publish(engine, link, profile string, t traffic) (o outcome, err error) {
	f, err := startFleet(engine, 3, nodeStart{linkStart{Link: link, Members: t.groups, MaxGroups: 1}, t.groups})
	if err != nil {
		return o, err
	}
	defer f.stop()
	if _, err := askAll[time.Duration](f, "join", join{Goroutines: 8}); err != nil {
		return o, err
	}
	job := publish{Goroutines: t.goroutines, Duration: r.quickly(500*time.Millisecond, 50*time.Millisecond), Save: t.save}
	warm, err := f.publish(job, 0)
	if err != nil {
		return o, err
	}
	job.Duration = r.quickly(2*time.Second, 150*time.Millisecond)
	var done sent
	used, err := f.measure(profile, func() (err error) {
		done, err = f.publish(job, warm.messages)
		return err
	})
	if err != nil {
		return o, err
	}
	n := float64(max(done.messages, 1))
	o.values = map[string]float64{
		"rate":       n / done.published.Seconds(),
		"deliveries": float64(done.delivered) / done.arrived.Seconds(),
		"cpu":        micros(used.nodes+used.engine.CPU) / n,
		"node_cpu":   micros(used.nodes) / n,
		"engine_cpu": micros(used.engine.CPU) / n,
		"missing":    float64(done.missing),
	}
	if failed := done.failed + warm.failed; failed > 0 {
		o.notes = append(o.notes, fmt.Sprintf("%d publishes failed: %s%s", failed, warm.why, done.why))
	}
	if done.extra > 0 {
		o.notes = append(o.notes, fmt.Sprintf("%d deliveries too many", done.extra))
	}
	if done.extra+done.missing > 0 {
		more, err := f.complaints()
		o.notes = append(o.notes, more...)
		return o, err
	}
	return o, nil
}

// sent is what became of what all nodes published.
type sent struct {
	messages, failed   int64
	why                string
	delivered          int64
	missing, extra     int64         // since the start
	published, arrived time.Duration // from the first publish to the end of the last one, and to the last delivery
}

// publish lets all nodes publish, and waits until all have everything. before is how many
// messages had been published before.
func (f *fleet) publish(job publish, before int64) (s sent, err error) {
	all, err := askAll[published](f, "publish", job)
	if err != nil {
		return s, err
	}
	began, ended := all[0].Began, all[0].Ended
	for _, p := range all {
		s.messages += p.Messages
		if s.failed += p.Failed; p.Why != "" {
			s.why = p.Why
		}
		if p.Began.Before(began) {
			began = p.Began
		}
		if p.Ended.After(ended) {
			ended = p.Ended
		}
	}
	got, err := askAll[awaited](f, "await", await{Messages: before + s.messages, Patience: patience})
	s.published = ended.Sub(began)
	for _, g := range got {
		s.delivered += g.Messages - before
		s.missing += max(0, before+s.messages-g.Messages)
		s.extra += max(0, g.Messages-before-s.messages)
		s.arrived = max(s.arrived, g.At.Sub(began))
	}
	return s, err
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }
