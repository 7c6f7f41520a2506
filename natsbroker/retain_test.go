package natsbroker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
)

func TestAGroupThatNobodyUsesIsForgottenAfterRetain(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix(), Retain: time.Second}
	b := open(t, e.url(), opts)
	awaitUp(t, b)
	first := message("first", true)
	publish(t, b, first)
	stream := streamOf(t, e.url(), opts.Prefix+"-order")
	eventually(t, "it is forgotten", func() error {
		info, err := stream.Info(context.Background())
		if err == nil && info.State.Msgs > 0 {
			err = fmt.Errorf("%d messages", info.State.Msgs)
		}
		return err
	})
	at, err := b.Position(context.Background(), "room")
	if err != nil || at.Seq != 0 || at.Epoch == first.Epoch {
		t.Errorf("position %+v, %v, want 0 of another epoch than %q", at, err, first.Epoch)
	}
	page, err := b.History(context.Background(), "room", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: first.Epoch, Seq: 1}})
	if err != nil || page.Complete || len(page.Messages) > 0 {
		t.Errorf("history %+v, %v, want none, and not complete", page, err)
	}
}

func TestAGroupWhosePositionIsAskedForKeepsItsOrderLongerThanRetain(t *testing.T) {
	e := newEngine(t)
	b := open(t, e.url(), &natsbroker.Options{Prefix: newPrefix(), Retain: 2 * time.Second})
	awaitUp(t, b)
	p := message("first", false)
	publish(t, b, p)
	for start := time.Now(); time.Since(start) < 5*time.Second; <-time.After(100 * time.Millisecond) {
		at, err := b.Position(context.Background(), "room")
		if err != nil || at != (wschannels.Position{Epoch: p.Epoch, Seq: 1}) {
			t.Fatalf("after %v the position is %+v, %v", time.Since(start), at, err)
		}
	}
}

func TestStreamsAreAsOptionsSay(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix(), Storage: nats.MemoryStorage, Retain: time.Hour}
	b := open(t, e.url(), opts)
	awaitUp(t, b)
	config := streamOf(t, e.url(), opts.Prefix+"-order").CachedInfo().Config
	if config.Storage != jetstream.MemoryStorage || config.MaxAge != time.Hour || config.Replicas != 1 {
		t.Errorf("the stream is %+v", config)
	}
}

func TestABrokerLeavesAConnectionOpenThatItWasGiven(t *testing.T) {
	nc := connect(t, newEngine(t).url())
	b, err := natsbroker.New(nc, &natsbroker.Options{Prefix: newPrefix()})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, message("x", true))
	closeBroker(t, b)
	flush(t, nc)
	if n := nc.NumSubscriptions(); n > 1 { // one is the client's own, for answers
		t.Errorf("%d subscriptions are left", n)
	}
}
