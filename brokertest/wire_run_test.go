package brokertest_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/brokertest"
)

// An engine elsewhere, with all that Features can ask for.
func TestBrokerOnAnEngine(t *testing.T) {
	for name, keeps := range map[string]bool{"that keeps its data": true, "that loses its data": false} {
		t.Run(name, func(t *testing.T) { runWire(t, newWireEngine(keeps, "")) })
	}
}

func runWire(t *testing.T, e *wireEngine) {
	brokertest.Run(t, func(t *testing.T) wschannels.Broker { return wireOpen(t, e, uuid.NewString()) }, wireFeatures(e))
}
