package redisbroker_test

import (
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// A message that is too old, as its node's clock is slow, takes no younger ones with it.
func TestANodeWithASlowClockDoesNotClearAHistory(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), limited(wschannels.HistoryLimits{TTL: time.Hour}))
	publish(t, b, saved("a", "young"))
	old := saved("a", "old")
	old.Created = time.Now().Add(-2 * time.Hour)
	publish(t, b, old)
	if all := history(t, b, "a", nil); len(all.Messages) == 0 || string(all.Messages[0].Data) != "young" {
		t.Errorf("the history is %+v, want what is young in it", all)
	}
}
