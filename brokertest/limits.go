package brokertest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

var limitPromises = []promise{
	{"NoMoreMessagesThanLenAreKept", testLen},
	{"NoMoreBytesThanBytesAreKept", testBytes},
	{"AMessageThatAloneIsOverBytesIsDeliveredAndNotSaved", testOversized},
	{"NothingOlderThanTTLIsKept", testTTL},
	{"NoReaderEverSeesMoreThanTheLimits", testNeverOver},
}

func testLen(t *testing.T, s *suite) {
	nodes := s.limited(t, 3, wschannels.HistoryLimits{Len: 3, Bytes: 1 << 20})
	var epoch string
	for i := 1; i <= 7; i++ {
		p := publish(t, nodes[i%3], saved("g", fmt.Sprint(i)))
		epoch = p.Epoch
		if !p.Saved {
			t.Errorf("message %d is not saved", i)
		}
		for _, b := range nodes {
			wantTexts(t, fmt.Sprint("after message ", i), messageTexts(page(t, b, "g", nil).Messages), numbers(max(1, i-2), i)...)
		}
	}
	publish(t, nodes[0], plain("g", "8")) // takes nothing's place
	for seq, complete := range []bool{3: false, 4: true, 5: true} {
		for _, b := range nodes {
			got := page(t, b, "g", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: epoch, Seq: uint64(seq)}})
			if got.Complete != complete {
				t.Errorf("after %d: Complete = %v, and 5 to 7 are held", seq, got.Complete)
			}
			wantTexts(t, fmt.Sprint("after ", seq), messageTexts(got.Messages), numbers(max(5, seq+1), 7)...)
		}
	}
}

func testBytes(t *testing.T, s *suite) {
	const size = 100
	nodes := s.limited(t, 2, wschannels.HistoryLimits{Bytes: 3 * (size + wschannels.MessageCost)})
	add := func(name string, size int) {
		t.Helper()
		publish(t, nodes[0], saved("g", name+strings.Repeat(".", size-len(name))))
	}
	want := func(what string, want ...string) {
		t.Helper()
		for _, b := range nodes {
			var got []string
			for _, m := range page(t, b, "g", nil).Messages {
				got = append(got, strings.TrimRight(m.Text(), "."))
			}
			wantTexts(t, what, got, want...)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		add(name, size)
	}
	want("as much as fits", "a", "b", "c")
	add("d", size)
	want("one more", "b", "c", "d")
	add("e", size+1)
	want("one byte more than the oldest has", "d", "e")
	add("f", size-1)
	want("one byte less", "d", "e", "f")
	add("g", 2*size+wschannels.MessageCost)
	want("as much as two", "f", "g")
	for i := range 6 { // 129 each
		add(fmt.Sprint(i), 1)
	}
	want("small ones", "1", "2", "3", "4", "5")
}

func testOversized(t *testing.T, s *suite) {
	const limit = 2000
	nodes := s.limited(t, 2, wschannels.HistoryLimits{Bytes: limit})
	rs := recordAll(t, nodes, "g")
	publish(t, nodes[0], saved("g", "small"))
	over := publish(t, nodes[1], saved("g", strings.Repeat("o", limit-wschannels.MessageCost+1)))
	if over.Saved || over.Seq != 2 {
		t.Errorf("a message of one byte too many: Saved = %v, Seq %d, want not saved, at 2", over.Saved, over.Seq)
	}
	for i, b := range nodes {
		rs[i].awaitID(t, over)
		wantTexts(t, "after what is not saved", messageTexts(page(t, b, "g", nil).Messages), "small")
	}
	full := publish(t, nodes[0], saved("g", strings.Repeat("f", limit-wschannels.MessageCost)))
	if !full.Saved {
		t.Error("a message that just fits is not saved")
	}
	for i, b := range nodes {
		rs[i].awaitID(t, full)
		wantTexts(t, "after what just fits", messageTexts(page(t, b, "g", nil).Messages), short(full.Text()))
	}
}

func testTTL(t *testing.T, s *suite) {
	const ttl, left = time.Hour, 1500 * time.Millisecond
	nodes := s.limited(t, 2, wschannels.HistoryLimits{TTL: ttl, Bytes: 1 << 20})
	old, young := saved("g", "old"), saved("g", "young")
	old.Created = time.Now().Add(left - ttl)
	ends := old.Created.Add(ttl)
	publish(t, nodes[0], old)
	publish(t, nodes[1], young)
	for _, b := range nodes {
		got := messageTexts(page(t, b, "g", nil).Messages)
		if time.Now().Before(ends.Add(-tick)) {
			wantTexts(t, "before the old one's end", got, "old", "young")
		}
	}
	passed(t, ends.Add(tick))
	for _, b := range nodes {
		wantTexts(t, "after the old one's end", messageTexts(page(t, b, "g", nil).Messages), "young")
		for seq, complete := range []bool{false, true} {
			got := page(t, b, "g", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: old.Epoch, Seq: uint64(seq)}})
			if got.Complete != complete {
				t.Errorf("after %d: Complete = %v, and 1 has expired", seq, got.Complete)
			}
		}
	}
}

// tick is how far clocks on one machine may seem to be apart: an engine may count in whole
// milliseconds.
const tick = 10 * time.Millisecond

func testNeverOver(t *testing.T, s *suite) {
	const limit, size, each = 5, 40, 80
	nodes := s.limited(t, 3, wschannels.HistoryLimits{Bytes: limit*(size+wschannels.MessageCost) + 10, Len: limit + 3})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for _, b := range nodes {
		readers.Go(func() {
			for {
				got, err := b.(wschannels.HistoryBroker).History(patient(t), "g", nil)
				if err != nil {
					t.Errorf("History: %v", err)
					return
				}
				checkPage(t, got, limit)
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	together(6, func(k int) {
		for range each {
			if err := nodes[k%3].Publish(patient(t), saved("g", strings.Repeat("x", size))); err != nil {
				t.Errorf("Publish: %v", err)
				return
			}
		}
	})
	close(done)
	readers.Wait()
}

// checkPage checks the page of a group whose messages are all saved, limit of which are kept.
func checkPage(t *testing.T, got wschannels.HistoryPage, limit int) {
	if want := min(limit, int(got.Position.Seq)); len(got.Messages) != want {
		t.Errorf("%d messages at %d, want %d", len(got.Messages), got.Position.Seq, want)
		return
	}
	for i, m := range got.Messages {
		if want := got.Position.Seq - uint64(len(got.Messages)-1-i); m.Seq != want {
			t.Errorf("message %d of %d at %d is %d, want %d", i, len(got.Messages), got.Position.Seq, m.Seq, want)
		}
	}
}
