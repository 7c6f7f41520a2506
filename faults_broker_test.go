package wschannels_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	. "github.com/wschannels/wschannels"
)

// A faultsBroker is one that panics in the method called where, in the middle of it.
type faultsBroker struct {
	*MemoryBroker
	where string
	booms uint64
}

func (b *faultsBroker) at(where string, err error) error {
	if where == b.where {
		b.booms++
		panic(faultsEvil{})
	}
	return err
}

func (b *faultsBroker) Publish(ctx context.Context, p *Publication) error {
	return b.at("Publish", b.MemoryBroker.Publish(ctx, p))
}
func (b *faultsBroker) Subscribe(ctx context.Context, group string, s Subscriber) error {
	return b.at("Subscribe", b.MemoryBroker.Subscribe(ctx, group, s))
}
func (b *faultsBroker) Unsubscribe(ctx context.Context, group string, s Subscriber) error {
	return b.at("Unsubscribe", b.MemoryBroker.Unsubscribe(ctx, group, s))
}
func (b *faultsBroker) Position(ctx context.Context, group string) (Position, error) {
	at, err := b.MemoryBroker.Position(ctx, group)
	return at, b.at("Position", err)
}
func (b *faultsBroker) History(ctx context.Context, group string, opts *HistoryOptions) (HistoryPage, error) {
	page, err := b.MemoryBroker.History(ctx, group, opts)
	return page, b.at("History", err)
}
func (b *faultsBroker) Flush(ctx context.Context, groups ...string) error {
	return b.at("Flush", b.MemoryBroker.Flush(ctx, groups...))
}

// A panic of a Broker is an error of the call that needed it. Nothing stays locked, no
// channel stays half a member, and a member that found no room is still closed.
func TestAPanicOfABrokerIsAnErrorOfTheCall(t *testing.T) {
	type call struct {
		where string
		do    func(b *ChannelBox, c *Channel) error // nil error: nobody waits for it
	}
	for _, tt := range []call{
		{"Publish", func(b *ChannelBox, _ *Channel) error {
			_, err := b.GroupSend(context.Background(), "g", "twelve bytes", nil)
			return err
		}},
		{"Subscribe", func(b *ChannelBox, c *Channel) error {
			_, err := b.Join(context.Background(), c, "new", nil)
			return err
		}},
		{"Position", func(b *ChannelBox, c *Channel) error {
			_, err := b.Join(context.Background(), c, "new", nil)
			return err
		}},
		{"History", func(b *ChannelBox, c *Channel) error {
			_, err := b.Join(context.Background(), c, "new", &JoinOptions{ReplayLast: 1})
			return err
		}},
		{"Position", func(b *ChannelBox, c *Channel) error {
			_, err := b.Join(context.Background(), c, "g", nil) // again
			return err
		}},
		{"Position", func(b *ChannelBox, _ *Channel) error { _, err := b.Position(context.Background(), "g"); return err }},
		{"History", func(b *ChannelBox, _ *Channel) error { _, err := b.History(context.Background(), "g", nil); return err }},
		{"Flush", func(b *ChannelBox, _ *Channel) error { return b.FlushHistory(context.Background()) }},
		{"Unsubscribe", func(b *ChannelBox, c *Channel) error { _, err := b.Leave(context.Background(), c, "own"); return err }},
	} {
		t.Run(tt.where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory, err := NewMemoryBroker(nil)
				if err != nil {
					t.Fatal(err)
				}
				broker := &faultsBroker{MemoryBroker: memory}
				b := boxOf(t, &Options{Broker: broker})
				c, conn := boxMember(t, b, nil, "g", "own")
				opts := boxText
				opts.QueueBytes = 8
				slow, slowConn := boxMember(t, b, &opts, "g")
				slowConn.Stall()

				broker.where = tt.where
				err = tt.do(b, c)
				synctest.Wait()
				broker.where = ""
				if panicked := errors.As(err, new(*PanicError)); panicked != (tt.where != "Unsubscribe") {
					t.Errorf("the call returned %v", err)
				}
				if s := b.Stats(); broker.booms != 1 || s.Panics != 1 {
					t.Errorf("%d panics, and %d were counted; want 1", broker.booms, s.Panics)
				}
				if tt.where == "Publish" {
					if code := boxEnd(t, slow); code != StatusSlowConsumer {
						t.Errorf("the slow member ended with %v, want 4004", slow.Err())
					}
				}
				// All of it works again, and nobody is in anybody's way.
				for _, g := range []string{"new", "own"} {
					if res := boxJoin(t, b, c, g, nil); res.Status != ChannelAdded && g == "new" {
						t.Errorf("Join of %q: %+v; want it added: the failed one had no effect", g, res)
					}
					boxSend(t, b, g, g, boxSave)
				}
				want := []string{"new", "own"}
				if tt.where == "Publish" {
					want = append([]string{"twelve bytes"}, want...)
				}
				boxWant(t, "the member", boxFlushed(t, c, conn), want)
				c.CloseNow()
				slow.CloseNow()
				boxNothingLeft(t, b)
			})
		})
	}
}

// A faultsSubscriber is one of the application's, on the box's broker.
type faultsSubscriber struct{ got []uint64 }

func (s *faultsSubscriber) Deliver(p *Publication) {
	s.got = append(s.got, p.Seq)
	panic("in Deliver")
}

func (s *faultsSubscriber) Appear(string, PresenceEntry) {}
func (s *faultsSubscriber) Interrupted(string)           {}
func (s *faultsSubscriber) Failed(error)                 {}

// A subscriber that panics takes the message from nobody else; the panic is the sender's.
func TestAPanicOfASubscriberTakesNothingFromOthers(t *testing.T) {
	memory, err := NewMemoryBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	var bad faultsSubscriber
	if err := memory.Subscribe(t.Context(), "g", &bad); err != nil {
		t.Fatal(err)
	}
	b := boxOf(t, &Options{Broker: memory}) // subscribes after it
	c, conn := boxMember(t, b, nil, "g")
	opts := boxText
	opts.QueueBytes = 1
	small, _ := boxMember(t, b, &opts, "g")
	for i, text := range []string{"first", "second"} {
		func() {
			defer func() {
				if v := recover(); v != "in Deliver" {
					t.Errorf("GroupSend panicked with %v, want what Deliver did", v)
				}
			}()
			_, err := b.GroupSend(t.Context(), "g", text, boxSave)
			t.Errorf("GroupSend returned %v", err)
		}()
		if at, err := b.Position(t.Context(), "g"); err != nil || at.Seq != uint64(i+1) {
			t.Errorf("Position: %+v, %v; want %d", at, err, i+1)
		}
	}
	boxWant(t, "the member", boxFlushed(t, c, conn), []string{"first", "second"})
	boxWant(t, "the history", boxHistory(t, b, "g", nil), []string{"first", "second"})
	if len(bad.got) != 2 {
		t.Errorf("the subscriber itself got %v", bad.got)
	}
	if code := boxEnd(t, small); code != StatusSlowConsumer {
		t.Errorf("the member without room ended with %v, want 4004", small.Err())
	}
}
