package brokertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wschannels/wschannels"
)

var namePromises = []promise{
	{"GroupsWithAnyNameAreKeptApart", testGroupNames},
	{"UsersWithAnyNameAreKeptApart", testUserNames},
	{"AddressesWithAnyNameAreKeptApart", testAddressNames},
	{"GroupsWithAnyNameHaveTheirOwnPresence", testPresenceNames},
}

// names are legal names that a broker may confuse: with patterns and separators of its
// engine, with keys of its own, or with each other.
var names = []string{
	"*", "**", ">", ".", "..", "...", "a", "A", "b", "a.*", "a.>", "a.b", "a.", ".a", "*.a", "a.b.c",
	"{x}", "{y}", "}", "{", "{}", "}{", "{x}y", "x}{y", "[a]", "[^a]", "?", "h?llo", "hello", "h[ae]llo", "\\*", "\\",
	" ", "  ", " a", "a ", "a b", "\u00a0", "%", "%2A", "%2a", "%25", "%00", "_", "__", "-", "+", "=", "#", "$", "$SYS", "$JS.API.>", "_INBOX.a",
	"/", "//", "a/b", "../a", ":", "a:", ":a", "a:b", "a:b:c", "~", "^", "|", ",", ";", "&", "!", "@", "'", "\"", "`", "<a>", "(a)",
	"Kg", "Kg==", "2a", "2A", "0x2a", "YQ", "61", "0", "00", "-1", "null", "nil", "true", "\\u002a", "epoch", "seq", "history",
	"ä", "Ä", "a\u0308", "ß", "ss", "日本", "日", "🙂", "\u2028", "\ufeff", "\ufffd", "İ", "i", "I", "ı",
	strings.Repeat("x", 255), strings.Repeat("x", 254), strings.Repeat("X", 255), strings.Repeat("*", 255), strings.Repeat(".", 255),
	strings.Repeat("é", 127) + "x", strings.Repeat("日", 85),
}

func testGroupNames(t *testing.T, s *suite) {
	nodes := s.nodes(t, 2)
	r := record(t, nodes[1], names...)
	for _, name := range names {
		publish(t, nodes[0], saved(name, "of "+name))
	}
	for _, name := range names {
		r.await(t, name, 1)
	}
	settle(t, nodes...)
	if got := r.all(); got != len(names) {
		t.Errorf("%d messages came, want %d", got, len(names))
	}
	for _, name := range names {
		got := r.of(name)
		wantTexts(t, "group "+short(name), texts(got), short("of "+name))
		inOrder(t, "group "+short(name), got)
		if s.f.Lacks&History == 0 {
			wantTexts(t, "history of "+short(name), messageTexts(page(t, nodes[1], name, nil).Messages), short("of "+name))
		}
	}
	if s.f.Lacks&History != 0 {
		return
	}
	for _, name := range []string{"*", "a.*", ">", "a", "h?llo", "[a]"} { // no more than this one is forgotten
		do(t, "Flush "+name, func(ctx context.Context) error { return nodes[0].(wschannels.HistoryBroker).Flush(ctx, name) })
		wantTexts(t, "flushed history of "+name, messageTexts(page(t, nodes[1], name, nil).Messages))
	}
	for _, name := range []string{"b", "A", "a.b", "a.b.c", "hello", "**", "[^a]"} {
		wantTexts(t, "history of "+name+" after flushes of others", messageTexts(page(t, nodes[1], name, nil).Messages), "of "+name)
	}
}

func testUserNames(t *testing.T, s *suite) {
	s.needs(t, Mailboxes)
	nodes := s.nodes(t, 2)
	for _, name := range names {
		putMail(t, nodes[0], name, plenty, mail("for "+name))
	}
	for _, name := range names {
		wantTexts(t, "mail of "+short(name), messageTexts(takeMail(t, nodes[1], name)), short("for "+name))
	}
}

func testAddressNames(t *testing.T, s *suite) {
	s.needs(t, Requests)
	nodes := s.nodes(t, 2)
	addresses := append(slices.Clone(names), strings.Repeat("y", 300), strings.Repeat("y", 299))
	l := newListener(func(address string, data []byte) []byte { return fmt.Appendf(nil, "%s heard %s", address, data) })
	for _, a := range addresses {
		listen(t, nodes[1], a, l)
	}
	for _, a := range addresses {
		if got, want := request(t, nodes[0], a, "for "+a), a+" heard for "+a; got != want {
			t.Errorf("address %s answers %q, want %q", short(a), got, want)
		}
	}
	if got := len(l.heard()); got != len(addresses) {
		t.Errorf("%d requests were heard, want %d", got, len(addresses))
	}
}

func testPresenceNames(t *testing.T, s *suite) {
	s.needs(t, Presence)
	nodes := s.nodes(t, 2)
	renew(t, nodes[0], "n", patience)
	for _, name := range names {
		setPresence(t, nodes[0], name, entry("n", "user of "+name))
	}
	for _, name := range names {
		if got := users(presence(t, nodes[1], name)); !slices.Equal(got, []string{"user of " + name}) {
			t.Errorf("present in %s: %q", short(name), got)
		}
	}
}
