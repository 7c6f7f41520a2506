package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

var requestPromises = []promise{
	{"ARequestReachesEveryListenerOnceAndOneAnswerComesBack", testRequest},
	{"ARequestToNobodySaysSoAtOnce", testNobody},
	{"AfterUnlistenNothingMoreIsHeard", testUnlisten},
	{"ARequestThatFindsItsListenerGoneIsNobodys", testListenerLeaves},
	{"ListeningTwiceIsListeningOnce", testListenTwice},
	{"ASilentListenerIsAnUnknownOutcomeWhenTheContextEnds", testSilence},
	{"AnAnswerMayComeLaterAndFromAnywhere", testLateAnswer},
	{"RequestsOneAfterAnotherArriveInThatOrder", testRequestOrder},
	{"ConcurrentRequestsGetTheirOwnAnswers", testConcurrentRequests},
	{"RequestsAndAnswersOfEveryByteAndSizeArriveAsTheyWere", testRequestData},
}

func testRequest(t *testing.T, s *suite) {
	s.needs(t, Requests)
	nodes := s.nodes(t, 3)
	var ls []*listener
	for i := range 4 { // two at the first
		l := newListener(func(_ string, data []byte) []byte { return fmt.Appendf(nil, "%d %s", i, data) })
		listen(t, nodes[i%3], "a", l)
		ls = append(ls, l)
	}
	for i, b := range nodes { // a listener's node among them
		text := fmt.Sprint("request ", i)
		if got := request(t, b, "a", text); len(got) < 2 || got[2:] != text || got[0] < '0' || got[0] > '3' {
			t.Errorf("the answer is %q, want one to %q", got, text)
		}
	}
	for i, l := range ls {
		eventually(t, fmt.Sprint("listener ", i, " hears all"), func() bool { return len(l.heard()) >= 3 })
	}
	settle(t, nodes...)
	for i, l := range ls {
		heard := l.heard() // by senders of three nodes: none has to be the first
		slices.Sort(heard)
		wantTexts(t, fmt.Sprint("listener ", i), heard, "a: request 0", "a: request 1", "a: request 2")
	}
}

func testNobody(t *testing.T, s *suite) {
	s.needs(t, Requests)
	nodes := s.nodes(t, 2)
	l := newListener(func(string, []byte) []byte { return nil })
	listen(t, nodes[0], "somebody", l)
	for _, b := range nodes {
		// With a patient context: one that waits for it says something else.
		if _, err := b.(wschannels.RequestBroker).Request(patient(t), "nobody", []byte("x")); !errors.Is(err, wschannels.ErrNobody) {
			t.Errorf("Request: %v, want ErrNobody", err)
		}
	}
	wantTexts(t, "somebody else", l.heard())
}

func testUnlisten(t *testing.T, s *suite) {
	s.needs(t, Requests)
	nodes := s.nodes(t, 3)
	goes, stays := newListener(echo), newListener(echo)
	listen(t, nodes[0], "a", goes)
	listen(t, nodes[0], "a", stays)
	listen(t, nodes[0], "b", goes)
	unlisten(t, nodes[0], "a", goes)
	unlisten(t, nodes[0], "a", goes)
	unlisten(t, nodes[1], "a", newListener(echo)) // it never listened
	request(t, nodes[1], "a", "1")
	request(t, nodes[2], "b", "2")
	unlisten(t, nodes[0], "a", stays)
	wantNobody(t, nodes[1], "a")
	settle(t, nodes...)
	wantTexts(t, "who went first", goes.heard(), "b: 2")
	if got := stays.heard(); len(got) == 0 || got[0] != "a: 1" {
		t.Errorf("who stayed heard %q, want the request", got)
	}
	listen(t, nodes[0], "a", goes) // and back
	request(t, nodes[1], "a", "3")
	wantTexts(t, "who came back", goes.heard(), "b: 2", "a: 3")
}

// Whoever asks for one who moves from node to node all the time gets an answer, or hears
// that nobody is there: of a request that nobody has heard, and of no other.
func testListenerLeaves(t *testing.T, s *suite) {
	s.needs(t, Requests)
	const moves, askers = 200, 8
	nodes := s.nodes(t, 3)
	ls := []*listener{newListener(echo), newListener(echo)}
	var mu sync.Mutex // guards nobodys
	nobodys := make(map[string]bool)
	gone := make(chan struct{})
	var all sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(gone)
		all.Wait()
	})
	defer end()
	for k := range askers {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-gone:
					return
				default:
				}
				text := fmt.Sprint(k, " ", i)
				switch got, err := nodes[k%3].(wschannels.RequestBroker).Request(patient(t), "a", []byte(text)); {
				case errors.Is(err, wschannels.ErrNobody):
					mu.Lock()
					nobodys[text] = true
					mu.Unlock()
				case err != nil || string(got) != text:
					t.Errorf("the answer to %q is %q, %v, want the same or ErrNobody", text, got, err)
					return
				}
			}
		})
	}
	listen(t, nodes[2], "a", ls[1])
	for i := range moves {
		from, to := 1-i%2, i%2
		if i%4 == 0 {
			unlisten(t, nodes[1+from], "a", ls[from])
		}
		listen(t, nodes[1+to], "a", ls[to])
		request(t, nodes[0], "a", "is anybody here?") // so that the others have time
		unlisten(t, nodes[1+from], "a", ls[from])
	}
	end()
	settle(t, nodes...)
	for _, text := range slices.Concat(ls[0].heard(), ls[1].heard()) {
		if _, text, _ = strings.Cut(text, ": "); nobodys[text] {
			t.Errorf("%q is heard, and to who sent it nobody is there", text)
		}
	}
}

