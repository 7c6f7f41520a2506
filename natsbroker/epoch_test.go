package natsbroker_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels/natsbroker"
)

// A node remembers the end of a group's order. Where the stream was lost and another node has
// published as much to the new one, that end would fit there, too.
func TestAnOrderThatWasLostIsNotContinued(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	a, b := open(t, e.url(), opts), open(t, e.url(), opts)
	awaitUp(t, a)
	awaitUp(t, b)
	old := message("old", true)
	for range 3 {
		publish(t, a, old)
	}
	js, err := jetstream.New(connect(t, e.url()))
	if err != nil {
		t.Fatal(err)
	}
	had := streamOf(t, e.url(), opts.Prefix+"-order").CachedInfo().State.Msgs
	if err := js.DeleteStream(t.Context(), opts.Prefix+"-order"); err != nil {
		t.Fatal(err)
	}
	first := message("new", true)
	for range had {
		publish(t, b, first)
	}
	next := message("next", true)
	publish(t, a, next)
	if next.Epoch != first.Epoch || next.Seq != had+1 {
		t.Errorf("the next one is %d of %q, want %d of %q; before it was %q", next.Seq, next.Epoch, had+1, first.Epoch, old.Epoch)
	}
}
