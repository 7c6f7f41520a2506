package brokertest

import (
	"testing"

	"github.com/wschannels/wschannels"
)

var slowPromises = []promise{
	{"ANodeThatIsSlowToTakeMessagesHoldsUpNoOther", testSlowNode},
}

func testSlowNode(t *testing.T, s *suite) {
	need(t, "Node", s.apart()) // in one broker, all subscribers are one node's
	const n = 300
	nodes := s.nodes(t, 3)
	others := recordAll(t, nodes[:2], "g")
	slow := newRecorder(t)
	free := make(chan struct{})
	slow.hook = func(*wschannels.Publication) { <-free }
	slow.subscribe(t, nodes[2], "g")
	released := false
	defer func() {
		if !released {
			close(free)
		}
	}()
	for i := range n {
		publish(t, nodes[i%2], saved("g", "x"))
	}
	for _, r := range others {
		inOrder(t, "another node", r.await(t, "g", n))
	}
	if s.f.Lacks&History == 0 {
		if got := len(page(t, nodes[2], "g", nil).Messages); got != n {
			t.Errorf("the slow node reads %d messages, want %d", got, n)
		}
	}
	close(free)
	released = true
	inOrder(t, "the slow node", slow.await(t, "g", n))
}