func testListenTwice(t *testing.T, s *suite) {
	s.needs(t, Requests)
	nodes := s.nodes(t, 2)
	l := newListener(echo)
	for range 3 {
		listen(t, nodes[0], "a", l)
	}
	request(t, nodes[1], "a", "1")
	request(t, nodes[0], "a", "2")
	settle(t, nodes...)
	wantTexts(t, "who listened three times", l.heard(), "a: 1", "a: 2")
	unlisten(t, nodes[0], "a", l)
	wantNobody(t, nodes[1], "a")
}

func testSilence(t *testing.T, s *suite) {
	s.needs(t, Requests)
	nodes := s.nodes(t, 2)
	l := newListener(nil)
	listen(t, nodes[1], "a", l)
	ctx := lasting(t, 200*time.Millisecond)
	if _, err := nodes[0].(wschannels.RequestBroker).Request(ctx, "a", []byte("x")); !errors.Is(err, wschannels.ErrUnknownOutcome) {
		t.Errorf("Request: %v, want ErrUnknownOutcome", err)
	} else if ctx.Err() == nil {
		t.Errorf("Request: %v, before its context has ended", err)
	}
	eventually(t, "the request is heard", func() bool { return len(l.heard()) == 1 })
	l.answer(0, []byte("too late"))
	l.then(echo)
	if got := request(t, nodes[0], "a", "y"); got != "y" {
		t.Errorf("the answer after a late one is %q, want its own", got)
	}
}

func testLateAnswer(t *testing.T, s *suite) {
	s.needs(t, Requests)
	nodes := s.nodes(t, 3)
	quick, silent := newListener(nil), newListener(nil)
	listen(t, nodes[1], "a", quick)
	listen(t, nodes[2], "a", silent)
	got := make(chan string)
	go func() {
		answer, err := nodes[0].(wschannels.RequestBroker).Request(patient(t), "a", []byte("x"))
		got <- fmt.Sprint(string(answer), " ", err)
	}()
	eventually(t, "both hear it", func() bool { return len(quick.heard()) == 1 && len(silent.heard()) == 1 })
	go quick.answer(0, []byte("first"))
	if answer := <-got; answer != "first <nil>" {
		t.Errorf("the answer is %q, want the first", answer)
	}
	silent.answer(0, []byte("second")) // to nobody
}

func testRequestOrder(t *testing.T, s *suite) {
	s.needs(t, Requests)
	const n = 50
	nodes := s.nodes(t, 2)
	l := newListener(nil) // each request ends without an answer, before the next
	listen(t, nodes[1], "a", l)
	var want []string
	for i := range n {
		ctx, cancel := context.WithCancel(patient(t))
		ended := make(chan error)
		go func() {
			_, err := nodes[0].(wschannels.RequestBroker).Request(ctx, "a", fmt.Append(nil, i))
			ended <- err
		}()
		eventually(t, "the request is heard", func() bool { return len(l.heard()) >= i+1 })
		cancel()
		if err := <-ended; !errors.Is(err, wschannels.ErrUnknownOutcome) {
			t.Fatalf("Request: %v, want ErrUnknownOutcome", err)
		}
		want = append(want, fmt.Sprint("a: ", i))
	}
	wantTexts(t, "in order", l.heard(), want...)

	l.then(echo)
	for i := range n {
		request(t, nodes[0], "a", fmt.Sprint("answered ", i))
		want = append(want, fmt.Sprint("a: answered ", i))
	}
	settle(t, nodes...)
	wantTexts(t, "in order", l.heard(), want...)
}

func testConcurrentRequests(t *testing.T, s *suite) {
	s.needs(t, Requests)
	const n, each = 12, 20
	nodes := s.nodes(t, 3)
	slow := newListener(nil)
	listen(t, nodes[2], "slow", slow)
	listen(t, nodes[1], "a", newListener(func(_ string, data []byte) []byte { return append([]byte("to "), data...) }))
	together(n, func(k int) {
		for i := range each {
			text := fmt.Sprint(k, " ", i)
			got, err := nodes[k%3].(wschannels.RequestBroker).Request(patient(t), "a", []byte(text))
			if err != nil || string(got) != "to "+text {
				t.Errorf("the answer to %q is %q, %v", text, got, err)
			}
		}
	})
	together(n, func(k int) { // answered in the opposite order, when all are there
		if k == n-1 {
			if !within(patience, func() bool { return len(slow.heard()) == n-1 }) {
				t.Error("not all requests are heard")
			}
			for i := n - 2; i >= 0; i-- {
				_, text, _ := strings.Cut(slow.heard()[i], ": ")
				slow.answer(i, []byte("to "+text))
			}
			return
		}
		got, err := nodes[k%3].(wschannels.RequestBroker).Request(patient(t), "slow", fmt.Append(nil, k))
		if err != nil || string(got) != fmt.Sprint("to ", k) {
			t.Errorf("the answer to %d is %q, %v", k, got, err)
		}
	})
}

func testRequestData(t *testing.T, s *suite) {
	s.needs(t, Requests)
	nodes := s.nodes(t, 2)
	var every []byte
	for i := range 256 {
		every = append(every, byte(i))
	}
	listen(t, nodes[1], "a", newListener(func(_ string, data []byte) []byte {
		answer := slices.Clone(data)
		slices.Reverse(answer)
		return answer
	}))
	for _, size := range []int{0, 1, 256, 70_000, 500_000} {
		data := bytes.Repeat(every, size/256+1)[:size]
		got, err := nodes[0].(wschannels.RequestBroker).Request(patient(t), "a", slices.Clone(data))
		slices.Reverse(got)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes come back as %d other ones: %v", len(data), len(got), err)
		}
	}
}
