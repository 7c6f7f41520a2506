package brokertest

import (
	"testing"

	"github.com/wschannels/wschannels"
)

var capabilityPromises = []promise{
	{"ItHasAllThatFeaturesDoesNotSayItLacks", testCapabilities},
}

func testCapabilities(t *testing.T, s *suite) {
	for _, b := range s.nodes(t, 2) {
		var has Capability
		if _, ok := b.(wschannels.HistoryBroker); ok {
			has |= History
		}
		if _, ok := b.(wschannels.RequestBroker); ok {
			has |= Requests
		}
		if _, ok := b.(wschannels.MailboxBroker); ok {
			has |= Mailboxes
		}
		if _, ok := b.(wschannels.PresenceBroker); ok {
			has |= Presence
		}
		all := History | Requests | Mailboxes | Presence
		if want := all &^ s.f.Lacks; has != want {
			t.Errorf("%T has %v, want %v", b, has, want)
		}
	}
}
