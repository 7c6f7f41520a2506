package natsbroker

import (
	"context"
	"encoding/hex"
	"hash/maphash"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels"
)

// A topic is what this node knows of one group.
type topic struct {
	group string
	token string // of group
	shard *shard

	pins int // guarded by the shard's mu: operations under way

	mu      sync.Mutex         // guards what follows
	subs    []*subscriber      // replaced, not changed
	sub     *nats.Subscription // while there are subs
	dropped int                // by sub, that have been told of

	// What was delivered last.
	epoch [8]byte
	seq   uint64

	named [8]byte // the epoch that has that name
	name  string

	lane // publishing
}

// nameOf returns the name of an epoch, which is seldom another than the last time. t.mu is
// held.
func (t *topic) nameOf(epoch [8]byte) string {
	if t.name == "" || t.named != epoch {
		t.named, t.name = epoch, hex.EncodeToString(epoch[:])
	}
	return t.name
}

func (t *topic) epochName(epoch [8]byte) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nameOf(epoch)
}

type subscriber struct {
	s       wschannels.Subscriber
	pending int  // calls of Subscribe that do not know yet; guarded by the topic's mu
	ok      bool // one has known; likewise
}

// A shard has a part of the groups, and delivers what comes for them.
type shard struct {
	b     *Broker
	inlet // it is stirred when there is something in interrupted, or in all

	mu          sync.Mutex // guards what follows
	topics      map[string]*topic
	interrupted map[*topic]bool
	all         bool // are interrupted
}

// maxIdle is how many topics a shard remembers without need.
const maxIdle = 1 << 16

func newShard(b *Broker) *shard {
	return &shard{
		b: b, inlet: newInlet(),
		topics: make(map[string]*topic), interrupted: make(map[*topic]bool),
	}
}

var seed = maphash.MakeSeed()

// pin returns the topic of group, which stays until unpinned.
func (b *Broker) pin(group string) (*topic, error) {
	if !validName(group) {
		return nil, wschannels.ErrInvalidGroup
	}
	name := token(group)
	s := b.shards[maphash.String(seed, name)%uint64(len(b.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := context.Cause(b.closing); err != nil { // end has been here, or is still to come
		return nil, err
	}
	t := s.topics[name]
	if t == nil {
		t = &topic{group: group, token: name, shard: s}
		s.topics[name] = t
	}
	t.pins++
	return t, nil
}

func (t *topic) pin() {
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	t.pins++
}

// unpin lets t go. What is known of a group that nobody subscribes to is only of use if
// more is published soon.
func (t *topic) unpin() {
	s := t.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	t.pins--
	if len(s.topics) > maxIdle {
		s.forget(t)
		n := 0
		for _, old := range s.topics { // any: the map's order is random
			s.forget(old)
			if n++; n == 4 {
				return
			}
		}
	}
}

// forget drops t if it is of no need. s.mu is held.
func (s *shard) forget(t *topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pins == 0 && t.sub == nil {
		delete(s.topics, t.token)
	}
}
