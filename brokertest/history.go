package brokertest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

var historyPromises = []promise{
	{"OnlyWhatWasToBeSavedIsKeptAndOnAllNodes", testHistoryKeeps},
	{"AGroupWithoutMessagesHasAnEmptyHistory", testHistoryEmpty},
	{"LastAndSinceSelect", testLastAndSince},
	{"AfterAPositionComesWhatWasSavedLater", testAfter},
	{"AfterAnotherEpochOrTheFutureComesAllAndItIsNotComplete", testAfterElsewhere},
	{"FlushForgetsTheNamedGroups", testFlush},
	{"FlushWithoutNamesForgetsAllGroups", testFlushAll},
}

// interleaved publishes saved and unsaved messages 1 to 6 in turn, and returns them.
func interleaved(t *testing.T, nodes []wschannels.Broker, group string) (ps []*wschannels.Publication) {
	t.Helper()
	for i := 1; i <= 6; i++ {
		p := plain(group, fmt.Sprint(i))
		p.Save = i%2 == 1
		p.Created = p.Created.Add(time.Duration(i-10) * time.Minute)
		ps = append(ps, publish(t, nodes[i%len(nodes)], p))
		if p.Saved != p.Save {
			t.Errorf("message %d: Saved = %v, want %v", i, p.Saved, p.Save)
		}
	}
	return ps
}

func testHistoryKeeps(t *testing.T, s *suite) {
	s.needs(t, History)
	nodes := s.nodes(t, 3)
	ps := interleaved(t, nodes, "g")
	for _, b := range nodes {
		got := page(t, b, "g", nil)
		wantTexts(t, "history", messageTexts(got.Messages), "1", "3", "5")
		for _, m := range got.Messages {
			wantSame(t, "saved message "+m.Text(), m, ps[m.Seq-1].Message)
		}
		if want := (wschannels.Position{Epoch: ps[0].Epoch, Seq: 6}); got.Position != want || position(t, b, "g") != want {
			t.Errorf("the page's position is %+v, and the group's %+v, want %+v", got.Position, position(t, b, "g"), want)
		}
		wantTexts(t, "zero options", messageTexts(page(t, b, "g", &wschannels.HistoryOptions{}).Messages), "1", "3", "5")
	}
}

func testHistoryEmpty(t *testing.T, s *suite) {
	s.needs(t, History)
	nodes := s.nodes(t, 2)
	got := page(t, nodes[0], "g", nil)
	if len(got.Messages) != 0 || got.Position.Seq != 0 || got.Position.Epoch == "" {
		t.Errorf("history %+v, want none at Seq 0 of an epoch", got)
	}
	at := got.Position
	if got = page(t, nodes[1], "g", &wschannels.HistoryOptions{After: &at}); len(got.Messages) != 0 || got.Position != at || !got.Complete {
		t.Errorf("after %+v: %+v, want nothing, complete", at, got)
	}
	publish(t, nodes[0], saved("g", "1"))
	got = page(t, nodes[1], "g", &wschannels.HistoryOptions{After: &at})
	wantTexts(t, "after the position without messages", messageTexts(got.Messages), "1")
	if !got.Complete {
		t.Error("not complete")
	}
}

func testLastAndSince(t *testing.T, s *suite) {
	s.needs(t, History)
	nodes := s.nodes(t, 2)
	ps := interleaved(t, nodes, "g")
	created := func(i int) time.Time { return ps[i-1].Created }
	for _, c := range []struct {
		name string
		opts wschannels.HistoryOptions
		want []string
	}{
		{"last 1", wschannels.HistoryOptions{Last: 1}, []string{"5"}},
		{"last 2", wschannels.HistoryOptions{Last: 2}, []string{"3", "5"}},
		{"last 3", wschannels.HistoryOptions{Last: 3}, []string{"1", "3", "5"}},
		{"last 100", wschannels.HistoryOptions{Last: 100}, []string{"1", "3", "5"}},
		{"since 3", wschannels.HistoryOptions{Since: created(3)}, []string{"3", "5"}},
		{"since just after 3", wschannels.HistoryOptions{Since: created(3).Add(time.Nanosecond)}, []string{"5"}},
		{"since the future", wschannels.HistoryOptions{Since: time.Now().Add(time.Hour)}, nil},
		{"since long ago", wschannels.HistoryOptions{Since: time.Unix(1, 0)}, []string{"1", "3", "5"}},
		{"last 1 since 3", wschannels.HistoryOptions{Last: 1, Since: created(3)}, []string{"5"}},
		{"last 2 after 1", wschannels.HistoryOptions{Last: 2, After: &wschannels.Position{Epoch: ps[0].Epoch, Seq: 1}}, []string{"3", "5"}},
		{"last 1 after 1", wschannels.HistoryOptions{Last: 1, After: &wschannels.Position{Epoch: ps[0].Epoch, Seq: 1}}, []string{"5"}},
		{"since 5 after 1", wschannels.HistoryOptions{Since: created(5), After: &wschannels.Position{Epoch: ps[0].Epoch, Seq: 1}}, []string{"5"}},
	} {
		for _, b := range nodes {
			wantTexts(t, c.name, messageTexts(page(t, b, "g", &c.opts).Messages), c.want...)
		}
	}
}

