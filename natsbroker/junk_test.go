package natsbroker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
)

// What no broker has sent is dropped wherever it comes, and all subscribers hear of it once.
func TestJunkIsDroppedAndToldOfOnce(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	b := open(t, e.url(), opts)
	awaitUp(t, b)
	nc := connect(t, e.url())
	counts := &counter{}
	if err := b.Subscribe(t.Context(), "another", counts); err != nil {
		t.Fatal(err)
	}
	if err := b.Listen(t.Context(), "a", echo{}); err != nil {
		t.Fatal(err)
	}
	p := wschannels.PresenceEntry{ID: uuid.New(), Node: "n", Since: time.Now()}
	if _, err := b.Renew(t.Context(), "n", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := b.SetPresence(t.Context(), "room", p); err != nil {
		t.Fatal(err)
	}
	limits := wschannels.MailboxLimits{Bytes: 1000, TTL: time.Minute}
	if _, _, err := b.PutMail(t.Context(), "ann", []wschannels.Message{message("x", false).Message}, false, limits); err != nil {
		t.Fatal(err)
	}
	entry := opts.Prefix + ".p.e.room.n."
	for _, c := range []struct {
		what, subject, data string
		notice              func() error
	}{
		{"a request that cannot be answered", opts.Prefix + ".r.a", "x", nil},
		{"an offer", natsbroker.OfferSubject(b), "x", nil},
		{"a mailbox", opts.Prefix + ".m.ann", "x", func() error {
			got, err := b.TakeMail(context.Background(), "ann")
			if len(got) > 0 {
				t.Errorf("the mailbox has %v", got)
			}
			return err
		}},
		{"an entry", entry + uuid.NewString(), "\x02{", func() error {
			got, err := b.Presence(context.Background(), "room")
			if len(got) != 1 || got[0].ID != p.ID {
				t.Errorf("present: %v, want %v", got, p)
			}
			return err
		}},
		{"an entry of another", entry + uuid.NewString(), "\x02" + `{"id":"` + p.ID.String() + `","node":"n"}`, func() error {
			got, err := b.Presence(context.Background(), "room")
			if len(got) != 1 || got[0].ID != p.ID {
				t.Errorf("present: %v, want %v", got, p)
			}
			return err
		}},
		{"a lease", opts.Prefix + ".p.n.m", "x", func() error {
			_, err := b.Renew(context.Background(), "n", time.Minute)
			return err
		}},
		{"the end of an order", opts.Prefix + ".g.another.u", "x", nil},
	} {
		before := counts.failed.Load()
		if err := nc.Publish(c.subject, []byte(c.data)); err != nil {
			t.Fatal(err)
		}
		flush(t, nc)
		eventually(t, c.what+" is told of", func() error {
			if c.notice != nil {
				if err := c.notice(); err != nil {
					return err
				}
			}
			if counts.failed.Load() == before {
				return fmt.Errorf("not told")
			}
			return nil
		})
		for range 3 {
			if c.notice != nil {
				if err := c.notice(); err != nil {
					t.Errorf("%s: %v", c.what, err)
				}
			}
			if _, err := b.Request(t.Context(), "a", nil); err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		if n := counts.failed.Load() - before; n != 1 {
			t.Errorf("%s is told of %d times", c.what, n)
		}
	}
	publish(t, b, &wschannels.Publication{Message: wschannels.Message{ID: uuid.New(), Group: "another", Created: time.Now()}})
}

func TestJunkOnALeaseDoesNotEndIt(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	a, b := open(t, e.url(), opts), open(t, e.url(), opts)
	awaitUp(t, a)
	renew := func(on *natsbroker.Broker, node string) []string {
		t.Helper()
		alive, err := on.Renew(t.Context(), node, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(alive)
		return alive
	}
	present := func(on *natsbroker.Broker) int {
		t.Helper()
		es, err := on.Presence(t.Context(), "room")
		if err != nil {
			t.Fatal(err)
		}
		return len(es)
	}
	eventually(t, "both are up", func() error {
		_, err := b.Renew(t.Context(), "b", time.Minute)
		return err
	})
	renew(a, "a")
	if err := a.SetPresence(t.Context(), "room", wschannels.PresenceEntry{ID: uuid.New(), Node: "a", Since: time.Now()}); err != nil {
		t.Fatal(err)
	}
	renew(b, "b")
	nc := connect(t, e.url())
	for _, junk := range []string{"x", "\x02\x00\x00\x00\x00\x00\x00\x00\x00b"} {
		if err := nc.Publish(opts.Prefix+".p.n.a", []byte(junk)); err != nil {
			t.Fatal(err)
		}
		flush(t, nc)
		if alive := renew(b, "b"); !slices.Equal(alive, []string{"a", "b"}) {
			t.Errorf("with junk on a's lease %q are alive", alive)
		}
		if n := present(b); n != 1 {
			t.Errorf("with junk on a's lease %d are present", n)
		}
	}
	late := open(t, e.url(), opts) // it has never read a's lease, and forgets nobody for that
	awaitUp(t, late)
	renew(late, "c")
	renew(a, "a")
	for _, on := range []*natsbroker.Broker{a, b, late} {
		if n := present(on); n != 1 {
			t.Errorf("after a has renewed %d are present", n)
		}
	}
}
