package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// boxCluster returns n boxes that share one broker.
func boxCluster(t *testing.T, n int, opts *wschannels.MemoryBrokerOptions) ([]*wschannels.ChannelBox, *wschannels.MemoryBroker) {
	t.Helper()
	broker, err := wschannels.NewMemoryBroker(opts)
	if err != nil {
		t.Fatal(err)
	}
	boxes := make([]*wschannels.ChannelBox, n)
	for i := range boxes {
		boxes[i] = boxOf(t, &wschannels.Options{Broker: broker})
	}
	return boxes, broker
}

func TestBoxesThatShareABrokerAreACluster(t *testing.T) {
	boxes, _ := boxCluster(t, 2, nil)
	one, two := boxes[0], boxes[1]
	a, aConn := boxMember(t, one, nil, "g")
	b, bConn := boxMember(t, two, nil, "g")
	jsonMember, jsonConn := boxMember(t, two, &wschannels.ChannelOptions{}, "g")

	first := boxSend(t, one, "g", "first", boxSave)
	second := boxSend(t, two, "g", "second", boxSave)
	if first.Queued != 1 || second.Queued != 2 {
		t.Errorf("Queued = %d and %d, want the local members: 1 and 2", first.Queued, second.Queued)
	}
	if first.Seq != 1 || second.Seq != 2 {
		t.Errorf("Seq = %d and %d, want one order: 1 and 2", first.Seq, second.Seq)
	}
	for _, box := range boxes {
		boxWant(t, "history", boxHistory(t, box, "g", nil), []string{"first", "second"})
	}
	boxSend(t, one, "g", "not for b", &wschannels.SendOptions{Except: boxIDs(b)})
	boxWant(t, "a", boxFlushed(t, a, aConn), []string{"first", "second", "not for b"})
	boxWant(t, "b", boxFlushed(t, b, bConn), []string{"first", "second"})
	boxWant(t, "the JSON member", boxFlushed(t, jsonMember, jsonConn), []string{`"first"`, `"second"`, `"not for b"`})

	// A client moves to the other node with its position.
	at, _ := one.Position(t.Context(), "g")
	if other, _ := two.Position(t.Context(), "g"); other != at || at.Seq != 3 {
		t.Errorf("positions %+v and %+v, want the same, at 3", at, other)
	}
	c, cConn := boxMember(t, two, nil)
	res := boxJoin(t, two, c, "g", &wschannels.JoinOptions{ReplayAfter: &wschannels.Position{Epoch: at.Epoch, Seq: 1}})
	if !res.Recovered || res.Replayed != 1 {
		t.Errorf("Join on the other node = %+v, want Recovered", res)
	}
	boxWant(t, "c", boxFlushed(t, c, cConn), []string{"second"})

	if err := two.FlushHistory(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	boxWant(t, "history after the other node's flush", boxHistory(t, one, "g", nil), nil)

	// Members are each box's own.
	if len(one.Members("g")) != 1 || two.Groups()["g"] != 3 {
		t.Errorf("members: %d and %d, want 1 and 3", len(one.Members("g")), two.Groups()["g"])
	}
	if _, ok := one.Channel(b.ID()); ok {
		t.Error("Channel finds one of another box")
	}
}

func TestBoxesWithoutASharedBrokerAreIsolated(t *testing.T) {
	one, two := boxOf(t, nil), boxOf(t, nil)
	c, conn := boxMember(t, two, nil, "g")
	boxSend(t, one, "g", "x", boxSave)
	boxSendUser(t, one, "ann", "x")
	boxWant(t, "the other box's member", boxFlushed(t, c, conn), nil)
	boxWant(t, "the other box's history", boxHistory(t, two, "g", nil), nil)
	if s := two.Stats(); s.Mailboxes != 0 || s.HistoryBytes != 0 || len(one.Groups()) != 0 {
		t.Errorf("something crossed over: %+v", s)
	}
	if res := boxSend(t, two, "g", "x", nil); res.Seq != 1 {
		t.Errorf("Seq = %d, want 1", res.Seq)
	}
	a, _ := one.Position(t.Context(), "g")
	b, _ := two.Position(t.Context(), "g")
	if a.Epoch == b.Epoch {
		t.Error("two orders have one epoch")
	}
}

// A slow member elsewhere is that box's business: it is closed and counted there.
func TestBrokerDeliversToSlowMembersOfOtherBoxes(t *testing.T) {
	boxes, _ := boxCluster(t, 2, nil)
	opts := boxText
	opts.QueueBytes = 4
	slow, conn := boxMember(t, boxes[1], &opts, "g")
	conn.Stall()
	fast, fastConn := boxMember(t, boxes[1], nil, "g")
	for range 5 {
		if res := boxSend(t, boxes[0], "g", "four", nil); res != (wschannels.SendResult{ID: res.ID, Seq: res.Seq}) {
			t.Errorf("result %+v of a box without members", res)
		}
	}
	boxWant(t, "the fast one", boxFlushed(t, fast, fastConn), []string{"four", "four", "four", "four", "four"})
	if got := boxEnd(t, slow); got != wschannels.StatusSlowConsumer {
		t.Errorf("the slow one closed with %v, want 4004", got)
	}
	if a, b := boxes[0].Stats(), boxes[1].Stats(); a.SlowClosed != 0 || b.SlowClosed != 1 {
		t.Errorf("SlowClosed = %d and %d, want 0 and 1", a.SlowClosed, b.SlowClosed)
	}
}

// All nodes publish at once: there is one order, on all of them.
func TestBrokerOrdersAllNodes(t *testing.T) {
	boxes, _ := boxCluster(t, 3, nil)
	var received []func() []string
	for _, b := range boxes {
		for range 5 {
			c, conn := boxMember(t, b, &boxRoomy, "g")
			received = append(received, func() []string { return boxFlushed(t, c, conn) })
		}
	}
	var wg sync.WaitGroup
	for i, b := range boxes {
		for range 2 {
			wg.Go(func() {
				for n := range 100 {
					if res, err := b.GroupSend(t.Context(), "g", fmt.Sprint(i, n), boxSave); err != nil || res.Queued != 5 {
						t.Errorf("send: %+v, %v, want 5 queued", res, err)
					}
				}
			})
		}
	}
	wg.Wait()
	order := boxHistory(t, boxes[0], "g", nil)
	if len(order) != 600 {
		t.Fatalf("the history has %d messages of 600", len(order))
	}
	for i, got := range received {
		boxWant(t, fmt.Sprint("member ", i), got(), order)
	}
}

// A box that is shut down leaves the broker to the others.
func TestBrokerOutlivesTheBoxesThatWereGivenIt(t *testing.T) {
	boxes, broker := boxCluster(t, 2, nil)
	boxMember(t, boxes[0], nil, "g")
	c, conn := boxMember(t, boxes[1], nil, "g")
	boxSend(t, boxes[0], "g", "1", boxSave)
	handle, _ := boxes[0].Group("g")
	if err := boxes[0].Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := boxes[0].GroupSend(t.Context(), "g", "x", nil); !errors.Is(err, wschannels.ErrClosed) {
		t.Errorf("GroupSend of the box that was shut down: %v, want ErrClosed", err)
	}
	if ms := handle.History(nil); len(ms) != 0 {
		t.Errorf("its handle still returns history: %q", boxTexts(ms))
	}
	boxSend(t, boxes[1], "g", "2", boxSave)
	boxWant(t, "the other box's member", boxFlushed(t, c, conn), []string{"1", "2"})
	boxWant(t, "history", boxHistory(t, boxes[1], "g", nil), []string{"1", "2"})

	if err := broker.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := boxes[1].GroupSend(t.Context(), "g", "x", nil); !errors.Is(err, wschannels.ErrClosed) {
		t.Errorf("GroupSend over a closed broker: %v, want ErrClosed", err)
	}
	if _, err := boxes[1].Join(t.Context(), c, "other", nil); !errors.Is(err, wschannels.ErrClosed) || len(c.Groups()) != 1 {
		t.Errorf("Join over a closed broker: %v, in %q", err, c.Groups())
	}
}

// With a broker that others share, a box still limits its own groups.
func TestBoxMaxGroupsOverASharedBroker(t *testing.T) {
	broker, err := wschannels.NewMemoryBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := boxOf(t, &wschannels.Options{Broker: broker, MaxGroups: 1})
	c, _ := boxMember(t, b, nil, "a")
	if _, err := b.Join(t.Context(), c, "b", nil); !errors.Is(err, wschannels.ErrTooManyGroups) {
		t.Errorf("Join: %v, want ErrTooManyGroups", err)
	}
	boxJoin(t, b, c, "a", nil)
	if _, err := b.Leave(t.Context(), c, "a"); err != nil {
		t.Fatal(err)
	}
	boxJoin(t, b, c, "b", nil)
}

// boxLate is a broker whose deliveries lag behind its history, as those of one on the
// network do.
type boxLate struct {
	*wschannels.MemoryBroker
	to      wschannels.Subscriber
	waiting []*wschannels.Publication
}

func (l *boxLate) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	l.to = s
	return l.MemoryBroker.Subscribe(ctx, group, l)
}

