// Package brokertest is the definition of a correct [wschannels.Broker], as tests: all that
// its documentation promises, at the level of the interface and through real boxes.
//
// A broker's own test calls [Run]:
//
//	func TestBroker(t *testing.T) {
//		e := startEngine(t)
//		brokertest.Run(t, func(t *testing.T) wschannels.Broker { return e.open(t, rand.Text()) },
//			brokertest.Features{
//				Node: func(t *testing.T, b wschannels.Broker) wschannels.Broker { return e.open(t, prefixOf(b)) },
//				…
//			})
//	}
//
// A field of [Features] that is nil leaves out the tests that need it, which a test's output
// says. Only what an engine cannot do should be left out.
package brokertest
