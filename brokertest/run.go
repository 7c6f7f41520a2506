package brokertest

import (
	"testing"

	"github.com/wschannels/wschannels"
)

// Run tests that newBroker returns correct brokers. Each call returns a new one that has
// groups, users, addresses and nodes of its own: it may be on an engine that others use, with
// a prefix of its own. newBroker has t.Cleanup close it.
//
// What Run starts has ended when it returns. It uses real time, and waits with patience.
func Run(t *testing.T, newBroker func(t *testing.T) wschannels.Broker, f Features) {
	t.Helper()
}
