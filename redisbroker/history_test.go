package redisbroker_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

func limited(l wschannels.HistoryLimits) *redisbroker.Options {
	return &redisbroker.Options{History: l}
}

func TestAHistoryIsNeverOverItsBytes(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), limited(wschannels.HistoryLimits{Bytes: 3 * (10 + 128)}))
	ten := strings.Repeat("x", 10)
	for range 4 {
		publish(t, b, saved("a", ten))
	}
	if n := s.CLI("XLEN", "wschannels:{g.a}log"); n != "3" { // before anybody looks
		t.Errorf("redis has %s", n)
	}
	wantTexts(t, history(t, b, "a", nil), "2:"+ten, "3:"+ten, "4:"+ten)
	publish(t, b, saved("a", ten+"y")) // one byte more than one alone makes room for
	wantTexts(t, history(t, b, "a", nil), "4:"+ten, "5:"+ten+"y")
	largest := strings.Repeat("z", 3*138-128)
	if p := publish(t, b, saved("a", largest+"z")); p.Saved || p.Seq != 6 {
		t.Errorf("over the limit alone: %+v", p)
	}
	wantTexts(t, history(t, b, "a", nil), "4:"+ten, "5:"+ten+"y")
	if p := publish(t, b, saved("a", largest)); !p.Saved {
		t.Error("what fits alone was not saved")
	}
	wantTexts(t, history(t, b, "a", nil), "7:"+largest)
}

func TestTheBytesAreNotOverAtAnyInstant(t *testing.T) {
	s := redistest.Start(t)
	const bytes = 2000
	b := open(t, s.URL(), limited(wschannels.HistoryLimits{Bytes: bytes}))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				publish(t, b, saved("a", strings.Repeat("x", 1+i*37%900)))
			}
		}
	})
	watch := open(t, s.URL(), limited(wschannels.HistoryLimits{}))
	for range 300 {
		sum := 0
		for _, m := range history(t, watch, "a", nil).Messages {
			sum += len(m.Data) + 128
		}
		if sum > bytes {
			t.Fatalf("%d bytes", sum)
		}
	}
	close(stop)
	wg.Wait()
}

func TestAHistoryIsNeverLongerThanItsLen(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), limited(wschannels.HistoryLimits{Len: 2}))
	for i := range 5 {
		publish(t, b, saved("a", fmt.Sprint(i)))
	}
	if n := s.CLI("XLEN", "wschannels:{g.a}log"); n != "2" { // before anybody looks
		t.Errorf("redis has %s", n)
	}
	wantTexts(t, history(t, b, "a", nil), "4:3", "5:4")
}

func TestAHistoryForgetsWhatIsTooOld(t *testing.T) {
	s := redistest.Start(t)
	const ttl = time.Hour
	b := open(t, s.URL(), limited(wschannels.HistoryLimits{TTL: ttl}))
	old := saved("a", "old")
	old.Created = time.Now().Add(-ttl + 1500*time.Millisecond)
	publish(t, b, old)
	publish(t, b, saved("a", "new"))
	after := &wschannels.Position{Epoch: old.Epoch}
	until(t, "expiry", func() bool {
		page := history(t, b, "a", &wschannels.HistoryOptions{After: after})
		return slices.Equal(texts(page), []string{"2:new"}) && !page.Complete
	})
	if n := s.CLI("XLEN", "wschannels:{g.a}log"); n != "1" {
		t.Errorf("redis still has %s", n)
	}

	last := saved("b", "last")
	last.Created = time.Now().Add(-ttl + 1500*time.Millisecond)
	publish(t, b, last)
	until(t, "expiry without anybody looking", func() bool { return s.CLI("EXISTS", "wschannels:{g.b}log") == "0" })
	page := history(t, b, "b", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: last.Epoch}})
	if len(page.Messages) > 0 || page.Complete || page.Position.Seq != 1 {
		t.Errorf("page = %+v", page)
	}
}

func TestHistorySelects(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), nil)
	start := time.Now().Truncate(time.Second)
	var epoch string
	for i := range 5 {
		p := saved("a", fmt.Sprint(i+1))
		p.Created = start.Add(time.Duration(i) * time.Second)
		publish(t, b, p)
		epoch = p.Epoch
	}
	publish(t, b, message("a", "unsaved"))
	at := func(seq uint64) *wschannels.Position { return &wschannels.Position{Epoch: epoch, Seq: seq} }
	for _, tt := range []struct {
		name     string
		opts     wschannels.HistoryOptions
		want     string
		complete bool
	}{
		{"all", wschannels.HistoryOptions{}, "12345", false},
		{"last", wschannels.HistoryOptions{Last: 2}, "45", false},
		{"last of few", wschannels.HistoryOptions{Last: 9}, "12345", false},
		{"after", wschannels.HistoryOptions{After: at(3)}, "45", true},
		{"after all", wschannels.HistoryOptions{After: at(6)}, "", true},
		{"after none", wschannels.HistoryOptions{After: at(0)}, "12345", true},
		{"after the future", wschannels.HistoryOptions{After: at(7)}, "12345", false},
		{"after the far future", wschannels.HistoryOptions{After: at(1<<64 - 1)}, "12345", false},
		{"after another epoch", wschannels.HistoryOptions{After: &wschannels.Position{Epoch: "x", Seq: 3}}, "12345", false},
		{"since", wschannels.HistoryOptions{Since: start.Add(2 * time.Second)}, "345", false},
		{"since and last", wschannels.HistoryOptions{Since: start.Add(2 * time.Second), Last: 2}, "45", false},
		{"since and after", wschannels.HistoryOptions{Since: start.Add(2 * time.Second), After: at(4)}, "5", true},
		{"last and after", wschannels.HistoryOptions{Last: 1, After: at(2)}, "5", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := history(t, b, "a", &tt.opts)
			got := ""
			for _, m := range page.Messages {
				got += m.Text()
				if m.Seq != uint64(m.Data[0]-'0') || m.Group != "a" || !m.Created.Equal(start.Add(time.Duration(m.Seq-1)*time.Second)) {
					t.Errorf("message %+v", m)
				}
			}
			if got != tt.want || page.Complete != tt.complete || page.Position != *at(6) {
				t.Errorf("%q, complete %v, at %+v; want %q, %v", got, page.Complete, page.Position, tt.want, tt.complete)
			}
		})
	}
}

