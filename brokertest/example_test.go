package brokertest_test

import (
	"testing"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/brokertest"
)

// The test of a broker is one call. This one, of MemoryBroker, has no engine that could be
// stopped or cut off, and its nodes share the broker: so most hooks are left out.
func ExampleRun() {
	open := func(t *testing.T, limits wschannels.HistoryLimits) wschannels.Broker {
		b, err := wschannels.NewMemoryBroker(&wschannels.MemoryBrokerOptions{History: limits})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(t.Context()) })
		return b
	}
	TestBroker := func(t *testing.T) { // a function of its own, in a _test.go file
		newBroker := func(t *testing.T) wschannels.Broker { return open(t, wschannels.HistoryLimits{}) }
		brokertest.Run(t, newBroker, brokertest.Features{Limited: open})
	}
	_ = TestBroker
}
