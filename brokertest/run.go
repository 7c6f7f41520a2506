package brokertest

import (
	"testing"

	"github.com/wschannels/wschannels"
)

// Run tests that newBroker returns correct brokers. Each call returns a new one that has
// groups, users, addresses and nodes of its own: it may be on an engine that others use, with
// a prefix of its own. Its history is at least that of the zero [wschannels.HistoryLimits].
// newBroker has t.Cleanup close it.
//
// Each promise is a subtest; those that need time take it from the clock, with patience. With
// -short, the one that takes longest, a connection that carries nothing more, is skipped. What
// Run starts has ended when it returns.
func Run(t *testing.T, newBroker func(t *testing.T) wschannels.Broker, f Features) {
	if (f.Stop == nil) != (f.Start == nil) {
		t.Fatal("Features.Stop and Features.Start need each other")
	}
	s := &suite{open: newBroker, f: f}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			for _, p := range part.promises {
				t.Run(p.name, func(t *testing.T) { p.test(t, s) })
			}
		})
	}
}

// A suite is one Run.
type suite struct {
	open func(t *testing.T) wschannels.Broker
	f    Features
}

type part struct {
	name     string
	promises []promise
}

// A promise is one thing that a correct broker does.
type promise struct {
	name string
	test func(t *testing.T, s *suite)
}

// parts is all that Run tests, the fundamental first.
var parts = []part{
	{"Capabilities", capabilityPromises},
	{"Order", orderPromises},
	{"Payload", payloadPromises},
	{"Names", namePromises},
	{"Subscribe", subscribePromises},
	{"Context", contextPromises},
	{"History", historyPromises},
	{"Limits", limitPromises},
	{"Requests", requestPromises},
	{"Mailboxes", mailPromises},
	{"Presence", presencePromises},
	{"Strangers", strangerPromises},
	{"Garbage", garbagePromises},
	{"Slow", slowPromises},
	{"Boxes", boxPromises},
	{"BoxesDirect", directPromises},
	{"Close", closePromises},
	{"Cut", cutPromises},
	{"Outage", outagePromises},
	{"OutageBoxes", outageBoxPromises},
}

// needs skips the test if the broker lacks c.
func (s *suite) needs(t *testing.T, c Capability) {
	t.Helper()
	if s.f.Lacks&c != 0 {
		t.Skipf("Features.Lacks has %v", c)
	}
}

// need skips the test if that field of Features is not set.
func need(t *testing.T, field string, set bool) {
	t.Helper()
	if !set {
		t.Skipf("Features.%s is not set", field)
	}
}

// nodes returns the n nodes of a new cluster.
func (s *suite) nodes(t *testing.T, n int) []wschannels.Broker {
	t.Helper()
	return s.joined(t, s.open(t), n)
}

// limited is nodes with these limits.
func (s *suite) limited(t *testing.T, n int, limits wschannels.HistoryLimits) []wschannels.Broker {
	t.Helper()
	s.needs(t, History)
	need(t, "Limited", s.f.Limited != nil)
	return s.joined(t, s.f.Limited(t, limits), n)
}

// joined returns first, and nodes of its cluster up to n.
func (s *suite) joined(t *testing.T, first wschannels.Broker, n int) []wschannels.Broker {
	t.Helper()
	nodes := []wschannels.Broker{first}
	for len(nodes) < n {
		b := first
		if s.f.Node != nil {
			b = s.f.Node(t, first)
		}
		nodes = append(nodes, b)
	}
	return nodes
}

// apart reports whether nodes are brokers of their own.
func (s *suite) apart() bool { return s.f.Node != nil }
