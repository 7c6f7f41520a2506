package redisbroker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

func TestOptionsThatMeanNothingAreRefused(t *testing.T) {
	for field, opts := range map[string]redisbroker.Options{
		"Prefix is \"a{b\"":           {Prefix: "a{b"},
		"Prefix is \"a*\"":            {Prefix: "a*"},
		"Prefix is \"a\\nb\"":         {Prefix: "a\nb"},
		"Prefix is \"\\xff\"":         {Prefix: "\xff"},
		"Prefix is \"xxx":             {Prefix: strings.Repeat("x", 65)},
		"Retain is less":              {Retain: time.Second - 1},
		"ProbeInterval is less":       {ProbeInterval: 10*time.Millisecond - 1},
		"HistoryLimits.Bytes is nega": {History: wschannels.HistoryLimits{Bytes: -1}},
	} {
		_, err := redisbroker.Open("redis://127.0.0.1:1", &opts)
		wantErr(t, err, wschannels.ErrInvalidOption)
		if err != nil && !strings.Contains(err.Error(), field) {
			t.Errorf("error = %v, want it to say that %s", err, field)
		}
	}
	_, err := redisbroker.Open("http://127.0.0.1", nil)
	wantErr(t, err, wschannels.ErrInvalidOption)
	_, err = redisbroker.New(nil, nil)
	wantErr(t, err, wschannels.ErrInvalidOption)
}

func TestTheEnvironmentSetsTheHistorysSize(t *testing.T) {
	s := redistest.Start(t)
	t.Setenv("CHANNEL_BOX_HISTORY_SIZE", "130")
	b := open(t, s.URL(), nil)
	publish(t, b, saved("a", "1"))
	publish(t, b, saved("a", "2"))
	wantTexts(t, history(t, b, "a", nil), "2:2")
	t.Setenv("CHANNEL_BOX_HISTORY_SIZE", "much")
	_, err := redisbroker.Open(s.URL(), nil)
	wantErr(t, err, wschannels.ErrInvalidOption)
}

func TestABrokerStartsWithoutItsEngine(t *testing.T) {
	s := redistest.Start(t)
	s.Stop()
	b := open(t, s.URL(), &fast)
	var r recorder
	wantErr(t, b.Subscribe(within(t, redistest.Patience), "a", &r), wschannels.ErrUnavailable)
	wantErr(t, b.Publish(within(t, redistest.Patience), message("a", "x")), wschannels.ErrUnavailable)
	s.Restart()
	until(t, "subscription", func() bool { return b.Subscribe(within(t, time.Second), "a", &r) == nil })
	publish(t, b, message("a", "1"))
	until(t, "delivery", func() bool { return len(r.seqs("a")) == 1 })
	if r.count("a", "interrupted") > 0 || r.count("", "failed") > 0 {
		t.Error("who was not subscribed was told of an outage")
	}
}

func TestCloseEndsCallsThatAreUnderWay(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), nil)
	var r recorder
	subscribe(t, b, &r, "a")
	done := make(chan error, 64)
	for i := range cap(done) {
		go func() {
			for {
				var err error
				switch i % 3 {
				case 0:
					err = b.Publish(within(t, redistest.Patience), message("a", "x"))
				case 1:
					err = b.Subscribe(within(t, redistest.Patience), strings.Repeat("b", i), &r)
				case 2:
					_, err = b.Request(within(t, redistest.Patience), "nobody", nil)
				}
				if err != nil && !is(err, wschannels.ErrNobody) {
					done <- err
					return
				}
			}
		}()
	}
	until(t, "traffic", func() bool { return len(r.seqs("a")) > 100 })
	closeBroker(t, b)
	for range cap(done) {
		err := <-done
		if !is(err, wschannels.ErrClosed) && !is(err, wschannels.ErrUnknownOutcome) {
			t.Errorf("after Close: %v", err)
		}
	}
	n := len(r.seqs("a"))
	other := open(t, s.URL(), nil)
	publish(t, other, message("a", "late"))
	if len(r.seqs("a")) != n {
		t.Error("delivered after Close")
	}
	closeBroker(t, b) // again
}
