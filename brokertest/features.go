package brokertest

import (
	"strings"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

// Features is what [Run] needs to know and do beside opening a broker. The zero value is for
// a broker with all capabilities that several boxes of one process share, without an engine.
//
// All functions are called from the goroutine of a test, one at a time, and fail or skip it
// themselves. A broker that one returns is closed by that function's own t.Cleanup, as those
// of newBroker are; that it has been closed by then is no error. The b that one gets is
// what newBroker, or one of these functions, has returned.
type Features struct {
	// Node returns another node of b's cluster: a broker with connections of its own to
	// the same engine, the same prefix, options and groups. Nil: all nodes share b.
	Node func(t *testing.T, b wschannels.Broker) wschannels.Broker

	// Limited is newBroker with these limits for the history of each group; Node returns
	// more with the same.
	Limited func(t *testing.T, limits wschannels.HistoryLimits) wschannels.Broker

	// Stranger returns a broker on b's engine with another prefix, best one that b's
	// prefix is the beginning of: its groups, users, addresses and nodes are none of b's.
	Stranger func(t *testing.T, b wschannels.Broker) wschannels.Broker

	// Garbage has the engine hand to the subscribers of group, once, bytes that no broker
	// wrote. It returns when they have been sent.
	Garbage func(t *testing.T, b wschannels.Broker, group string)

	// Subscribed reports whether the engine has a subscription to group by any node of
	// b's cluster, as the engine sees it now.
	Subscribed func(t *testing.T, b wschannels.Broker, group string) bool

	// Cut breaks the present connections of b alone, as a network does: the engine and the
	// other nodes live, and b may connect again at once.
	Cut func(t *testing.T, b wschannels.Broker)

	// Deaf has the present connections of b alone carry nothing any more, in neither
	// direction, without an end of them being seen. New connections are as ever.
	Deaf func(t *testing.T, b wschannels.Broker)

	// DeafFor is how long b may take to notice that. 0: 10 s.
	DeafFor time.Duration

	// Stop kills b's engine, without a warning, for all its nodes; Start starts it again,
	// in its place. Whatever Stop has killed is started again before the test ends. Both
	// or neither.
	Stop, Start func(t *testing.T, b wschannels.Broker)

	// KeepsData says that the engine has its data back after a Stop and a Start. If not,
	// all of it is gone, and groups have new epochs.
	KeepsData bool

	// Lacks are the capabilities that the broker does not have. It must have all others,
	// so that none is lost by accident, and none of these.
	Lacks Capability

	// MaxPayload is the largest payload that the engine carries, if it is less than 1 MiB.
	MaxPayload int

	// Foreign says whose goroutines are not the broker's: those with one of these strings in
	// their stack belong to an engine in this process, say.
	Foreign []string

	// Lease is the shortest lease of a node that the engine keeps to. 0: 1 s.
	Lease time.Duration
}

// A Capability is what a broker may be beside a [wschannels.Broker]; several are or-ed.
type Capability uint8

// The capabilities.
const (
	History   Capability = 1 << iota // wschannels.HistoryBroker
	Requests                         // wschannels.RequestBroker
	Mailboxes                        // wschannels.MailboxBroker
	Presence                         // wschannels.PresenceBroker
)

// String names the capabilities.
func (c Capability) String() string {
	var names []string
	for i, name := range []string{"History", "Requests", "Mailboxes", "Presence"} {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}