func testAfter(t *testing.T, s *suite) {
	s.needs(t, History)
	nodes := s.nodes(t, 2)
	ps := interleaved(t, nodes, "g")
	all := []string{"1", "3", "5"}
	for seq, want := range [][]string{0: all, 1: all[1:], 2: all[1:], 3: all[2:], 4: all[2:], 5: nil, 6: nil} {
		for _, b := range nodes {
			got := page(t, b, "g", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: ps[0].Epoch, Seq: uint64(seq)}})
			wantTexts(t, fmt.Sprint("after ", seq), messageTexts(got.Messages), want...)
			if !got.Complete || got.Position.Seq != 6 {
				t.Errorf("after %d: Complete = %v, Position %+v, want complete at 6", seq, got.Complete, got.Position)
			}
		}
	}
}

func testAfterElsewhere(t *testing.T, s *suite) {
	s.needs(t, History)
	nodes := s.nodes(t, 2)
	ps := interleaved(t, nodes, "g")
	epoch := ps[0].Epoch
	for _, after := range []wschannels.Position{
		{Epoch: epoch, Seq: 7}, {Epoch: epoch, Seq: 1 << 40}, {Epoch: epoch, Seq: 1 << 63}, {Epoch: epoch, Seq: 1<<64 - 1},
		{Epoch: "another", Seq: 3}, {Epoch: "", Seq: 3}, {}, {Epoch: epoch + " ", Seq: 6}, {Epoch: "*", Seq: 0},
	} {
		for _, b := range nodes {
			got := page(t, b, "g", &wschannels.HistoryOptions{After: &after})
			wantTexts(t, fmt.Sprintf("after %+v", after), messageTexts(got.Messages), "1", "3", "5")
			if got.Complete || got.Position != (wschannels.Position{Epoch: epoch, Seq: 6}) {
				t.Errorf("after %+v: Complete = %v, Position %+v, want incomplete at 6", after, got.Complete, got.Position)
			}
		}
	}
}

func flush(t *testing.T, b wschannels.Broker, groups ...string) {
	t.Helper()
	do(t, fmt.Sprintf("Flush %q", groups), func(ctx context.Context) error { return b.(wschannels.HistoryBroker).Flush(ctx, groups...) })
}

func testFlush(t *testing.T, s *suite) {
	s.needs(t, History)
	nodes := s.nodes(t, 2)
	for _, g := range []string{"a", "b", "c"} {
		publishAll(t, nodes[0], g, "1", "2", "3")
	}
	before := position(t, nodes[0], "a")
	flush(t, nodes[0], "a", "b", "nothing was ever here")
	for _, b := range nodes {
		got := page(t, b, "a", nil)
		wantTexts(t, "a flushed group", messageTexts(got.Messages))
		wantTexts(t, "another flushed group", messageTexts(page(t, b, "b", nil).Messages))
		wantTexts(t, "a group that was not flushed", messageTexts(page(t, b, "c", nil).Messages), "1", "2", "3")
		if got.Position != before {
			t.Errorf("the position went from %+v to %+v", before, got.Position)
		}
	}
	if p := publish(t, nodes[1], saved("a", "4")); p.Seq != 4 || p.Epoch != before.Epoch || !p.Saved {
		t.Errorf("the next message is %d of %q, Saved %v, want 4 of %q", p.Seq, p.Epoch, p.Saved, before.Epoch)
	}
	for seq, complete := range []bool{0: false, 1: false, 2: false, 3: true, 4: true} {
		for _, b := range nodes {
			got := page(t, b, "a", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: before.Epoch, Seq: uint64(seq)}})
			wantTexts(t, fmt.Sprint("after ", seq), messageTexts(got.Messages), slices.Repeat([]string{"4"}, min(1, 4-seq))...)
			if got.Complete != complete {
				t.Errorf("after %d: Complete = %v, and 1 to 3 are flushed", seq, got.Complete)
			}
		}
	}
}

func testFlushAll(t *testing.T, s *suite) {
	s.needs(t, History)
	nodes := s.nodes(t, 2)
	groups := []string{"a", "b", "*", "{c}", "d e"}
	for _, g := range groups {
		publishAll(t, nodes[0], g, "1", "2")
	}
	flush(t, nodes[1])
	for _, g := range groups {
		for _, b := range nodes {
			got := page(t, b, g, &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: position(t, b, g).Epoch, Seq: 1}})
			wantTexts(t, "flushed group "+g, messageTexts(got.Messages))
			if got.Complete || got.Position.Seq != 2 {
				t.Errorf("group %q after 1: Complete = %v, Position %+v, want incomplete at 2", g, got.Complete, got.Position)
			}
		}
	}
}
