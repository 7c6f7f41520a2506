package brokertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

var mailPromises = []promise{
	{"MailIsTakenInOrderAndOnce", testMail},
	{"MailArrivesAsItWas", testMailAttributes},
	{"MailAtTheFrontComesBeforeTheRest", testMailFront},
	{"WhereMailDoesNotFitTheOldestGoes", testMailBytes},
	{"WhereMailAtTheFrontDoesNotFitTheOldestGoes", testMailFrontBytes},
	{"MailThatIsTooOldGoes", testMailTTL},
	{"EachMessageIsReturnedToOneTaker", testMailTakers},
}

var plenty = wschannels.MailboxLimits{Bytes: 1 << 20, TTL: time.Hour}

func mail(text string) wschannels.Message { return textMessage("", text) }

func mails(texts ...string) (ms []wschannels.Message) {
	for _, text := range texts {
		ms = append(ms, mail(text))
	}
	return ms
}

// put puts msgs, and checks how many were kept and lost.
func put(t *testing.T, b wschannels.Broker, front bool, limits wschannels.MailboxLimits, msgs []wschannels.Message, wantKept, wantLost int) {
	t.Helper()
	do(t, "PutMail", func(ctx context.Context) error {
		kept, lost, err := b.(wschannels.MailboxBroker).PutMail(ctx, "u", msgs, front, limits)
		if err == nil && (kept != wantKept || lost != wantLost) {
			t.Errorf("PutMail %q: kept %d, lost %d, want %d and %d", messageTexts(msgs), kept, lost, wantKept, wantLost)
		}
		return err
	})
}

func putMail(t *testing.T, b wschannels.Broker, user string, limits wschannels.MailboxLimits, msgs ...wschannels.Message) {
	t.Helper()
	do(t, fmt.Sprintf("PutMail for %q", user), func(ctx context.Context) error {
		kept, _, err := b.(wschannels.MailboxBroker).PutMail(ctx, user, msgs, false, limits)
		if err == nil && kept != len(msgs) {
			err = fmt.Errorf("kept %d, want %d", kept, len(msgs))
		}
		return err
	})
}

func takeMail(t *testing.T, b wschannels.Broker, user string) (ms []wschannels.Message) {
	t.Helper()
	do(t, fmt.Sprintf("TakeMail of %q", user), func(ctx context.Context) (err error) {
		ms, err = b.(wschannels.MailboxBroker).TakeMail(ctx, user)
		return err
	})
	return ms
}

func testMail(t *testing.T, s *suite) {
	s.needs(t, Mailboxes)
	nodes := s.nodes(t, 2)
	wantTexts(t, "no mailbox", messageTexts(takeMail(t, nodes[0], "u")))
	put(t, nodes[0], false, plenty, mails("1", "2"), 2, 0)
	put(t, nodes[1], false, plenty, mails("3"), 1, 0)
	putMail(t, nodes[0], "somebody else", plenty, mail("x"))
	put(t, nodes[0], false, plenty, mails("4"), 1, 0)
	put(t, nodes[0], false, plenty, nil, 0, 0)
	wantTexts(t, "the mailbox", messageTexts(takeMail(t, nodes[1], "u")), "1", "2", "3", "4")
	for _, b := range nodes {
		wantTexts(t, "the empty mailbox", messageTexts(takeMail(t, b, "u")))
	}
	put(t, nodes[1], false, plenty, mails("5"), 1, 0)
	wantTexts(t, "the mailbox once more", messageTexts(takeMail(t, nodes[0], "u")), "5")
	wantTexts(t, "another mailbox", messageTexts(takeMail(t, nodes[0], "somebody else")), "x")
}

func testMailAttributes(t *testing.T, s *suite) {
	s.needs(t, Mailboxes)
	nodes := s.nodes(t, 2)
	var every []byte
	for i := range 256 {
		every = append(every, byte(i))
	}
	ms := mails("text", "")
	ms[1].Data = nil
	ms = append(ms, mail(""), mail(`{"a":1}`), mail(strings.Repeat("large", 50_000)))
	ms[2].Type, ms[2].Data = wschannels.Bytes, every
	ms[3].Type = wschannels.JSON
	ms[4].Created = ms[4].Created.Add(-7 * time.Nanosecond)
	put(t, nodes[0], false, plenty, slices.Clone(ms), len(ms), 0)
	got := takeMail(t, nodes[1], "u")
	if len(got) != len(ms) {
		t.Fatalf("%d messages, want %d", len(got), len(ms))
	}
	for i, m := range got {
		wantSame(t, fmt.Sprint("message ", i), m, ms[i])
	}
}

func testMailFront(t *testing.T, s *suite) {
	s.needs(t, Mailboxes)
	nodes := s.nodes(t, 2)
	put(t, nodes[0], true, plenty, mails("5", "6"), 2, 0)
	put(t, nodes[1], false, plenty, mails("7"), 1, 0)
	put(t, nodes[1], true, plenty, mails("2", "3", "4"), 3, 0)
	put(t, nodes[0], true, plenty, mails("1"), 1, 0)
	wantTexts(t, "the mailbox", messageTexts(takeMail(t, nodes[1], "u")), numbers(1, 7)...)
}

// sized returns mail that counts 100 bytes of payload each.
func sized(names ...string) (ms []wschannels.Message) {
	for _, name := range names {
		ms = append(ms, mail(name+strings.Repeat(".", 100-len(name))))
	}
	return ms
}

