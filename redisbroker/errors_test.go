package redisbroker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// Nothing was done, or it is not known: a box's context ends with a cause that says one of
// these, whatever the broker has done until then.
func TestAnErrorIsOfOneKind(t *testing.T) {
	s := redistest.Start(t)
	calls := map[string]func(ctx context.Context) error{}
	b := open(t, s.URL(), nil)
	calls["Request"] = func(ctx context.Context) error {
		_, err := b.Request(ctx, "a", []byte("x"))
		return err
	}
	calls["Subscribe"] = func(ctx context.Context) error { return b.Subscribe(ctx, "g", new(recorder)) }
	calls["Position"] = func(ctx context.Context) error {
		_, err := b.Position(ctx, "g")
		return err
	}
	calls["Publish"] = func(ctx context.Context) error { return b.Publish(ctx, message("g", "x")) }
	publish(t, b, message("g", "first")) // it is connected
	s.Freeze()
	defer s.Thaw()
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
