package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wschannels/wschannels"
)

// A link is how a node publishes and is subscribed, until the process ends. Its methods may be
// called concurrently.
type link interface {
	// join returns once everything that is published to group later is counted.
	join(group string) error

	// publish returns once it knows what became of [payload].
	publish(group string, save bool) error
}

// seen is what a node got.
type seen struct {
	messages    atomic.Int64
	interrupted atomic.Int64 // groups that the broker said this of

	mu     sync.Mutex // guards what follows
	errors []string   // that no call returned, the first ones
}

// fail keeps err.
func (s *seen) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.errors) < 5 {
		s.errors = append(s.errors, err.Error())
	}
}

// failures returns the errors.
func (s *seen) failures() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errors)
}

// The links, as tables call them.
const (
	bare     = "client"     // the engine's client in a loop; on NATS without JetStream
	streamed = "JetStream"  // the same, publishing into a stream
	broker   = "broker"     // redisbroker or natsbroker, with a Subscriber that counts
	box      = "wschannels" // a ChannelBox on that, with members that count
)

// linkStart says what to open.
type linkStart struct {
	Engine, URL string
	Link        string
	Members     int // of a box; group i has member i modulo Members
	MaxGroups   int // of one member
}

func openLink(s linkStart, got *seen) (link, error) {
	switch {
	case s.Link == broker:
		return openBroker(s, got)
	case s.Link == box:
		return openBox(s, got)
	case s.Engine == onRedis && s.Link == bare:
		return openRedis(s.URL, got)
	case s.Engine == onNATS && s.Link == bare:
		return openNATS(s.URL, got)
	case s.Engine == onNATS && s.Link == streamed:
		return openJetStream(s.URL, got)
	}
	return nil, fmt.Errorf("there is no %q on %q", s.Link, s.Engine)
}

// payload is what is published.
var payload = strings.Repeat("x", 128)

// limits are those of each group's history.
var limits = wschannels.HistoryLimits{Len: 1000}

// ownTTL is that of histories where centrifuge takes part, which has none without.
const ownTTL = 10 * time.Minute
