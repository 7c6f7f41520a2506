package brokertest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

var orderPromises = []promise{
	{"EveryNodeGetsEachMessageOnceAndSoDoesItsOrigin", testFanout},
	{"OneOrderForAllNodesAndTheHistoryUnderConcurrentPublishers", testConcurrentOrder},
	{"EachGroupHasAnOrderOfItsOwn", testGroupsAreApart},
	{"PlacesAreGivenAlsoIfNobodyListens", testNobodyListens},
	{"PositionIsTheSameOnAllNodesAndUpToDate", testPosition},
	{"WhoSubscribesAtFullSpeedMissesNothingThatIsNotInTheHistory", testSubscribeAtFullSpeed},
}

func testFanout(t *testing.T, s *suite) {
	nodes := s.nodes(t, 3)
	rs := append(recordAll(t, nodes, "g"), record(t, nodes[0], "g")) // two at the first
	var sent []*wschannels.Publication
	for i := range 30 {
		p := plain("g", fmt.Sprint(i))
		p.Save = i%2 == 0
		sent = append(sent, publish(t, nodes[i%3], p))
	}
	for _, r := range rs {
		r.await(t, "g", len(sent))
	}
	settle(t, nodes...)
	for i, r := range rs {
		what := fmt.Sprintf("subscriber %d", i)
		got := r.of("g")
		wantTexts(t, what, texts(got), numbers(0, len(sent)-1)...)
		inOrder(t, what, got)
		for k := range min(len(got), len(sent)) {
			wantSame(t, what, got[k].Message, sent[k].Message)
			if sent[k].Seq != got[k].Seq || sent[k].Epoch != got[k].Epoch {
				t.Errorf("%s: %q is at %q %d, and Publish said %q %d", what, got[k].Text(), got[k].Epoch, got[k].Seq, sent[k].Epoch, sent[k].Seq)
			}
		}
	}
}

func testConcurrentOrder(t *testing.T, s *suite) {
	const publishers, each = 9, 40
	nodes := s.nodes(t, 3)
	rs := recordAll(t, nodes, "g")
	at := make(map[uuid.UUID]uint64) // what Publish said
	var mu sync.Mutex
	together(publishers, func(k int) {
		for i := range each {
			p := saved("g", fmt.Sprintf("%d %d", k, i))
			if err := nodes[k%3].Publish(patient(t), p); err != nil {
				t.Errorf("Publish: %v", err)
				return
			}
			mu.Lock()
			at[p.ID] = p.Seq
			mu.Unlock()
		}
	})
	if t.Failed() {
		return
	}
	first := rs[0].await(t, "g", publishers*each)
	inOrder(t, "the first node", first)
	next := make([]int, publishers)
	for _, p := range first {
		var k, i int
		_, _ = fmt.Sscan(p.Text(), &k, &i)
		if i != next[k] {
			t.Fatalf("message %d of publisher %d comes where %d is next", i, k, next[k])
		}
		next[k]++
		if p.Seq != at[p.ID] {
			t.Errorf("%q comes with Seq %d, and Publish said %d", p.Text(), p.Seq, at[p.ID])
		}
	}
	for i, r := range rs[1:] {
		samePlaces(t, fmt.Sprintf("node %d", i+1), r.await(t, "g", len(first)), first)
	}
	if s.f.Lacks&History != 0 {
		return
	}
	for i, b := range nodes {
		var history []wschannels.Publication
		for _, m := range page(t, b, "g", nil).Messages {
			history = append(history, wschannels.Publication{Message: m})
		}
		samePlaces(t, fmt.Sprintf("the history at node %d", i), history, first)
	}
}

// samePlaces checks that got is want, in that order.
func samePlaces(t *testing.T, what string, got, want []wschannels.Publication) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d messages, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i].ID != want[i].ID || got[i].Seq != want[i].Seq {
			t.Fatalf("%s: message %d is %q at %d, want %q at %d", what, i+1, got[i].Text(), got[i].Seq, want[i].Text(), want[i].Seq)
		}
	}
}

