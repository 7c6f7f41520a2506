package brokertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

var outagePromises = []promise{
	{"CallsWhileTheEngineIsAwaySayWhatIsKnownAndDoNothing", testAway},
	{"SubscriptionsComeBackExactlyThoseThatThereAre", testComeback},
	{"DataComesBackOrTheEpochIsNew", testDataAfterOutage},
	{"MailAndPresenceComeBackOrAreGone", testStateAfterOutage},
	{"AMessageIsPublishedAsAWholeOrNotAtAllWhenTheEngineDies", testKilledWhilePublishing},
	{"ABrokerClosesWhileTheEngineIsAway", testCloseWhileAway},
}

// stop kills the engine until the test ends or start, which is returned, is called. It returns
// the time from which on the engine could be reached.
func (s *suite) stop(t *testing.T, b wschannels.Broker) (start func() time.Time) {
	t.Helper()
	need(t, "Stop", s.f.Stop != nil)
	away := true
	start = func() time.Time {
		if away {
			away = false
			s.f.Start(t, b)
		}
		return time.Now()
	}
	t.Cleanup(func() { start() })
	s.f.Stop(t, b)
	return start
}

// away reports whether err is one that a call returns while the engine is away.
func away(err error) bool {
	return errors.Is(err, wschannels.ErrUnavailable) || errors.Is(err, wschannels.ErrUnknownOutcome)
}

// publishSoon publishes saved messages with that text until one works, and returns that.
func publishSoon(t *testing.T, b wschannels.Broker, group, text string) (p *wschannels.Publication) {
	t.Helper()
	eventually(t, fmt.Sprintf("a message to %q is published", group), func() bool {
		p = saved(group, text)
		err := b.Publish(lasting(t, 5*time.Second), p)
		if err != nil && !away(err) {
			t.Errorf("Publish: %v, want ErrUnavailable or ErrUnknownOutcome", err)
		}
		return err == nil
	})
	return p
}

// reachable waits until calls that need the engine work at all of nodes: that subscriptions do
// does not say so.
func reachable(t *testing.T, nodes ...wschannels.Broker) {
	t.Helper()
	for _, b := range nodes {
		publishSoon(t, b, "reachable", "x")
	}
}

func testAway(t *testing.T, s *suite) {
	need(t, "Stop", s.f.Stop != nil)
	nodes := s.nodes(t, 2)
	b := nodes[0]
	r, never := record(t, b, "g", "stays"), newRecorder(t)
	l := newListener(echo)
	if s.f.Lacks&Requests == 0 {
		listen(t, b, "listened", l)
	}
	start := s.stop(t, b)
	for round := range 2 { // at once, and when it may have been noticed
		calls := s.calls(b, r, never, l)
		together(len(calls), func(k int) {
			c := calls[k]
			err := c.call(lasting(t, time.Second))
			if c.engine && !away(err) {
				t.Errorf("%s, round %d: %v, want ErrUnavailable or ErrUnknownOutcome", c.name, round, err)
			}
			if !c.engine && err != nil {
				t.Errorf("%s, round %d: %v, and it does not need the engine", c.name, round, err)
			}
		})
	}
	awaitBack(t, start(), comeback, []*recorder{r}, 0, "stays")
	p := publishSoon(t, nodes[1], "g", "after")
	publishSoon(t, nodes[0], "stays", "after")
	publish(t, nodes[1], plain("never", "after"))
	record(t, b, "never").awaitID(t, publish(t, nodes[1], plain("never", "and then")))
	settle(t, nodes...)
	if r.has("g", p.ID) {
		t.Error("a message came for a group that was unsubscribed while the engine was away")
	}
	if n := never.all(); n != 0 {
		t.Errorf("%d messages came for a group that could not be subscribed to", n)
	}
	if s.f.Lacks&Requests == 0 {
		wantNobody(t, nodes[1], "listened")
		wantNobody(t, nodes[1], "address")
	}
}

func testComeback(t *testing.T, s *suite) {
	need(t, "Stop", s.f.Stop != nil)
	nodes := s.nodes(t, 2)
	stay := []string{"a", "b", "c", "*", "{d}", "e f", "g", "h"}
	rs := recordAll(t, nodes, append([]string{"goes"}, stay...)...)
	for _, g := range append([]string{"goes"}, stay...) {
		p := publish(t, nodes[0], saved(g, "before"))
		for _, r := range rs {
			r.awaitID(t, p)
		}
	}
	for round := range 2 {
		start := s.stop(t, nodes[0])
		for i, r := range rs {
			eventually(t, "the outage is noticed", func() bool { return len(r.failures()) > 0 })
			unsubscribe(t, nodes[i], "goes", r)
		}
		second := newRecorder(t) // of a group that is subscribed to; it may be refused
		joined := nodes[0].Subscribe(lasting(t, time.Second), "a", second) == nil
		awaitBack(t, start(), comeback, rs, round, stay...)
		for _, g := range stay {
			p := publishSoon(t, nodes[1], g, "after")
			for _, r := range rs {
				r.awaitID(t, p)
			}
			if joined && g == "a" {
				second.awaitID(t, p)
			}
		}
		p := publishSoon(t, nodes[0], "goes", "after")
		settle(t, nodes...)
		for _, r := range rs {
			wantReported(t, r, (round+1)*len(stay))
			if r.has("goes", p.ID) || r.interruptions("goes") > 0 {
				t.Error("a group that was unsubscribed while the engine was away came back")
			}
		}
		if s.f.Subscribed != nil && s.f.Subscribed(t, nodes[0], "goes") {
			t.Error("the engine has a subscription to a group that was unsubscribed while it was away")
		}
		if joined {
			unsubscribe(t, nodes[0], "a", second)
		}
	}
}

