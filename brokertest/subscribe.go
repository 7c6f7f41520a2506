package brokertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

var subscribePromises = []promise{
	{"WhatIsPublishedAfterSubscribeHasReturnedComes", testSubscribeIsDone},
	{"SubscribingTwiceIsSubscribingOnce", testSubscribeTwice},
	{"AfterUnsubscribeNothingMoreComes", testUnsubscribe},
	{"UnsubscribingTwiceOrInVainIsNoError", testUnsubscribeTwice},
	{"TheEngineForgetsAGroupWithItsLastSubscriber", testEngineForgets},
	{"ASubscriptionComesBackAfterItsEnd", testSubscribeAgain},
	{"SubscribersThatComeAndGoTakeNothingFromEachOther", testSubscribeChurn},
	{"ManyGroupsAtOnce", testManyGroups},
}

func unsubscribe(t *testing.T, b wschannels.Broker, group string, r *recorder) {
	t.Helper()
	do(t, fmt.Sprintf("Unsubscribe %q", group), func(ctx context.Context) error { return b.Unsubscribe(ctx, group, r) })
}

func testSubscribeIsDone(t *testing.T, s *suite) {
	nodes := s.nodes(t, 2)
	for i := range 20 {
		group := fmt.Sprint("g", i)
		r := record(t, nodes[i%2], group)
		p := publish(t, nodes[1], plain(group, "x"))
		r.awaitID(t, p)
	}
}

func testSubscribeTwice(t *testing.T, s *suite) {
	nodes := s.nodes(t, 2)
	r := record(t, nodes[0], "g", "g", "g")
	publish(t, nodes[1], plain("g", "1"))
	publish(t, nodes[0], plain("g", "2"))
	r.await(t, "g", 2)
	settle(t, nodes...)
	wantTexts(t, "subscribed three times", texts(r.of("g")), "1", "2")
	unsubscribe(t, nodes[0], "g", r)
	publish(t, nodes[1], plain("g", "3"))
	settle(t, nodes...)
	wantTexts(t, "unsubscribed once", texts(r.of("g")), "1", "2")
}

func testUnsubscribe(t *testing.T, s *suite) {
	nodes := s.nodes(t, 3)
	goes, stays, other := record(t, nodes[0], "g", "h"), record(t, nodes[0], "g"), record(t, nodes[1], "g")
	publish(t, nodes[2], plain("g", "1"))
	for _, r := range []*recorder{goes, stays, other} {
		r.await(t, "g", 1)
	}
	unsubscribe(t, nodes[0], "g", goes)
	for i := range 10 {
		publish(t, nodes[i%3], plain("g", fmt.Sprint(i+2)))
	}
	publish(t, nodes[2], plain("h", "other group"))
	stays.await(t, "g", 11)
	other.await(t, "g", 11)
	goes.await(t, "h", 1)
	settle(t, nodes...)
	wantTexts(t, "who unsubscribed", texts(goes.of("g")), "1")
	wantTexts(t, "another one at the node", texts(stays.of("g")), numbers(1, 11)...)
	wantTexts(t, "another node", texts(other.of("g")), numbers(1, 11)...)
}

func testUnsubscribeTwice(t *testing.T, s *suite) {
	nodes := s.nodes(t, 2)
	r, never := record(t, nodes[0], "g"), newRecorder(t)
	unsubscribe(t, nodes[0], "g", never)
	unsubscribe(t, nodes[0], "nothing was ever here", never)
	publish(t, nodes[1], plain("g", "1"))
	r.await(t, "g", 1)
	unsubscribe(t, nodes[0], "g", r)
	unsubscribe(t, nodes[0], "g", r)
	publish(t, nodes[1], plain("g", "2"))
	settle(t, nodes...)
	wantTexts(t, "who unsubscribed twice", texts(r.of("g")), "1")
}

func testEngineForgets(t *testing.T, s *suite) {
	need(t, "Subscribed", s.f.Subscribed != nil)
	nodes := s.nodes(t, 2)
	a, b, c := record(t, nodes[0], "g"), record(t, nodes[0], "g"), record(t, nodes[1], "g")
	subscribed := func() bool { return s.f.Subscribed(t, nodes[0], "g") }
	if !subscribed() {
		t.Fatal("the engine has no subscription for three subscribers")
	}
	unsubscribe(t, nodes[0], "g", a)
	unsubscribe(t, nodes[1], "g", c)
	publish(t, nodes[1], plain("g", "x"))
	b.await(t, "g", 1)
	if !subscribed() {
		t.Fatal("the engine has no subscription for the last subscriber")
	}
	unsubscribe(t, nodes[0], "g", b)
	eventually(t, "the engine has no subscription", func() bool { return !subscribed() })
}

func testSubscribeAgain(t *testing.T, s *suite) {
	nodes := s.nodes(t, 2)
	r := newRecorder(t)
	for i := range 10 {
		r.subscribe(t, nodes[0], "g")
		p := publish(t, nodes[1], plain("g", fmt.Sprint(i)))
		r.awaitID(t, p)
		unsubscribe(t, nodes[0], "g", r)
	}
	settle(t, nodes...)
	wantTexts(t, "all times together", texts(r.of("g")), numbers(0, 9)...)
}

// A node's last subscriber leaves while the next one comes, again and again.
func testSubscribeChurn(t *testing.T, s *suite) {
	const workers, rounds = 6, 15
	nodes := s.nodes(t, 2)
	rs := make([]*recorder, workers)
	for i := range rs {
		rs[i] = newRecorder(t)
	}
	together(workers, func(k int) {
		b, r := nodes[k%2], rs[k]
		for range rounds {
			p := plain("g", fmt.Sprint(k))
			for _, err := range []error{b.Subscribe(patient(t), "g", r), nodes[1-k%2].Publish(patient(t), p)} {
				if err != nil {
					t.Error(err)
					return
				}
			}
			if !within(patience, func() bool { return r.has("g", p.ID) }) {
				t.Errorf("a message that was published after Subscribe has not come")
				return
			}
			if err := b.Unsubscribe(patient(t), "g", r); err != nil {
				t.Error(err)
			}
		}
	})
	for _, r := range rs {
		last := uint64(0)
		for _, p := range r.of("g") {
			if p.Seq <= last {
				t.Fatalf("%d comes after %d", p.Seq, last)
			}
			last = p.Seq
		}
	}
}

func testManyGroups(t *testing.T, s *suite) {
	const groups, workers = 2000, 50
	nodes := s.nodes(t, 2)
	r := newRecorder(t)
	name := func(i int) string { return fmt.Sprint("group ", i) }
	start := time.Now()
	together(workers, func(k int) {
		for i := k; i < groups; i += workers {
			if err := nodes[0].Subscribe(patient(t), name(i), r); err != nil {
				t.Errorf("Subscribe: %v", err)
				return
			}
		}
	})
	t.Logf("%d groups in %v", groups, time.Since(start).Round(time.Millisecond))
	for i := 0; i < groups; i += 100 {
		p := publish(t, nodes[1], plain(name(i), "x"))
		r.awaitID(t, p)
	}
	together(workers, func(k int) {
		for i := k; i < groups; i += workers {
			if err := nodes[0].Unsubscribe(patient(t), name(i), r); err != nil {
				t.Errorf("Unsubscribe: %v", err)
				return
			}
		}
	})
	before := r.all()
	for i := 0; i < groups; i += 100 {
		publish(t, nodes[1], plain(name(i), "late"))
	}
	settle(t, nodes...)
	if got := r.all(); got != before {
		t.Errorf("%d messages came after all was unsubscribed", got-before)
	}
}