// wantSized checks what is in the mailbox, and empties it.
func wantSized(t *testing.T, what string, b wschannels.Broker, want ...string) {
	t.Helper()
	var got []string
	for _, m := range takeMail(t, b, "u") {
		got = append(got, strings.TrimRight(m.Text(), "."))
	}
	wantTexts(t, what, got, want...)
}

var three = wschannels.MailboxLimits{Bytes: 3 * (100 + wschannels.MessageCost), TTL: time.Hour}

func testMailBytes(t *testing.T, s *suite) {
	s.needs(t, Mailboxes)
	nodes := s.nodes(t, 2)
	put(t, nodes[0], false, three, sized("1", "2", "3"), 3, 0)
	put(t, nodes[1], false, three, sized("4"), 1, 1)
	wantSized(t, "one too many", nodes[0], "2", "3", "4")

	put(t, nodes[0], false, three, sized("1", "2", "3", "4", "5"), 3, 2)
	wantSized(t, "two too many at once", nodes[1], "3", "4", "5")

	put(t, nodes[0], false, three, sized("1", "2"), 2, 0)
	put(t, nodes[0], false, three, sized("3", "4"), 2, 1)
	wantSized(t, "half of them", nodes[0], "2", "3", "4")

	alone := mail(strings.Repeat("x", three.Bytes-wschannels.MessageCost+1))
	put(t, nodes[0], false, three, sized("1", "2"), 2, 0)
	put(t, nodes[0], false, three, []wschannels.Message{alone}, 0, 1)
	wantSized(t, "one that is alone over the limit", nodes[0], "1", "2")

	just := mail(strings.Repeat("x", three.Bytes-wschannels.MessageCost))
	put(t, nodes[0], false, three, sized("1", "2"), 2, 0)
	put(t, nodes[0], false, three, []wschannels.Message{just}, 1, 2)
	wantSized(t, "one that just fits", nodes[1], just.Text())
}

func testMailFrontBytes(t *testing.T, s *suite) {
	s.needs(t, Mailboxes)
	nodes := s.nodes(t, 2)
	put(t, nodes[0], false, three, sized("3", "4"), 2, 0)
	put(t, nodes[1], true, three, sized("1", "2"), 1, 1)
	wantSized(t, "half of what is put at the front", nodes[0], "2", "3", "4")

	put(t, nodes[0], false, three, sized("3", "4", "5"), 3, 0)
	put(t, nodes[1], true, three, sized("1", "2"), 0, 2)
	wantSized(t, "nothing of it", nodes[0], "3", "4", "5")
}

func testMailTTL(t *testing.T, s *suite) {
	s.needs(t, Mailboxes)
	const left = 1500 * time.Millisecond
	nodes := s.nodes(t, 2)
	now := time.Now()
	ms := mails("too old", "old", "young")
	ms[0].Created = now.Add(-2 * plenty.TTL)
	ms[1].Created = now.Add(left - plenty.TTL)
	put(t, nodes[0], false, plenty, ms[:1], 0, 1)
	wantTexts(t, "what was too old already", messageTexts(takeMail(t, nodes[0], "u")))

	none := wschannels.MailboxLimits{Bytes: plenty.Bytes}
	put(t, nodes[0], false, none, ms[2:], 0, 1)
	wantTexts(t, "what was too old at once", messageTexts(takeMail(t, nodes[1], "u")))

	put(t, nodes[0], false, plenty, ms[1:2], 1, 0)
	got := messageTexts(takeMail(t, nodes[1], "u"))
	if time.Since(now) < left-tick {
		wantTexts(t, "what is not too old yet", got, "old")
	}
	if time.Since(now) < left-tick {
		putMail(t, nodes[1], "u", plenty, ms[1])
	}
	putMail(t, nodes[0], "u", plenty, ms[2])
	passed(t, now.Add(left+tick))
	wantTexts(t, "after the old one's end", messageTexts(takeMail(t, nodes[1], "u")), "young")
}

func testMailTakers(t *testing.T, s *suite) {
	s.needs(t, Mailboxes)
	const putters, each, takers = 4, 40, 6
	nodes := s.nodes(t, 3)
	var mu sync.Mutex
	taken := make(map[string]int)
	done := make(chan struct{})
	take := func(b wschannels.Broker) {
		ms, err := b.(wschannels.MailboxBroker).TakeMail(patient(t), "u")
		if err != nil {
			t.Errorf("TakeMail: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		last := make(map[byte]int)
		for _, m := range ms {
			taken[m.Text()]++
			var i int
			_, _ = fmt.Sscan(m.Text()[2:], &i)
			switch k := m.Text()[0]; {
			case i%8 == 7: // it was put at the front
			case i < last[k]:
				t.Errorf("%q comes after %d of the same", m.Text(), last[k])
			default:
				last[k] = i
			}
		}
	}
	var ts sync.WaitGroup
	for k := range takers {
		ts.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					take(nodes[k%3])
				}
			}
		})
	}
	together(putters, func(k int) {
		for i := range each {
			_, _, err := nodes[k%3].(wschannels.MailboxBroker).PutMail(patient(t), "u", mails(fmt.Sprint(k, " ", i)), i%8 == 7, plenty)
			if err != nil {
				t.Errorf("PutMail: %v", err)
			}
		}
	})
	close(done)
	ts.Wait()
	take(nodes[0])
	if len(taken) != putters*each {
		t.Errorf("%d messages were taken, want %d", len(taken), putters*each)
	}
	for text, n := range taken {
		if n != 1 {
			t.Errorf("%q was taken %d times", text, n)
		}
	}
}
