package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/wschannels/wschannels/bench/child"
	"github.com/wschannels/wschannels/bench/server"
	"github.com/wschannels/wschannels/bench/usage"
)

type none = struct{}

// nodeStart says what a node is.
type nodeStart struct {
	linkStart
	Groups int // how many there are
}

// Join says how to join all groups.
type join struct {
	Goroutines int
}

// publish says what to publish.
type publish struct {
	Goroutines int
	Duration   time.Duration // 0: one message to each group
	Save       bool
}

// published is what became of it.
type published struct {
	Messages     int64 // without those that failed
	Failed       int64
	Why          string // of the last one
	Began, Ended time.Time
}

// await says for what to wait. It ends early when nothing comes for as long as Patience.
type await struct {
	Messages    int64 // since the start
	Interrupted int64
	Patience    time.Duration
}

// awaited is what there was, and when.
type awaited struct {
	Messages, Interrupted int64
	At                    time.Time
}

// A node is a process that publishes to groups, and is in them.
type node struct {
	link   link
	got    seen
	groups []string
	marks  usage.Marks
}

// serveNode is the process.
func serveNode() {
	n := new(node)
	child.Serve(map[string]child.Handler{
		"start":   child.Func(n.start),
		"warm":    child.Func(n.warm),
		"join":    child.Func(n.join),
		"publish": child.Func(n.publish),
		"await":   child.Func(n.await),
		"begin":   child.Func(n.marks.Begin),
		"end":     child.Func(n.marks.End),
		"heap":    child.Func(func(none) (int64, error) { return usage.SettledMemory().Heap, nil }),
		"errors":  child.Func(func(none) ([]string, error) { return n.got.failures(), nil }),
	})
}

func (n *node) start(s nodeStart) (_ none, err error) {
	for i := range s.Groups {
		n.groups = append(n.groups, server.GroupName(i))
	}
	n.link, err = openLink(s.linkStart, &n.got)
	return none{}, err
}

// warm publishes some messages to a group that nobody is in, so that what a connection
// takes is there.
func (n *node) warm(none) (none, error) {
	return none{}, each(make([]string, 1000), 64, func(string) error { return n.link.publish("warm", false) })
}

// join joins all groups, and returns how long that took.
func (n *node) join(j join) (time.Duration, error) {
	began := time.Now()
	err := each(n.groups, j.Goroutines, n.link.join)
	return time.Since(began), err
}

// each calls f for each group, by so many goroutines, and returns an error of one of them.
func each(groups []string, goroutines int, f func(group string) error) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make(chan error, goroutines)
	for range goroutines {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(len(groups)); i = next.Add(1) {
				if err := f(groups[i-1]); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func (n *node) publish(p publish) (done published, err error) {
	var failed, sent atomic.Int64
	var why atomic.Value
	one := func(group string) error {
		if err := n.link.publish(group, p.Save); err != nil {
			failed.Add(1)
			why.Store(err.Error())
		} else {
			sent.Add(1)
		}
		return nil
	}
	done.Began = time.Now()
	if p.Duration == 0 {
		_ = each(n.groups, p.Goroutines, one)
	} else {
		n.keepOn(p, one)
	}
	done.Ended = time.Now()
	done.Messages, done.Failed = sent.Load(), failed.Load()
	done.Why, _ = why.Load().(string)
	return done, nil
}

// keepOn calls one for groups in turn, from all goroutines, until the time has passed.
func (n *node) keepOn(p publish, one func(group string) error) {
	var over atomic.Bool
	defer time.AfterFunc(p.Duration, func() { over.Store(true) }).Stop()
	var wg sync.WaitGroup
	for i := range p.Goroutines {
		wg.Go(func() {
			for ; !over.Load(); i++ {
				_ = one(n.groups[i%len(n.groups)])
			}
		})
	}
	wg.Wait()
}

func (n *node) await(a await) (awaited, error) {
	var last awaited
	for changed := time.Now(); ; time.Sleep(time.Millisecond) {
		now := awaited{n.got.messages.Load(), n.got.interrupted.Load(), time.Now()}
		if now.Messages != last.Messages || now.Interrupted != last.Interrupted {
			changed = now.At
		}
		last = now
		if now.Messages >= a.Messages && now.Interrupted >= a.Interrupted || now.At.Sub(changed) > a.Patience {
			return now, nil
		}
	}
}
