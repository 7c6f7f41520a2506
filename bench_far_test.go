package wschannels_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

// A benchEngine gives messages their order and hands them to all nodes, from a goroutine
// for each: what a distant broker does, without the distance.
type benchEngine struct {
	mu    sync.Mutex // guards what follows
	seqs  map[string]uint64
	nodes []*benchNode
}

type benchNode struct {
	engine *benchEngine
	to     wschannels.Subscriber
	in     chan wschannels.Publication
}

func (n *benchNode) Publish(_ context.Context, p *wschannels.Publication) error {
	e := n.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seqs[p.Group]++
	p.Epoch, p.Seq = "e", e.seqs[p.Group]
	for _, to := range e.nodes {
		to.in <- *p
	}
	return nil
}

func (n *benchNode) Subscribe(_ context.Context, _ string, s wschannels.Subscriber) error {
	n.engine.mu.Lock()
	defer n.engine.mu.Unlock()
	n.to = s
	return nil
}

func (n *benchNode) Unsubscribe(context.Context, string, wschannels.Subscriber) error { return nil }
func (n *benchNode) Close(context.Context) error                                      { return nil }

func (n *benchNode) Position(_ context.Context, group string) (wschannels.Position, error) {
	n.engine.mu.Lock()
	defer n.engine.mu.Unlock()
	return wschannels.Position{Epoch: "e", Seq: n.engine.seqs[group]}, nil
}

func (n *benchNode) deliver() {
	for p := range n.in {
		n.to.Deliver(&p)
	}
}

// BenchmarkGroupSendOverABroker: three nodes, each with a member in each group; one of them
// sends.
func BenchmarkGroupSendOverABroker(b *testing.B) {
	for _, shape := range []struct{ groups, goroutines int }{{1, 1}, {1, 64}, {100, 64}} {
		b.Run(fmt.Sprintf("groups=%d/goroutines=%d", shape.groups, shape.goroutines), func(b *testing.B) {
			var out atomic.Uint64
			e := &benchEngine{seqs: make(map[string]uint64)}
			var first *wschannels.ChannelBox
			groups := make([]string, shape.groups)
			for i := range groups {
				groups[i] = fmt.Sprintf("group %d", i)
			}
			for range 3 {
				n := &benchNode{engine: e, in: make(chan wschannels.Publication, 128)}
				e.nodes = append(e.nodes, n)
				box, err := wschannels.New(&wschannels.Options{Broker: n})
				if err != nil {
					b.Fatal(err)
				}
				if first == nil {
					first = box
				}
				for _, g := range groups {
					c := benchChannel(b, nil, &out)
					if err := box.Add(c); err != nil {
						b.Fatal(err)
					}
					if _, err := box.Join(b.Context(), c, g, nil); err != nil {
						b.Fatal(err)
					}
				}
				go n.deliver()
				defer close(n.in)
				defer box.Shutdown(context.Background())
			}
			payload := string(make([]byte, 128))
			b.ReportAllocs()
			b.ResetTimer()
			var next atomic.Int64
			var all sync.WaitGroup
			for range shape.goroutines {
				all.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if _, err := first.GroupSend(b.Context(), groups[i%int64(len(groups))], payload, nil); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			for out.Load() < 3*uint64(b.N) {
				<-time.After(time.Millisecond)
			}
		})
	}
}