func TestFlushForgetsHistoriesAndNoOrder(t *testing.T) {
	s := redistest.Start(t)
	for _, all := range []bool{false, true} {
		t.Run(strconv.FormatBool(all), func(t *testing.T) {
			b := open(t, s.URL(), &redisbroker.Options{Prefix: "app"})
			other := open(t, s.URL(), &redisbroker.Options{Prefix: "app2"})
			groups := []string{"*", ">", "a.b", "{x}", " ", "ü}", "a%2Eb"}
			places := make(map[string]wschannels.Position)
			for _, g := range groups {
				p := publish(t, b, saved(g, g))
				places[g] = wschannels.Position{Epoch: p.Epoch, Seq: p.Seq}
				publish(t, other, saved(g, g))
			}
			names := groups
			if all {
				names = nil
			}
			if err := b.Flush(t.Context(), names...); err != nil {
				t.Fatal(err)
			}
			for _, g := range groups {
				at := places[g]
				page := history(t, b, g, &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: at.Epoch, Seq: at.Seq - 1}})
				if len(page.Messages) > 0 || page.Complete || page.Position != at {
					t.Errorf("%q: %+v, was at %+v", g, page, at)
				}
				page = history(t, b, g, &wschannels.HistoryOptions{After: &at})
				if !page.Complete {
					t.Errorf("%q: who missed nothing is told otherwise", g)
				}
				if len(history(t, other, g, nil).Messages) == 0 {
					t.Errorf("%q: another prefix's history is gone", g)
				}
			}
		})
	}
}

func TestAGroupsOrderIsForgottenLongAfterItsLastUse(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), &redisbroker.Options{Retain: time.Second})
	var r recorder
	subscribe(t, b, &r, "subscribed")
	kept := publish(t, b, saved("subscribed", "1"))
	left := publish(t, b, saved("left", "1"))
	until(t, "forgotten", func() bool { return s.CLI("EXISTS", "wschannels:{g.left}", "wschannels:{g.left}log") == "0" })
	if p := publish(t, b, saved("left", "2")); p.Epoch == left.Epoch || p.Seq != 1 {
		t.Errorf("%+v after %+v", p, left)
	}
	if p := publish(t, b, saved("subscribed", "2")); p.Epoch != kept.Epoch || p.Seq != 2 {
		t.Errorf("a subscription is a use: %+v after %+v", p, kept)
	}
	wantTexts(t, history(t, b, "subscribed", nil), "1:1", "2:2")
}

func TestAGroupThatCannotBePublishedToFailsAlone(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), nil)
	s.CLI("RPUSH", "wschannels:{g.foreign}", "what no broker wrote")
	var r recorder
	subscribe(t, b, &r, "a", "foreign")
	const each, publishers = 50, 16 // some go together
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			for range each {
				if i%2 == 0 {
					publish(t, b, saved("a", "x"))
				} else if err := b.Publish(within(t, redistest.Patience), saved("foreign", "x")); err == nil || is(err, wschannels.ErrUnknownOutcome) {
					t.Errorf("published to the other: %v, and nothing was done", err)
				}
			}
		})
	}
	wg.Wait()
	until(t, "delivery", func() bool { return slices.Equal(r.seqs("a"), upTo(each*publishers/2)) })
	if got := len(history(t, b, "a", nil).Messages); got != each*publishers/2 {
		t.Errorf("%d are in the history", got)
	}
	if r.count("foreign", "seq") > 0 {
		t.Error("the other group's subscribers got something")
	}
}

func TestWhatNoBrokerPutIntoAHistoryIsLeftOutAndReported(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), nil)
	var r recorder
	subscribe(t, b, &r, "a")
	s.CLI("XADD", "wschannels:{g.a}log", "1-1", "x", "y")
	publish(t, b, saved("a", "1"))
	s.CLI("XADD", "wschannels:{g.a}log", "1-999", "m", strings.Repeat("m", 24), "p", "junk")
	p := publish(t, b, saved("a", "2"))
	for i := range 2 {
		page := history(t, b, "a", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: p.Epoch}})
		wantTexts(t, page, "1:1", "2:2")
		if page.Complete {
			t.Error("complete, though nobody knows in whose place that is")
		}
		if n := r.count("", "failed"); n != i+1 {
			t.Errorf("%d times reported, want %d", n, i+1)
		}
	}
	page := history(t, b, "a", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: p.Epoch, Seq: 1}})
	wantTexts(t, page, "2:2")
	if !page.Complete {
		t.Error("behind what no broker put there it is not complete")
	}
}
