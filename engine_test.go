package wschannels_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/wschannels/wschannels"
)

// An engineBroker publishes as it is told to.
type engineBroker struct {
	*MemoryBroker
	publish func(ctx context.Context, p *Publication) error
}

func (b engineBroker) Publish(ctx context.Context, p *Publication) error { return b.publish(ctx, p) }

func engineBox(t *testing.T, publish func(ctx context.Context, p *Publication) error) *ChannelBox {
	memory, err := NewMemoryBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	box, err := New(&Options{Broker: engineBroker{memory, publish}, BrokerTimeout: 16 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Shutdown(context.Background()) })
	return box
}

// A send whose context never ends is bounded all the same, whatever others began before it.
func TestASendWithoutAnEndTakesNoLongerThanBrokerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := engineBox(t, func(ctx context.Context, _ *Publication) error {
			if end, ok := ctx.Deadline(); !ok || time.Until(end) > 16*time.Second {
				t.Errorf("it ends at %v, %v", end, ok)
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		for range 40 {
			go func() {
				start := time.Now()
				_, err := box.GroupSend(context.Background(), "g", "x", nil)
				if !errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), "BrokerTimeout") {
					t.Errorf("GroupSend: %v", err)
				}
				if d := time.Since(start); d < 15*time.Second || d > 16*time.Second {
					t.Errorf("it took %v", d)
				}
			}()
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(16 * time.Second)
	})
}

// The broker gets the values of the caller's context, and contexts that it makes of the one it
// gets are of the cheap kind, which ends without a goroutine, and have its cause.
func TestASendWithoutAnEndHasTheValuesOfItsContext(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		box := engineBox(t, func(ctx context.Context, p *Publication) error {
			if v := ctx.Value(key{}); v != p.Group {
				t.Errorf("the value is %v", v)
			}
			before := runtime.NumGoroutine()
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			if n := runtime.NumGoroutine() - before; n != 0 {
				t.Errorf("%d goroutines more", n)
			}
			<-inner.Done()
			return context.Cause(inner)
		})
		for _, group := range []string{"a", "b"} {
			_, err := box.GroupSend(context.WithValue(context.Background(), key{}, group), group, "x", nil)
			if !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("GroupSend: %v", err)
			}
		}
	})
}