func (l *boxLate) Unsubscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	return l.MemoryBroker.Unsubscribe(ctx, group, l)
}

func (l *boxLate) Deliver(p *wschannels.Publication) {
	copied := *p
	l.waiting = append(l.waiting, &copied)
}

func (l *boxLate) Appear(string, wschannels.PresenceEntry) {}
func (l *boxLate) Interrupted(string)                      {}
func (l *boxLate) Failed(error)                            {}

func (l *boxLate) release(n int) {
	for _, p := range l.waiting[:n] {
		l.to.Deliver(p)
	}
	l.waiting = l.waiting[n:]
}

// What was replayed from the history does not come again when its delivery arrives.
func TestJoinReplayOverABrokerThatDeliversLate(t *testing.T) {
	memory, err := wschannels.NewMemoryBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	late := &boxLate{MemoryBroker: memory}
	b := boxOf(t, &wschannels.Options{Broker: late})
	early, earlyConn := boxMember(t, b, &boxText, "g")
	for i := 1; i <= 4; i++ {
		boxSend(t, b, "g", fmt.Sprint(i), boxSave)
	}
	late.release(2)
	c, conn := boxMember(t, b, nil)
	if res := boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayLast: 3}); res.Replayed != 3 || res.Position.Seq != 4 {
		t.Errorf("Join = %+v, want 3 replayed at 4", res)
	}
	boxSend(t, b, "g", "5", nil)
	late.release(3)
	boxWant(t, "the new member", boxFlushed(t, c, conn), boxNumbers(2, 5))
	boxWant(t, "the old member", boxFlushed(t, early, earlyConn), boxNumbers(1, 5))
}

