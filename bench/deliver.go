package main

import (
	"fmt"
	"time"

	"github.com/wschannels/wschannels/bench/client"
	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/server"
	"github.com/wschannels/wschannels/bench/usage"
)

// A load is what a server has to deliver to whom.
type load struct {
	Members, Groups, Slow int
	Size                  int
	Rate                  int // messages a second; 0: as fast as Window allows
	Window                int
	Compress              bool
	Limit                 bool
	Warmup, Measured      time.Duration
	SampleEvery           int
}

// steps is how many reports of progress there are in a window.
const steps = 8

// delivered is what was measured.
type delivered struct {
	server.Published
	usage.Usage
	server.Counts
	client.Report
	Fates      client.Slow
	compressed bool // it should have been
}

// deliver lets c deliver a load.
func (r *runner) deliver(c contestant.Contestant, l load, profile string) (d delivered, err error) {
	d.compressed = l.Compress
	p, err := startPair(c, contestant.Config{
		Window: l.Window, MaxMessage: l.Size, Compress: l.Compress, Limit: l.Limit,
	}, r.bound)
	if err != nil {
		return d, err
	}
	defer p.stop()
	job := server.Publish{
		Duration: l.Warmup, Rate: l.Rate, Window: l.Window, Step: max(1, l.Window/steps),
		Groups: l.Groups, Size: l.Size, Document: l.Compress, Patience: r.patience,
	}
	if l.Rate > 0 {
		job.Window, job.Step = 0, 1
	}
	document := 0
	if job.Document {
		document = l.Size
	}
	if err := p.connect("connect", client.Connect{
		Addresses: p.Addresses, Dialect: c.Dialect, Compress: l.Compress, Timeout: r.bound / 2,
		Members: l.Members, Slow: l.Slow, Groups: l.Groups, Step: job.Step, SampleEvery: l.SampleEvery, Document: document,
	}, nil); err != nil {
		return d, err
	}
	if err := p.expectMembers(l.Members + l.Slow); err != nil {
		return d, err
	}
	var warm server.Published
	if err := p.serve("publish", job, &warm); err != nil {
		return d, err
	}
	if err := p.connect("mark", none{}, nil); err != nil {
		return d, err
	}
	if err := p.serve("begin", usage.Begin{Profile: profile}, nil); err != nil {
		return d, err
	}
	job.Duration = l.Measured
	if !warm.Stalled || l.Rate > 0 {
		if err := p.serve("publish", job, &d.Published); err != nil {
			return d, err
		}
	}
	if err := p.serve("end", none{}, &d.Usage); err != nil {
		return d, err
	}
	if err := p.connect("report", client.Ask{Published: warm.Messages + d.Messages}, &d.Report); err != nil {
		return d, err
	}
	if l.Slow > 0 {
		if err := p.connect("slow", client.Fates{Quiet: r.quiet}, &d.Fates); err != nil {
			return d, err
		}
	}
	if err := p.serve("counts", none{}, &d.Counts); err != nil {
		return d, err
	}
	if l.Rate == 0 && (warm.Stalled || d.Stalled) {
		return d, fmt.Errorf("stalled: %d deliveries missing, %d connections lost", d.Missing, d.Lost)
	}
	return d, nil
}

// expectMembers waits until the server knows as many members as the client does.
func (p *pair) expectMembers(want int) error {
	var got int
	if err := p.serve("wait", server.Wait{Members: want, Timeout: p.bound / 2}, &got); err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the server has %d members instead of %d", got, want)
	}
	return nil
}

// values are the figures of a delivery.
func (d *delivered) values() map[string]float64 {
	n := float64(max(d.Deliveries, 1))
	return map[string]float64{
		"rate":       float64(d.Deliveries) / d.Took.Seconds(),
		"cpu":        micros(d.Usage.CPU) / n,
		"client_cpu": micros(d.Report.CPU) / n,
		"allocs":     float64(d.Allocs) / n,
		"p50":        micros(d.P50) / 1000,
		"p99":        micros(d.P99) / 1000,
		"max":        micros(d.Max) / 1000,
		"bytes":      float64(d.Bytes) / n,
		"missing":    float64(d.Missing),
	}
}

// notes is what should not be, in words.
func (d *delivered) notes() (all []string) {
	note := func(n int64, text string) {
		if n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, text))
		}
	}
	note(d.Surplus, "deliveries too many")
	note(d.Wrong, "messages out of order or changed, at the members that are looked at")
	if d.compressed {
		note(d.Uncompressed, "messages were not compressed")
	}
	if d.Lost > 0 {
		note(int64(d.Lost), "connections lost: "+d.LostWhy)
	}
	return all
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }
