package brokertest

import (
	"context"
	"testing"
	"time"
)

// patience is how long a test waits for what must come: so long that it decides nothing.
var patience = time.Minute

// eventually waits until ok, and fails the test if that takes too long. state, if not nil,
// says what there is instead.
func eventually(t *testing.T, what string, ok func() bool, state ...func() any) {
	t.Helper()
	if !within(patience, ok) {
		for _, s := range state {
			t.Logf("there is: %v", s())
		}
		t.Fatalf("never: %s", what)
	}
}

// within waits until ok, for at most d, and reports whether it came to that.
func within(d time.Duration, ok func() bool) bool {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(d); !ok(); <-again.C {
		if time.Now().After(deadline) {
			return ok()
		}
	}
	return true
}

// patient returns a context for what must be done.
func patient(t *testing.T) context.Context {
	return lasting(t, patience)
}

// lasting returns a context that ends after d, or with the test.
func lasting(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// do fails the test if f does.
func do(t *testing.T, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// passed waits until the clock says that at has passed.
func passed(t *testing.T, at time.Time) {
	t.Helper()
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	<-timer.C
}
