package natsbroker_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
)

func TestWhatANodeThatHangsWasOfferedIsPublishedOnce(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix(), RequestTimeout: 2 * time.Second, ProbeInterval: time.Hour}
	p := newProxy(t, e.addr)
	slow, fast := open(t, p.url(), opts), open(t, e.url(), opts)
	awaitUp(t, slow)
	awaitUp(t, fast)
	publish(t, slow, message("x", true)) // the last batch is this node's
	if _, err := fast.Position(context.Background(), "room"); err != nil {
		t.Fatal(err)
	}
	natsbroker.Outrun(fast, "room")
	p.mute() // slow is told nothing for now: neither of the offer nor of what follows
	began := time.Now()
	last := message("offered", true)
	publish(t, fast, last)
	if took := time.Since(began); took < opts.RequestTimeout/4 {
		t.Errorf("published after %v: nothing was offered", took)
	}
	p.unmute()
	publish(t, slow, message("x", true))
	publish(t, fast, message("x", true))
	const want = 4
	page, err := fast.History(context.Background(), "room", nil)
	if err != nil || len(page.Messages) != want || page.Position.Seq != want || last.Seq != want-2 {
		t.Errorf("%d messages up to place %d, the one offered at %d, %v, want %d", len(page.Messages), page.Position.Seq, last.Seq, err, want)
	}
	for i, m := range page.Messages {
		if m.Seq != uint64(i+1) || (m.ID == last.ID) != (m.Seq == last.Seq) {
			t.Errorf("message %d has place %d, and is %v", i, m.Seq, m.ID)
		}
	}
}

func TestWhatIsOfferedKeepsNobodyElseWaiting(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix(), RequestTimeout: 2 * time.Minute, ProbeInterval: time.Hour}
	p := newProxy(t, e.addr)
	slow := open(t, p.url(), opts)
	nc := connect(t, e.url())
	fast, err := natsbroker.New(nc, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBroker(t, fast) })
	awaitUp(t, slow)
	awaitUp(t, fast)
	const groups = 16 // more than may be on their way at first
	to := func(group int) *wschannels.Publication {
		m := message("x", true)
		m.Group = fmt.Sprint(group)
		return m
	}
	for i := range groups {
		publish(t, slow, to(i))
		if _, err := fast.Position(context.Background(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		natsbroker.Outrun(fast, fmt.Sprint(i))
	}
	p.mute() // slow does not get what it is offered
	before := nc.Stats().OutMsgs
	var ended atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	defer p.unmute()
	for i := range groups {
		wg.Go(func() {
			if err := fast.Publish(context.Background(), to(i)); err != nil {
				t.Errorf("Publish: %v", err)
			}
			ended.Add(1)
		})
	}
	eventually(t, "all are offered", func() error {
		if n := nc.Stats().OutMsgs - before; n < groups {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	publish(t, fast, to(groups))
	if n := ended.Load(); n > 0 {
		t.Errorf("%d publishes ended, though nobody has answered", n)
	}
}

func TestWhatIsOfferedGetsThePlaceThatSubscribersSee(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	var brokers []*natsbroker.Broker
	for range 3 {
		b := open(t, e.url(), opts)
		awaitUp(t, b)
		brokers = append(brokers, b)
	}
	got := &places{ids: make(map[uint64]string)}
	if err := brokers[0].Subscribe(context.Background(), "room", got); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards given
	given := make(map[uint64]string)
	var wg sync.WaitGroup
	for _, b := range brokers {
		for i := range 8 {
			wg.Go(func() {
				for range 50 {
					p := message("x", i%2 == 0)
					if err := b.Publish(context.Background(), p); err != nil {
						t.Errorf("Publish: %v", err)
						return
					}
					mu.Lock()
					given[p.Seq] = p.ID.String() + p.Epoch
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	eventually(t, "all are delivered", func() error {
		got.mu.Lock()
		defer got.mu.Unlock()
		if len(got.ids) != 3*8*50 {
			return fmt.Errorf("%d are", len(got.ids))
		}
		return nil
	})
	for seq, id := range got.ids {
		if given[seq] != id {
			t.Errorf("at place %d is %s, and Publish said %s", seq, id, given[seq])
		}
	}
}

// places is a subscriber that notes what is where.
type places struct {
	counter
	mu  sync.Mutex // guards ids
	ids map[uint64]string
}

func (s *places) Deliver(p *wschannels.Publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[p.Seq] = p.ID.String() + p.Epoch
}