func TestMemoryBrokerRefusesOptionsItCannotHonour(t *testing.T) {
	for name, opts := range map[string]wschannels.MemoryBrokerOptions{
		"history": {History: wschannels.HistoryLimits{Len: -1}}, "total": {HistoryBytes: -1}, "groups": {MaxGroups: -1},
		"mailboxes": {MaxMailboxes: -1},
	} {
		if b, err := wschannels.NewMemoryBroker(&opts); !errors.Is(err, wschannels.ErrInvalidOption) || b != nil {
			t.Errorf("%s: %v, %v, want ErrInvalidOption", name, b, err)
		}
	}
}

// Groups that nobody needs are remembered for a while, in bounded memory, and one
// whose order starts anew says so by its epoch.
func TestMemoryBrokerForgetsOnlyGroupsThatNobodyNeeds(t *testing.T) {
	if testing.Short() {
		t.Skip("sends to 70,000 groups")
	}
	b := boxOf(t, nil)
	c, conn := boxMember(t, b, nil, "members")
	boxSend(t, b, "members", "1", nil)
	boxSend(t, b, "history", "1", boxSave)
	boxSend(t, b, "neither", "1", nil)
	before := make(map[string]wschannels.Position)
	for _, g := range []string{"members", "history", "neither"} {
		before[g], _ = b.Position(t.Context(), g)
	}
	for i := range 70_000 {
		boxSend(t, b, fmt.Sprint(i), nil, nil)
	}
	for g, at := range before {
		now, err := b.Position(t.Context(), g)
		if err != nil || (now == at) != (g != "neither") || now.Epoch == at.Epoch && now.Seq < at.Seq {
			t.Errorf("%s: %+v, was %+v (%v)", g, now, at, err)
		}
	}
	if res := boxSend(t, b, "members", "2", nil); res.Seq != 2 || res.Queued != 1 || res.ID == uuid.Nil {
		t.Errorf("send: %+v, want Seq 2 to 1 member", res)
	}
	boxWant(t, "received", boxFlushed(t, c, conn), []string{"1", "2"})
}

