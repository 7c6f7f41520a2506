package brokertest_test

import (
	"testing"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/brokertest"
)

// A MemoryBroker is its own engine, and shared by the nodes.
func TestMemoryBroker(t *testing.T) {
	limited := func(t *testing.T, limits wschannels.HistoryLimits) wschannels.Broker {
		b, err := wschannels.NewMemoryBroker(&wschannels.MemoryBrokerOptions{History: limits})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(t.Context()) })
		return b
	}
	brokertest.Run(t, func(t *testing.T) wschannels.Broker { return limited(t, wschannels.HistoryLimits{}) },
		brokertest.Features{Limited: limited})
}