func testDataAfterOutage(t *testing.T, s *suite) {
	need(t, "Stop", s.f.Stop != nil)
	nodes := s.nodes(t, 2)
	r := record(t, nodes[1], "g")
	var before []*wschannels.Publication
	for i := range 10 {
		before = append(before, publish(t, nodes[i%2], saved("g", fmt.Sprint(i))))
	}
	at := wschannels.Position{Epoch: before[0].Epoch, Seq: 10}
	awaitBack(t, s.stop(t, nodes[0])(), comeback, []*recorder{r}, 0, "g")
	reachable(t, nodes...)
	p := publish(t, nodes[0], saved("g", "after"))
	r.awaitID(t, p)
	if s.f.KeepsData && (p.Epoch != at.Epoch || p.Seq != 11) {
		t.Errorf("the next message is %d of %q, want 11 of %q", p.Seq, p.Epoch, at.Epoch)
	}
	if !s.f.KeepsData && (p.Epoch == at.Epoch || p.Seq != 1) {
		t.Errorf("the next message is %d of %q, want 1 of another epoch", p.Seq, p.Epoch)
	}
	if s.f.Lacks&History != 0 {
		return
	}
	want := []string{"after"}
	all := want
	if s.f.KeepsData {
		all = append(numbers(0, 9), want...)
	}
	for _, b := range nodes {
		got := page(t, b, "g", &wschannels.HistoryOptions{After: &at})
		wantTexts(t, "after the last position", messageTexts(got.Messages), want...)
		if got.Complete != s.f.KeepsData {
			t.Errorf("after the last position: Complete = %v", got.Complete)
		}
		wantTexts(t, "the history", messageTexts(page(t, b, "g", nil).Messages), all...)
	}
}

func testStateAfterOutage(t *testing.T, s *suite) {
	need(t, "Stop", s.f.Stop != nil)
	nodes := s.nodes(t, 2)
	r := record(t, nodes[0], "g")
	var mails, present []string
	if s.f.Lacks&Mailboxes == 0 {
		putMail(t, nodes[0], "u", plenty, mail("1"), mail("2"))
	}
	e := entry("n", "ann")
	if s.f.Lacks&Presence == 0 {
		renew(t, nodes[0], "n", 2*patience)
		setPresence(t, nodes[0], "g", e)
	}
	if s.f.KeepsData {
		mails, present = []string{"1", "2"}, []string{"ann"}
	}
	awaitBack(t, s.stop(t, nodes[0])(), comeback, []*recorder{r}, 0, "g")
	reachable(t, nodes...)
	if s.f.Lacks&Mailboxes == 0 {
		wantTexts(t, "the mailbox", messageTexts(takeMail(t, nodes[0], "u")), mails...)
		putMail(t, nodes[0], "u", plenty, mail("3"))
		wantTexts(t, "the mailbox", messageTexts(takeMail(t, nodes[0], "u")), "3")
	}
	if s.f.Lacks&Presence == 0 {
		wantTexts(t, "present", users(presence(t, nodes[0], "g")), present...)
		renew(t, nodes[0], "n", patience)
		setPresence(t, nodes[0], "g", e)
		wantTexts(t, "present after a new lease", users(presence(t, nodes[0], "g")), "ann")
	}
}

func testCloseWhileAway(t *testing.T, s *suite) {
	need(t, "Stop", s.f.Stop != nil)
	need(t, "Node", s.apart())
	nodes := s.nodes(t, 2)
	r := record(t, nodes[0], "g", "h")
	s.stop(t, nodes[0])
	do(t, "Close", func(ctx context.Context) error { return nodes[0].Close(ctx) })
	if err := nodes[0].Publish(patient(t), plain("g", "x")); !errors.Is(err, wschannels.ErrClosed) {
		t.Errorf("Publish after Close: %v, want ErrClosed", err)
	}
	if n := r.interruptions("g"); n != 0 {
		t.Errorf("a closed broker's subscription is back, %d times", n)
	}
}
