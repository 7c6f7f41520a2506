package natsbroker_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
)

// BenchmarkPublish is publishing from one node and delivery on another, until the last is
// delivered, beside a loop that does the same with the client alone: a publish of core NATS
// that the server has confirmed, and one of JetStream, whose stream republishes it.
func BenchmarkPublish(b *testing.B) {
	e := newEngine(b)
	data := make([]byte, 128)
	for _, publishers := range []int{1, 64} {
		// loop calls f from as many goroutines, and then waits for the last delivery.
		loop := func(b *testing.B, delivered *atomic.Int64, f func() error) {
			var wg sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			for range publishers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := f(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			eventually(b, "all are delivered", func() error {
				if n := delivered.Load(); n < int64(b.N) {
					return fmt.Errorf("%d of %d are", n, b.N)
				}
				return nil
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		}
		b.Run(fmt.Sprintf("core/publishers=%d", publishers), func(b *testing.B) {
			from, to := connect(b, e.url()), connect(b, e.url())
			var delivered atomic.Int64
			if _, err := to.Subscribe("bare", func(m *nats.Msg) { delivered.Add(1); _ = m.Respond(nil) }); err != nil {
				b.Fatal(err)
			}
			flush(b, to)
			loop(b, &delivered, func() error { _, err := from.Request("bare", data, time.Minute); return err })
		})
		b.Run(fmt.Sprintf("jetstream/publishers=%d", publishers), func(b *testing.B) {
			from, to := connect(b, e.url()), connect(b, e.url())
			js, err := jetstream.New(from)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{
				Name: "bare", Subjects: []string{"bares"}, MaxMsgsPerSubject: 8192,
				RePublish: &jetstream.RePublish{Source: "bares", Destination: "bared"},
			}); err != nil {
				b.Fatal(err)
			}
			var delivered atomic.Int64
			if _, err := to.Subscribe("bared", func(*nats.Msg) { delivered.Add(1) }); err != nil {
				b.Fatal(err)
			}
			flush(b, to)
			loop(b, &delivered, func() error { _, err := js.Publish(context.Background(), "bares", data); return err })
		})
		for _, save := range []bool{false, true} {
			b.Run(fmt.Sprintf("broker/publishers=%d/save=%v", publishers, save), func(b *testing.B) {
				opts := &natsbroker.Options{Prefix: newPrefix()}
				from, to := open(b, e.url(), opts), open(b, e.url(), opts)
				awaitUp(b, from)
				awaitUp(b, to)
				counts := &counter{}
				if err := to.Subscribe(context.Background(), "room", counts); err != nil {
					b.Fatal(err)
				}
				loop(b, &counts.delivered, func() error {
					return from.Publish(context.Background(), &wschannels.Publication{Save: save, Message: wschannels.Message{
						ID: uuid.New(), Group: "room", Created: time.Now(), Type: wschannels.Bytes, Data: data,
					}})
				})
			})
		}
	}
}

// BenchmarkSubscribe is joining one group after another.
func BenchmarkSubscribe(b *testing.B) {
	e := newEngine(b)
	broker := open(b, e.url(), &natsbroker.Options{Prefix: newPrefix()})
	awaitUp(b, broker)
	counts := &counter{}
	b.ResetTimer()
	for i := range b.N {
		if err := broker.Subscribe(context.Background(), fmt.Sprint(i), counts); err != nil {
			b.Fatal(err)
		}
	}
}

// A counter counts what it is told.
type counter struct{ delivered, interrupted, failed atomic.Int64 }

func (c *counter) Deliver(*wschannels.Publication)         { c.delivered.Add(1) }
func (c *counter) Appear(string, wschannels.PresenceEntry) {}
func (c *counter) Interrupted(string)                      { c.interrupted.Add(1) }
func (c *counter) Failed(error)                            { c.failed.Add(1) }

// awaitUp waits until b can be used.
func awaitUp(t testing.TB, b *natsbroker.Broker) {
	t.Helper()
	eventually(t, "the broker is up", func() error {
		_, err := b.Position(context.Background(), "up")
		return err
	})
}

func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; <-time.After(5 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s: %v", what, err)
		}
	}
}