// boxSlowSubscribe is a broker whose engine takes its time to subscribe.
type boxSlowSubscribe struct {
	wschannels.Broker
	answer chan struct{}
}

func (b *boxSlowSubscribe) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	select {
	case <-b.answer:
		return b.Broker.Subscribe(ctx, group, s)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A join waits no longer than its context, also behind another join of the same group.
func TestJoinBehindASlowJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, err := wschannels.NewMemoryBroker(nil)
		if err != nil {
			t.Fatal(err)
		}
		broker := &boxSlowSubscribe{memory, make(chan struct{})}
		b := boxOf(t, &wschannels.Options{Broker: broker})
		first, _ := boxMember(t, b, nil)
		second, _ := boxMember(t, b, nil)
		joined := make(chan error, 1)
		go func() {
			_, err := b.Join(t.Context(), first, "g", nil)
			joined <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := b.Join(ctx, second, "g", nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Join = %v after %v, want the deadline after 1s", err, time.Since(start))
		}
		close(broker.answer)
		if err := <-joined; err != nil {
			t.Errorf("the first Join: %v", err)
		}
		if got := b.Groups()["g"]; got != 1 {
			t.Errorf("%d members, want 1", got)
		}
	})
}

// deafBroker is an engine that does not answer.
type deafBroker struct{ *wschannels.MemoryBroker }

func (deafBroker) Subscribe(ctx context.Context, _ string, _ wschannels.Subscriber) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// Whoever waits for an engine, or for another who does, waits no longer than the channel
// lives.
func TestJoinEndsWithItsChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := wschannels.NewMemoryBroker(nil)
		if err != nil {
			t.Fatal(err)
		}
		b := boxOf(t, &wschannels.Options{Broker: deafBroker{m}, Channel: boxText})
		joins := make(chan error, 2)
		var cs []*wschannels.Channel
		for range 2 {
			c, _ := boxMember(t, b, nil)
			cs = append(cs, c)
			go func() {
				_, err := b.Join(context.Background(), c, "g", nil)
				joins <- err
			}()
			synctest.Wait()
		}
		for _, i := range []int{1, 0} { // who waits for the other, then who waits for the engine
			cs[i].CloseNow()
			synctest.Wait()
			if len(joins) != 1 {
				t.Fatalf("join %d waits, though its channel has closed", i)
			}
			if err := <-joins; err != cs[i].Err() {
				t.Errorf("join %d: %v, want the channel's end", i, err)
			}
		}
		if n := len(b.Members("g")); n != 0 {
			t.Errorf("%d members, want none", n)
		}
	})
}
