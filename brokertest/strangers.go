package brokertest

import (
	"errors"
	"slices"
	"testing"

	"github.com/wschannels/wschannels"
)

var strangerPromises = []promise{
	{"AnotherPrefixHasNothingToDoWithIt", testStranger},
	{"FlushingAllLeavesAnotherPrefixAlone", testStrangerFlush},
}

// strangers returns a broker and one with another prefix on the same engine.
func (s *suite) strangers(t *testing.T) (b, stranger wschannels.Broker) {
	t.Helper()
	need(t, "Stranger", s.f.Stranger != nil)
	b = s.open(t)
	return b, s.f.Stranger(t, b)
}

func testStranger(t *testing.T, s *suite) {
	b, stranger := s.strangers(t)
	groups := []string{"g", "*", ">", "a:b", "a.b"}
	r, other := record(t, b, groups...), record(t, stranger, groups...)
	for _, g := range groups {
		mine := publish(t, b, saved(g, "mine"))
		yours := publish(t, stranger, saved(g, "yours"))
		if mine.Seq != 1 || yours.Seq != 1 || mine.Epoch == yours.Epoch {
			t.Errorf("group %q has one order: %d of %q and %d of %q", g, mine.Seq, mine.Epoch, yours.Seq, yours.Epoch)
		}
	}
	settle(t, b, b)
	settle(t, stranger, stranger)
	for _, g := range groups {
		r.await(t, g, 1)
		other.await(t, g, 1)
		wantTexts(t, "group "+g, texts(r.of(g)), "mine")
		wantTexts(t, "the stranger's group "+g, texts(other.of(g)), "yours")
		if s.f.Lacks&History == 0 {
			wantTexts(t, "the history of "+g, messageTexts(page(t, b, g, nil).Messages), "mine")
			wantTexts(t, "the stranger's history of "+g, messageTexts(page(t, stranger, g, nil).Messages), "yours")
		}
	}
	if s.f.Lacks&Requests == 0 {
		listen(t, stranger, "a", newListener(echo))
		if _, err := b.(wschannels.RequestBroker).Request(patient(t), "a", []byte("x")); !errors.Is(err, wschannels.ErrNobody) {
			t.Errorf("a request to a stranger's address: %v, want ErrNobody", err)
		}
	}
	if s.f.Lacks&Mailboxes == 0 {
		putMail(t, b, "u", plenty, mail("mine"))
		wantTexts(t, "the stranger's mailbox", messageTexts(takeMail(t, stranger, "u")))
		wantTexts(t, "the mailbox", messageTexts(takeMail(t, b, "u")), "mine")
	}
	if s.f.Lacks&Presence == 0 {
		renew(t, stranger, "n", patience)
		setPresence(t, stranger, "g", entry("n", "stranger"))
		if alive := renew(t, b, "m", patience); !slices.Equal(alive, []string{"m"}) {
			t.Errorf("alive: %q, want the own node", alive)
		}
		renew(t, b, "n", patience)
		wantEntries(t, "present", presence(t, b, "g"), nil)
		if got := r.changes("g"); len(got) != 0 {
			t.Errorf("a stranger's change came: %v", got)
		}
	}
}

func testStrangerFlush(t *testing.T, s *suite) {
	s.needs(t, History)
	b, stranger := s.strangers(t)
	for _, x := range []wschannels.Broker{b, stranger} {
		publishAll(t, x, "g", "1", "2")
	}
	flush(t, b)
	wantTexts(t, "the history", messageTexts(page(t, b, "g", nil).Messages))
	wantTexts(t, "the stranger's history", messageTexts(page(t, stranger, "g", nil).Messages), "1", "2")
	publishAll(t, b, "g", "3")
	flush(t, stranger)
	wantTexts(t, "the history", messageTexts(page(t, b, "g", nil).Messages), "3")
	wantTexts(t, "the stranger's history", messageTexts(page(t, stranger, "g", nil).Messages))
}

var garbagePromises = []promise{
	{"WhatNoBrokerWroteIsDroppedAndReportedOnce", testGarbage},
}

func testGarbage(t *testing.T, s *suite) {
	need(t, "Garbage", s.f.Garbage != nil)
	nodes := s.nodes(t, 2)
	rs := append(recordAll(t, nodes, "g", "h"), record(t, nodes[0], "g"))
	elsewhere := record(t, nodes[0], "h")
	for round := 1; round <= 3; round++ {
		s.f.Garbage(t, nodes[0], "g")
		for _, r := range rs {
			eventually(t, "the garbage is reported", func() bool { return len(r.failures()) >= round })
		}
		p := publish(t, nodes[1], plain("g", "good"))
		if p.Seq != uint64(round) {
			t.Errorf("the message after the garbage is %d, want %d", p.Seq, round)
		}
		for _, r := range rs {
			r.awaitID(t, p)
		}
	}
	settle(t, nodes...)
	for _, r := range rs {
		wantTexts(t, "what came", texts(r.of("g")), "good", "good", "good")
		if got := r.failures(); len(got) != 3 {
			t.Errorf("%d failures, want one each time: %v", len(got), got)
		}
	}
	if got := elsewhere.failures(); len(got) != 0 {
		t.Errorf("the subscriber of another group heard of it: %v", got)
	}
}