func testGroupsAreApart(t *testing.T, s *suite) {
	const groups, each = 8, 15
	nodes := s.nodes(t, 2)
	var names []string
	for i := range groups {
		names = append(names, fmt.Sprint("group ", i))
	}
	rs := recordAll(t, nodes, names...)
	together(groups, func(k int) {
		for i := range each {
			if err := nodes[(k+i)%2].Publish(patient(t), plain(names[k], fmt.Sprint(i))); err != nil {
				t.Errorf("Publish: %v", err)
			}
		}
	})
	if t.Failed() {
		return
	}
	for _, name := range names {
		for _, r := range rs {
			got := r.await(t, name, each)
			inOrder(t, name, got)
			wantTexts(t, name, texts(got), numbers(0, each-1)...)
		}
	}
}

func testNobodyListens(t *testing.T, s *suite) {
	nodes := s.nodes(t, 2)
	before := position(t, nodes[0], "g")
	if before.Seq != 0 || before.Epoch == "" {
		t.Errorf("the position before the first message is %+v, want Seq 0 of an epoch", before)
	}
	for i := range 3 {
		p := publish(t, nodes[i%2], plain("g", "x"))
		if p.Seq != uint64(i+1) || p.Epoch != before.Epoch {
			t.Errorf("message %d has Seq %d of %q, want %d of %q", i+1, p.Seq, p.Epoch, i+1, before.Epoch)
		}
	}
	r := record(t, nodes[1], "g")
	publish(t, nodes[0], plain("g", "now"))
	if got := r.await(t, "g", 1); got[0].Text() != "now" || got[0].Seq != 4 || got[0].Epoch != before.Epoch {
		t.Errorf("the first that is heard is %q with Seq %d of %q, want %q with 4 of %q", got[0].Text(), got[0].Seq, got[0].Epoch, "now", before.Epoch)
	}
}

func testPosition(t *testing.T, s *suite) {
	nodes := s.nodes(t, 3)
	for i := range 12 {
		p := publish(t, nodes[i%3], plain("g", "x"))
		for k, b := range nodes {
			if at := position(t, b, "g"); at != (wschannels.Position{Epoch: p.Epoch, Seq: uint64(i + 1)}) {
				t.Fatalf("after message %d of %q the position at node %d is %+v", i+1, p.Epoch, k, at)
			}
		}
	}
}

func testSubscribeAtFullSpeed(t *testing.T, s *suite) {
	s.needs(t, History)
	const total, joins = 600, 15
	nodes := s.nodes(t, 3)
	var busy sync.WaitGroup
	busy.Go(func() {
		for i := range total {
			if err := nodes[0].Publish(patient(t), saved("g", fmt.Sprint(i))); err != nil {
				t.Errorf("Publish: %v", err)
				return
			}
		}
	})
	var rs []*recorder
	var pages []wschannels.HistoryPage
	for i := range joins { // each at another moment
		eventually(t, "the publisher goes on", func() bool { return position(t, nodes[0], "g").Seq >= uint64(i*total/joins/2) })
		rs = append(rs, record(t, nodes[i%3], "g"))
		pages = append(pages, page(t, nodes[i%3], "g", nil))
	}
	busy.Wait()
	if t.Failed() {
		return
	}
	last := position(t, nodes[0], "g").Seq
	for i, r := range rs {
		next := uint64(1)
		for _, m := range pages[i].Messages {
			if m.Seq != next {
				t.Fatalf("join %d: the history has %d where %d is next", i, m.Seq, next)
			}
			next++
		}
		if next != pages[i].Position.Seq+1 {
			t.Fatalf("join %d: the history ends before %d, and is said to be complete at %d", i, next, pages[i].Position.Seq)
		}
		eventually(t, "the last message", func() bool {
			got := r.of("g")
			return next > last || len(got) > 0 && got[len(got)-1].Seq == last
		})
		for _, p := range r.of("g") {
			if p.Seq > next {
				t.Fatalf("join %d: %d comes where %d is next", i, p.Seq, next)
			}
			next = max(next, p.Seq+1)
		}
	}
}

// together calls f(0) to f(n-1) at once, and returns when all have returned.
func together(n int, f func(k int)) {
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() { f(k) })
	}
	wg.Wait()
}
