package redisbroker_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// BenchmarkPublish is a saved message of 256 bytes, published, received and delivered.
func BenchmarkPublish(b *testing.B) {
	s := redistest.Start(b)
	for _, publishers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
			s.CLI("FLUSHALL")
			broker, n := open(b, s.URL(), nil), new(counter)
			for i := range publishers {
				subscribe(b, broker, n, fmt.Sprint(i))
			}
			ctx := within(b, redistest.Patience)
			var left atomic.Int64
			left.Store(int64(b.N))
			data := strings.Repeat("x", 256)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range publishers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := broker.Publish(ctx, saved(fmt.Sprint(i), data)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			until(b, "delivery", func() bool { return n.Load() >= int64(b.N) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

type counter struct {
	atomic.Int64
	recorder
}

func (c *counter) Deliver(*wschannels.Publication) { c.Add(1) }
