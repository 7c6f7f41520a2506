package redisbroker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

func open(t testing.TB, url string, opts *redisbroker.Options) *redisbroker.Broker {
	t.Helper()
	b, err := redisbroker.Open(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBroker(t, b) })
	return b
}

func closeBroker(t testing.TB, b *redisbroker.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), redistest.Patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// fast probes often.
var fast = redisbroker.Options{ProbeInterval: 200 * time.Millisecond}

// durable is fast on an engine that keeps what it has confirmed.
var durable = redisbroker.Options{ProbeInterval: 200 * time.Millisecond, Durable: true}

// An event is what a recorder was told.
type event struct {
	what string // "seq", "interrupted", "failed", "appear"
	seq  uint64
	err  error
}

// A recorder is a Subscriber that remembers.
type recorder struct {
	mu     sync.Mutex
	events map[string][]event // by group; "" for Failed
	pubs   []*wschannels.Publication
	people []wschannels.PresenceEntry
}

func (r *recorder) add(group string, e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events == nil {
		r.events = make(map[string][]event)
	}
	r.events[group] = append(r.events[group], e)
}

func (r *recorder) Deliver(p *wschannels.Publication) {
	r.add(p.Group, event{what: "seq", seq: p.Seq})
	r.mu.Lock()
	defer r.mu.Unlock()
	c := *p
	r.pubs = append(r.pubs, &c)
}

func (r *recorder) Appear(group string, e wschannels.PresenceEntry) {
	r.add(group, event{what: "appear"})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.people = append(r.people, e)
}
func (r *recorder) Interrupted(group string) { r.add(group, event{what: "interrupted"}) }
func (r *recorder) Failed(err error)         { r.add("", event{what: "failed", err: err}) }

func (r *recorder) seqs(group string) (seqs []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events[group] {
		if e.what == "seq" {
			seqs = append(seqs, e.seq)
		}
	}
	return seqs
}

func (r *recorder) count(group, what string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events[group] {
		if e.what == what {
			n++
		}
	}
	return n
}

func (r *recorder) last() *wschannels.Publication {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pubs[len(r.pubs)-1]
}

// upTo returns 1, 2, …, n.
func upTo(n uint64) []uint64 {
	s := make([]uint64, n)
	for i := range s {
		s[i] = uint64(i) + 1
	}
	return s
}

// until waits for cond.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(redistest.Patience); !cond(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, redistest.Patience)
		}
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func message(group, data string) *wschannels.Publication {
	return &wschannels.Publication{
		Message: wschannels.Message{ID: uuid.New(), Group: group, Created: time.Now(), Type: wschannels.Text, Data: []byte(data)},
	}
}

func saved(group, data string) *wschannels.Publication {
	p := message(group, data)
	p.Save = true
	return p
}

func publish(t testing.TB, b *redisbroker.Broker, p *wschannels.Publication) *wschannels.Publication {
	t.Helper()
	if err := b.Publish(within(t, redistest.Patience), p); err != nil {
		t.Fatalf("Publish: %v", err)
	}
	return p
}

func subscribe(t testing.TB, b *redisbroker.Broker, s wschannels.Subscriber, groups ...string) {
	t.Helper()
	for _, group := range groups {
		if err := b.Subscribe(within(t, redistest.Patience), group, s); err != nil {
			t.Fatalf("Subscribe to %q: %v", group, err)
		}
	}
}

func history(t testing.TB, b *redisbroker.Broker, group string, opts *wschannels.HistoryOptions) wschannels.HistoryPage {
	t.Helper()
	page, err := b.History(within(t, redistest.Patience), group, opts)
	if err != nil {
		t.Fatalf("History: %v", err)
	}
	return page
}

func texts(page wschannels.HistoryPage) []string {
	var s []string
	for _, m := range page.Messages {
		s = append(s, fmt.Sprintf("%d:%s", m.Seq, m.Text()))
	}
	return s
}

func wantTexts(t testing.TB, page wschannels.HistoryPage, want ...string) {
	t.Helper()
	if got := texts(page); !slices.Equal(got, want) {
		t.Errorf("history = %q, want %q", got, want)
	}
}

func is(err, target error) bool { return errors.Is(err, target) }

func lines(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(s) {
			if !yield(strings.TrimSpace(line)) {
				return
			}
		}
	}
}

func wantErr(t testing.TB, err error, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error = %v, want one that matches %v", err, target)
	}
}
