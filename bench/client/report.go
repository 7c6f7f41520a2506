package client

import (
	"time"

	"github.com/wschannels/wschannels/bench/hist"
	"github.com/wschannels/wschannels/bench/usage"
)

// Ask says what a report needs to know.
type Ask struct {
	Published int64 // messages to each group, since the start
}

// A Report is what the members that read got. What is not said to be since the start is
// since the mark.
type Report struct {
	Deliveries int64
	Bytes      int64 // on the wire
	CPU        time.Duration
	Samples    int64
	P50, P99   time.Duration
	Max        time.Duration

	// Since the start:
	Missing, Surplus int64 // messages that should have come, and that should not
	Wrong            int64 // at sampled members: out of order, or not what was sent
	Lost             int   // members whose connection ended
	LostWhy          string
	Uncompressed     int64 // messages on the wire
}

func (m *member) mark() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marked, m.markedB = m.received, m.bytes
	if m.sampled != nil {
		m.sampled.latency = hist.Histogram{}
	}
}

func (p *process) report(ask Ask) (r Report, err error) {
	r.CPU = usage.CPU() - p.cpu
	var all hist.Histogram
	for _, m := range p.members {
		m.addTo(&r, &all, ask.Published)
	}
	r.Samples, r.P50, r.P99, r.Max = all.Len(), all.Quantile(0.5), all.Quantile(0.99), all.Max()
	return r, nil
}

func (m *member) addTo(r *Report, all *hist.Histogram, published int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.Deliveries += m.received - m.marked
	r.Bytes += m.bytes - m.markedB
	r.Missing += max(0, published-m.received)
	r.Surplus += max(0, m.received-published)
	r.Uncompressed += m.scan.Plain
	if m.end != nil {
		r.Lost++
		r.LostWhy = m.end.Error()
	}
	if m.sampled != nil {
		r.Wrong += m.sampled.wrong
		all.Merge(&m.sampled.latency)
	}
}
