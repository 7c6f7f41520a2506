package brokertest

import (
	"context"
	"errors"
	"testing"

	"github.com/wschannels/wschannels"
)

var contextPromises = []promise{
	{"ACallWithAContextThatHasEndedDoesNothing", testEndedContext},
}

var errEnded = errors.New("the reason why the context ended")

// ended returns a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errEnded)
	return ctx
}

func testEndedContext(t *testing.T, s *suite) {
	nodes := s.nodes(t, 2)
	b, ctx := nodes[0], ended()
	r, never := record(t, b, "g"), newRecorder(t)
	l := newListener(func(string, []byte) []byte { return nil })
	publish(t, b, saved("g", "kept"))
	r.await(t, "g", 1)
	if s.f.Lacks&Requests == 0 {
		listen(t, b, "listened", l)
	}
	if s.f.Lacks&Mailboxes == 0 {
		putMail(t, b, "user", plenty, mail("kept"))
	}

	for _, c := range s.calls(b, r, never, l) {
		if err := c.call(ctx); !errors.Is(err, errEnded) && !errors.Is(err, wschannels.ErrUnavailable) {
			t.Errorf("%s: %v, want what ended the context, or ErrUnavailable", c.name, err)
		}
	}

	publish(t, nodes[1], plain("g", "next"))
	r.await(t, "g", 2) // not unsubscribed
	record(t, b, "never").awaitID(t, publish(t, nodes[1], plain("never", "next")))
	settle(t, nodes...)
	wantTexts(t, "who was subscribed", texts(r.of("g")), "kept", "next")
	if at := position(t, b, "g"); at.Seq != 2 {
		t.Errorf("the position is %d, want 2", at.Seq)
	}
	if n := never.all(); n != 0 {
		t.Errorf("who was not subscribed got %d messages", n)
	}
	if s.f.Lacks&History == 0 {
		wantTexts(t, "the history", messageTexts(page(t, b, "g", nil).Messages), "kept")
	}
	if s.f.Lacks&Requests == 0 {
		wantTexts(t, "the listener", l.heard())
		request(t, nodes[1], "listened", "x") // not unlistened
		wantNobody(t, nodes[1], "address")    // not listened
	}
	if s.f.Lacks&Mailboxes == 0 {
		wantTexts(t, "the mailbox", messageTexts(takeMail(t, b, "user")), "kept")
	}
	if s.f.Lacks&Presence == 0 {
		if alive := renew(t, b, "first", patience); len(alive) != 1 {
			t.Errorf("alive: %q", alive)
		}
		renew(t, b, "node", patience) // or it would not be seen
		if got := presence(t, b, "g"); len(got) != 0 {
			t.Errorf("present: %v", got)
		}
	}
}

// A call is one of a broker's.
type call struct {
	name   string
	engine bool // it needs the engine
	call   func(ctx context.Context) error
}

// calls returns one call of each method, of those capabilities that there are. sub is
// subscribed to group g, and never to none: "never" is its own, as a second subscription to a
// group need not reach the engine. l listens at "listened".
func (s *suite) calls(b wschannels.Broker, sub, never *recorder, l *listener) []call {
	calls := []call{
		{"Publish", true, func(ctx context.Context) error { return b.Publish(ctx, saved("g", "x")) }},
		{"Subscribe", true, func(ctx context.Context) error { return b.Subscribe(ctx, "never", never) }},
		{"Unsubscribe", false, func(ctx context.Context) error { return b.Unsubscribe(ctx, "g", sub) }},
		{"Position", true, func(ctx context.Context) error { _, err := b.Position(ctx, "g"); return err }},
	}
	if h, ok := b.(wschannels.HistoryBroker); ok {
		calls = append(calls,
			call{"History", true, func(ctx context.Context) error { _, err := h.History(ctx, "g", nil); return err }},
			call{"Flush", true, func(ctx context.Context) error { return h.Flush(ctx, "g") }},
			call{"Flush of all", true, func(ctx context.Context) error { return h.Flush(ctx) }})
	}
	if r, ok := b.(wschannels.RequestBroker); ok {
		calls = append(calls,
			call{"Listen", true, func(ctx context.Context) error { return r.Listen(ctx, "address", l) }},
			call{"Unlisten", false, func(ctx context.Context) error { return r.Unlisten(ctx, "listened", l) }},
			call{"Request", true, func(ctx context.Context) error { _, err := r.Request(ctx, "listened", []byte("x")); return err }})
	}
	if m, ok := b.(wschannels.MailboxBroker); ok {
		calls = append(calls,
			call{"PutMail", true, func(ctx context.Context) error {
				_, _, err := m.PutMail(ctx, "user", []wschannels.Message{mail("x")}, false, plenty)
				return err
			}},
			call{"TakeMail", true, func(ctx context.Context) error { _, err := m.TakeMail(ctx, "user"); return err }})
	}
	if p, ok := b.(wschannels.PresenceBroker); ok {
		calls = append(calls,
			call{"Renew", true, func(ctx context.Context) error { _, err := p.Renew(ctx, "node", patience); return err }},
			call{"SetPresence", true, func(ctx context.Context) error { return p.SetPresence(ctx, "g", entry("node", "x")) }},
			call{"Presence", true, func(ctx context.Context) error { _, err := p.Presence(ctx, "g"); return err }})
	}
	return calls
}
