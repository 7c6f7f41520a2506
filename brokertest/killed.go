package brokertest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// An attempt is a call of Publish.
type attempt struct {
	p     *wschannels.Publication
	err   error
	stage int32 // in which it began
}

// A burst is publishers that go on whatever happens.
type burst struct {
	stage atomic.Int32
	end   chan struct{}
	busy  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	attempts [][]attempt
}

// startBurst has each of nodes publish saved messages to group.
func startBurst(t *testing.T, nodes []wschannels.Broker, group string) *burst {
	bu := &burst{end: make(chan struct{}), attempts: make([][]attempt, len(nodes))}
	for k, b := range nodes {
		bu.busy.Go(func() {
			pause := time.NewTicker(time.Millisecond) // the history is to hold all
			defer pause.Stop()
			for i := 0; ; i++ {
				a := attempt{p: saved(group, fmt.Sprint(k, " ", i)), stage: bu.stage.Load()}
				a.err = b.Publish(lasting(t, 2*time.Second), a.p)
				bu.mu.Lock()
				bu.attempts[k] = append(bu.attempts[k], a)
				bu.mu.Unlock()
				select {
				case <-pause.C:
				case <-bu.end:
					return
				}
			}
		})
	}
	var once sync.Once
	t.Cleanup(func() { once.Do(bu.finish) })
	return bu
}

// finish ends the publishers.
func (bu *burst) finish() {
	select {
	case <-bu.end:
	default:
		close(bu.end)
	}
	bu.busy.Wait()
}

// enter begins the next stage, and waits until in it each publisher has had n calls that
// worked, or, if failed, failed.
func (bu *burst) enter(t *testing.T, n int, failed bool) {
	t.Helper()
	stage := bu.stage.Add(1)
	bu.more(t, stage, n, failed)
}

func (bu *burst) more(t *testing.T, stage int32, n int, failed bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d calls of each publisher, failed = %v", n, failed), func() bool {
		bu.mu.Lock()
		defer bu.mu.Unlock()
		for _, as := range bu.attempts {
			had := 0
			for _, a := range as {
				if a.stage >= stage && (a.err != nil) == failed {
					had++
				}
			}
			if had < n {
				return false
			}
		}
		return true
	})
}

// all returns the attempts of all publishers.
func (bu *burst) all() (all []attempt) {
	bu.mu.Lock()
	defer bu.mu.Unlock()
	for _, as := range bu.attempts {
		all = append(all, as...)
	}
	return all
}

func testKilledWhilePublishing(t *testing.T, s *suite) {
	need(t, "Stop", s.f.Stop != nil)
	nodes := s.nodes(t, 3)
	rs := recordAll(t, nodes, "g")
	bu := startBurst(t, nodes, "g")
	for round := range 2 {
		bu.enter(t, 60, false)
		start := s.stop(t, nodes[0])
		if round > 0 { // at first it is away so shortly that a call could be tried again
			bu.enter(t, 1, true)
		}
		awaitBack(t, start(), comeback, rs, round, "g")
	}
	bu.enter(t, 60, false)
	steady := bu.stage.Load()
	bu.finish()
	last := publish(t, nodes[0], saved("g", "last"))
	for _, r := range rs {
		r.awaitID(t, last)
	}
	settle(t, nodes...)
	s.checkBurst(t, nodes, rs, bu.all(), steady)
}

// checkBurst checks what became of the attempts of a burst; those from the stage steady on were
// made while all was well.
func (s *suite) checkBurst(t *testing.T, nodes []wschannels.Broker, rs []*recorder, all []attempt, steady int32) {
	seen := make(map[uuid.UUID]wschannels.Position)
	see := func(what string, p wschannels.Publication) {
		at := wschannels.Position{Epoch: p.Epoch, Seq: p.Seq}
		if other, ok := seen[p.ID]; ok && other != at {
			t.Errorf("%s: message %q is at %+v and at %+v: it was published twice", what, p.Text(), other, at)
		}
		seen[p.ID] = at
	}
	for i, r := range rs {
		what := fmt.Sprint("node ", i)
		rising(t, what, r.of("g"))
		for _, p := range r.of("g") {
			see(what, p)
		}
	}
	var history []wschannels.Publication
	if s.f.Lacks&History == 0 {
		history = publications(page(t, nodes[1], "g", nil))
		inOrder(t, "the history", history)
		for _, p := range history {
			see("the history", p)
		}
	}
	counts := make(map[string]int)
	for _, a := range all {
		at, there := seen[a.p.ID]
		switch want := (wschannels.Position{Epoch: a.p.Epoch, Seq: a.p.Seq}); {
		case a.err == nil && there && at != want:
			t.Errorf("message %q is at %+v, and Publish said %+v", a.p.Text(), at, want)
		case a.err == nil && !there && s.f.KeepsData && s.f.Lacks&History == 0:
			t.Errorf("message %q is lost, and Publish said %+v", a.p.Text(), want)
		case a.err == nil:
			counts["published"]++
		case errors.Is(a.err, wschannels.ErrUnknownOutcome):
			counts["unknown"]++
		case !errors.Is(a.err, wschannels.ErrUnavailable):
			t.Errorf("Publish: %v, want ErrUnavailable or ErrUnknownOutcome", a.err)
		case there:
			t.Errorf("message %q is at %+v, and Publish said that it was not published: %v", a.p.Text(), at, a.err)
		default:
			counts["not published"]++
		}
		for i, r := range rs {
			if a.err == nil && a.stage >= steady && !r.has("g", a.p.ID) {
				t.Errorf("message %q did not come to node %d after all was well again", a.p.Text(), i)
			}
		}
	}
	t.Logf("%v; the history has %d", counts, len(history))
}
