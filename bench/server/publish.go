package server

import (
	"strconv"
	"time"

	"github.com/wschannels/wschannels/bench/wire"
)

// Publish says what to broadcast.
type Publish struct {
	Duration time.Duration
	Rate     int // messages a second to each group; 0: as many as Window allows
	Window   int // how many messages the slowest client may be behind; 0: any number
	Step     int // Published is a multiple of this, so that the client reports it
	Groups   int
	Size     int
	Document bool // JSON that can be compressed, but not to nothing

	// Patience is how long to wait for a client that does not go on.
	Patience time.Duration
}

// Published is what was broadcast.
type Published struct {
	Messages int64         // to each group
	Took     time.Duration // from the first message to the last client's last report
	Stalled  bool          // the slowest client did not go on
}

// publish broadcasts, and waits until all clients have everything.
func (p *process) publish(job Publish) (Published, error) {
	groups := make([]string, job.Groups)
	for i := range groups {
		groups[i] = GroupName(i)
	}
	first := p.sent
	start := time.Now()
	for {
		if done := p.sent - first; done > 0 && done%int64(job.Step) == 0 && time.Since(start) >= job.Duration {
			break
		}
		if job.Window > 0 && !p.reach(p.sent+1-int64(job.Window), job.Patience) {
			return Published{p.sent - first, time.Since(start), true}, nil
		}
		sent := time.Now()
		if job.Rate > 0 {
			due := start.Add(time.Duration(p.sent-first) * time.Second / time.Duration(job.Rate))
			if wait := due.Sub(sent); wait > 0 {
				time.Sleep(wait)
				sent = time.Now()
			} else {
				sent = due // what the message before made it wait counts
			}
		}
		p.sent++
		for _, g := range groups {
			p.hub.Broadcast(g, job.payload(sent.UnixNano(), p.sent))
			if len(groups) > 1 && job.Rate == 0 {
				sent = time.Now()
			}
		}
	}
	stalled := !p.reach(p.sent, job.Patience)
	return Published{p.sent - first, time.Since(start), stalled}, nil
}

// payload returns a payload of its own, as a hub may keep it.
func (job *Publish) payload(t, n int64) []byte {
	p := make([]byte, 0, job.Size)
	if job.Document {
		return wire.AppendDocument(p, job.Size, t, n)
	}
	return wire.AppendPayload(p, job.Size, t, n)
}

// reach waits until the slowest client has n messages. It returns false if there is no
// progress for as long as patience.
func (p *process) reach(n int64, patience time.Duration) bool {
	if p.progress.n.Load() >= n {
		return true
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case <-p.progress.moved:
			if p.progress.n.Load() >= n {
				return true
			}
			late.Reset(patience)
		case <-late.C:
			return false
		}
	}
}

// GroupName is what group i is called.
func GroupName(i int) string { return "group-" + strconv.Itoa(i) }
