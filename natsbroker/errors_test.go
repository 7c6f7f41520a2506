package natsbroker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
)

// Nothing was done, or it is not known: a box's context ends with a cause that says one of
// these, whatever the broker has done until then.
func TestAnErrorIsOfOneKind(t *testing.T) {
	e := newEngine(t)
	p := newProxy(t, e.addr)
	b := open(t, p.url(), &natsbroker.Options{Prefix: newPrefix(), ProbeInterval: time.Minute})
	awaitUp(t, b)
	p.mute()
	calls := map[string]func(ctx context.Context) error{
		"Request": func(ctx context.Context) error {
			_, err := b.Request(ctx, "a", []byte("x"))
			return err
		},
		"Position": func(ctx context.Context) error {
			_, err := b.Position(ctx, "g")
			return err
		},
		"TakeMail": func(ctx context.Context) error {
			_, err := b.TakeMail(ctx, "ann")
			return err
		},
		"Subscribe": func(ctx context.Context) error { return b.Subscribe(ctx, "g", nobody{}) },
		"Publish":   func(ctx context.Context) error { return b.Publish(ctx, message("x", true)) },
	}
	for name, call := range calls {
		for _, kind := range []error{wschannels.ErrUnavailable, wschannels.ErrUnknownOutcome} {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, fmt.Errorf("%w: no answer", kind))
			err := call(ctx)
			cancel()
			if errors.Is(err, wschannels.ErrUnavailable) == errors.Is(err, wschannels.ErrUnknownOutcome) {
				t.Errorf("%s: %v, want one of ErrUnavailable and ErrUnknownOutcome", name, err)
			}
		}
	}
}
