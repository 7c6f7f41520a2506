package natsbroker

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
)

// run delivers until the broker is closed.
func (s *shard) run() { s.inlet.run(s.b.closing.Done(), s.deliver, s.tellInterrupted, s.countDropped) }

// end drops all subscriptions. Nothing of the broker runs any more.
func (s *shard) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.topics {
		t.mu.Lock()
		if t.sub != nil {
			_ = t.sub.Unsubscribe() // an error says that nc is closed
		}
		t.mu.Unlock()
	}
	s.topics = nil
}

// deliver hands on one message of NATS.
func (s *shard) deliver(m *nats.Msg) {
	s.mu.Lock()
	t := s.topics[strings.TrimPrefix(m.Subject, s.b.deliverySubject(""))]
	s.mu.Unlock()
	if t == nil {
		return // unsubscribed
	}
	if len(m.Data) > 0 && m.Data[0] == presenceVersion {
		s.appear(t, m)
		return
	}
	b, err := decodeBatch(m.Data)
	at, bad := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil || bad != nil {
		s.reject(t, errNotBatch)
		return
	}
	t.mu.Lock()
	if next := b.after(at, time.Now()); t.tail == nil || at > t.tail.at {
		t.learn(&next)
	}
	if t.epoch != b.before.epoch {
		t.epoch, t.seq = b.before.epoch, 0
	}
	from := t.seq // after a change of the stream's leader some come late, or again
	if n := len(b.items); n > 0 {
		t.seq = max(t.seq, b.first+uint64(n)-1)
	}
	subs := t.subs
	name := t.nameOf(b.before.epoch)
	t.mu.Unlock()
	for i, item := range b.items {
		seq := b.first + uint64(i)
		if seq <= from {
			continue
		}
		p := &wschannels.Publication{}
		if len(b.items) > 1 {
			item = slices.Clone(item) // or who keeps one message keeps the whole batch
		}
		if err := p.UnmarshalBinary(item); err != nil {
			s.reject(t, err)
			continue
		}
		p.Group, p.Seq, p.Epoch, p.Saved = t.group, seq, name, b.saved
		for _, sub := range subs {
			sub.s.Deliver(p)
		}
	}
}

// reject tells of something that no broker has sent, unless that happens all the time.
func (s *shard) reject(t *topic, err error) {
	if !s.b.garbage.allow() {
		return
	}
	t.mu.Lock()
	subs := t.subs
	t.mu.Unlock()
	for _, sub := range subs {
		sub.s.Failed(fmt.Errorf("natsbroker: dropped what came for group %q: %w", t.group, err))
	}
}

// reject is that for what is not of one group: all subscribers are told.
func (b *Broker) reject(what string, err error) {
	if b.garbage.allow() {
		b.fail(fmt.Errorf("natsbroker: dropped what came as %s: %w", what, err))
	}
}

// interrupt has the subscribers of t told, nil: all.
func (s *shard) interrupt(t *topic) {
	s.mu.Lock()
	if t == nil {
		s.all = true
	} else {
		s.interrupted[t] = true
	}
	s.mu.Unlock()
	s.stir()
}

func (s *shard) tellInterrupted() {
	s.mu.Lock()
	var told []*topic
	for t := range s.interrupted {
		told = append(told, t)
	}
	if s.all {
		told = told[:0]
		for _, t := range s.topics {
			told = append(told, t)
		}
	}
	clear(s.interrupted)
	s.all = false
	s.mu.Unlock()
	for _, t := range told {
		t.mu.Lock()
		subs := t.subs
		t.mu.Unlock()
		for _, sub := range subs {
			sub.s.Interrupted(t.group)
		}
	}
}

// countDropped looks which subscriptions have lost messages for want of room.
func (s *shard) countDropped() {
	s.mu.Lock()
	var lost []*topic
	for _, t := range s.topics {
		t.mu.Lock()
		if t.sub != nil {
			if n, err := t.sub.Dropped(); err == nil && n != t.dropped {
				t.dropped = n
				lost = append(lost, t)
			}
		}
		t.mu.Unlock()
	}
	s.mu.Unlock()
	if len(lost) == 0 {
		return
	}
	s.b.failSome(lost, errors.New("natsbroker: messages came faster than they were delivered, and some were dropped"))
	for _, t := range lost {
		s.interrupt(t)
	}
}

// fail tells every subscriber of err, once.
func (b *Broker) fail(err error) {
	var all []*topic
	for _, s := range b.shards {
		s.mu.Lock()
		for _, t := range s.topics {
			all = append(all, t)
		}
		s.mu.Unlock()
	}
	b.failSome(all, err)
}

func (b *Broker) failSome(topics []*topic, err error) {
	told := make(map[wschannels.Subscriber]bool)
	for _, t := range topics {
		t.mu.Lock()
		subs := t.subs
		t.mu.Unlock()
		for _, sub := range subs {
			if !told[sub.s] {
				told[sub.s] = true
				sub.s.Failed(err)
			}
		}
	}
}

// A limiter lets some events a second through.
type limiter struct {
	mu    sync.Mutex // guards what follows
	start time.Time
	n     int
}

const maxGarbage = 100 // a second

func (l *limiter) allow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.start) >= time.Second {
		l.start, l.n = now, 0
	}
	l.n++
	return l.n <= maxGarbage
}
