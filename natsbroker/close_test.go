package natsbroker_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
)

type nobody struct{}

func (nobody) Deliver(*wschannels.Publication)         {}
func (nobody) Appear(string, wschannels.PresenceEntry) {}
func (nobody) Interrupted(string)                      {}
func (nobody) Failed(error)                            {}

// As boxes do, whose last members leave while all is shut down.
func TestABrokerIsClosedWhileSubscriptionsComeAndGo(t *testing.T) {
	e := newEngine(t)
	for range 5 {
		b := open(t, e.url(), &natsbroker.Options{Prefix: newPrefix()})
		awaitUp(t, b)
		const workers, each = 8, 200
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				for i := range each {
					if err := b.Subscribe(context.Background(), fmt.Sprint(w, " ", i), nobody{}); err != nil {
						t.Errorf("Subscribe: %v", err)
					}
				}
			})
		}
		all.Wait()
		half := make(chan struct{}, workers)
		for w := range workers {
			all.Go(func() {
				for i := range each {
					if i == each/2 {
						half <- struct{}{}
					}
					err := b.Unsubscribe(context.Background(), fmt.Sprint(w, " ", i), nobody{})
					if err != nil && !errors.Is(err, wschannels.ErrClosed) {
						t.Errorf("Unsubscribe: %v", err)
					}
				}
			})
		}
		<-half
		closeBroker(t, b)
		all.Wait()
	}
}

// Calls that begin while the broker is being closed neither panic nor leave a subscription
// on a connection that is not the broker's.
func TestCallsDuringCloseNeitherPanicNorSubscribe(t *testing.T) {
	e := newEngine(t)
	nc := connect(t, e.url())
	before := nc.NumSubscriptions()
	for range 100 {
		b, err := natsbroker.New(nc, &natsbroker.Options{Prefix: "closing"})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is up", func() error { _, err := b.Position(t.Context(), "x"); return err })
		var wg sync.WaitGroup
		var calls atomic.Int64
		stop, s := make(chan struct{}), nobody{}
		for g := range 8 {
			wg.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					calls.Add(1)
					if group := fmt.Sprint(g, " ", k); g%2 == 0 {
						_ = b.Unsubscribe(t.Context(), group, s)
					} else {
						_ = b.Subscribe(t.Context(), group, s)
					}
				}
			})
		}
		eventually(t, "calls", func() error {
			if calls.Load() < 1000 {
				return errors.New("few")
			}
			return nil
		})
		closeBroker(t, b)
		for n := calls.Load(); calls.Load() < n+1000; { // and go on
			runtime.Gosched()
		}
		close(stop)
		wg.Wait()
		if n := nc.NumSubscriptions(); n > before+1 { // the connection's own, for answers
			t.Fatalf("%d subscriptions, %d before", n, before)
		}
	}
}
