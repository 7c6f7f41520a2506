package wschannels_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
)

// A sluggishBroker takes its time, whatever ctx says.
type sluggishBroker struct {
	*scriptBroker
	took    time.Duration
	running atomic.Int32
}

func (b *sluggishBroker) take() {
	b.running.Add(1)
	defer b.running.Add(-1)
	time.Sleep(b.took)
}

func (b *sluggishBroker) Unsubscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	b.take()
	return b.scriptBroker.Unsubscribe(ctx, group, s)
}

func (b *sluggishBroker) History(ctx context.Context, group string, opts *wschannels.HistoryOptions) (wschannels.HistoryPage, error) {
	b.take()
	return b.scriptBroker.History(ctx, group, opts)
}

// The broker outlives the box, and may be closed when Shutdown has returned: no call of it
// runs any more.
func TestShutdownWaitsForCallsOfTheBroker(t *testing.T) {
	errLate := errors.New("late")
	for name, tt := range map[string]struct {
		patience, took time.Duration // of Shutdown
		begin          func(s *script)
		err            error
	}{
		"Unsubscribe": {time.Hour, time.Second, func(*script) {}, nil},
		"Unsubscribe, of a group that was left": {time.Hour, time.Second, func(s *script) {
			if _, err := s.box.Leave(s.t.Context(), s.c, "g"); err != nil {
				s.t.Fatal(err)
			}
		}, nil},
		"History": {time.Hour, time.Second, func(s *script) {
			s.hear("a", 1, 3)
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reports = nil
		}, nil},
		"until its context ends": {time.Second / 4, time.Second / 4, func(*script) {}, errLate},
	} {
		t.Run(name, func(t *testing.T) {
			var b *sluggishBroker
			runScriptWith(t, func(s *script, o *wschannels.Options) {
				b = &sluggishBroker{scriptBroker: s.scriptBroker, took: time.Second}
				o.Broker = b
			}, func(s *script) {
				tt.begin(s)
				ctx, cancel := context.WithTimeoutCause(s.t.Context(), tt.patience, errLate)
				defer cancel()
				start := time.Now()
				if err := s.box.Shutdown(ctx); err != tt.err {
					s.t.Errorf("Shutdown: %v, want %v", err, tt.err)
				}
				if d := time.Since(start); d != tt.took {
					s.t.Errorf("Shutdown took %v, want %v", d, tt.took)
				}
				if n := b.running.Load(); (n > 0) != (tt.err != nil) {
					s.t.Errorf("%d calls of the broker run when Shutdown has returned", n)
				}
				time.Sleep(time.Minute)
				if b.running.Load() != 0 {
					s.t.Error("a call of the broker has not returned")
				}
			})
		})
	}
}
