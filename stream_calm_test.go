package wschannels_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	. "github.com/wschannels/wschannels"
)

// calmMember returns a broker's script, its box, and the peer of a member of groups there.
func calmMember(t *testing.T, groups ...string) (*scriptBroker, *ChannelBox, *wirePeer) {
	t.Helper()
	b := &scriptBroker{at: Position{Epoch: "e"}}
	joined := make(chan struct{})
	box := wireBox(t, &Options{Broker: b})
	srv := wireServe(t, box.HandlerWith(&ChannelOptions{PayloadType: Text}, func(ctx context.Context, c *Channel) error {
		for _, g := range groups {
			boxJoin(t, box, c, g, nil)
		}
		close(joined)
		<-ctx.Done()
		return nil
	}), box)
	peer := wireDial(t, srv)
	<-joined
	return b, box, peer
}

// What comes from another node now and then has been written when it has been delivered, and
// what comes all at once goes out in the same order.
func TestWhatComesFromAnotherNodeIsWrittenInOrder(t *testing.T) {
	b, box, peer := calmMember(t, "g")
	const calm, messages = 20, 1000
	for i := range messages {
		if i < calm {
			last := time.Now()
			boxEventually(t, "a pause", func() bool { return time.Since(last) > 2*time.Millisecond })
		}
		b.to.Deliver(&Publication{
			Message: Message{Group: "g", Seq: uint64(i + 1), Type: Text, Data: fmt.Append(nil, i), Created: time.Now()}, Epoch: "e",
		})
		if n := box.Stats().Sent; i < calm && n != uint64(i+1) && runtime.GOOS == "linux" {
			t.Errorf("message %d: %d are written", i, n)
		}
	}
	for i := range messages {
		if _, p, err := peer.next(); err != nil || string(p) != fmt.Sprint(i) {
			t.Fatalf("message %d: %s, %v", i, p, err)
		}
	}
}

// Two groups of one member come at the same time, after a pause each time: whoever delivers
// the one may find the member's queue being written by the other.
func TestGroupsOfOneMemberAreDeliveredAtTheSameTime(t *testing.T) {
	b, _, peer := calmMember(t, "g", "h")
	const rounds = 100
	for i := range rounds {
		var both sync.WaitGroup
		for _, group := range []string{"g", "h"} {
			both.Go(func() {
				b.to.Deliver(&Publication{
					Message: Message{Group: group, Seq: uint64(i + 1), Type: Text, Data: fmt.Append([]byte(group), i)}, Epoch: "e",
				})
			})
		}
		both.Wait()
		got := make(map[string]bool)
		for range 2 {
			_, p, err := peer.next()
			if err != nil {
				t.Fatal(err)
			}
			got[string(p)] = true
		}
		if !got[fmt.Sprint("g", i)] || !got[fmt.Sprint("h", i)] {
			t.Fatalf("round %d: %v", i, got)
		}
	}
}
