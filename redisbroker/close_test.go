package redisbroker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

func TestEveryCloseWaitsForTheEnd(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), nil)
	publish(t, b, message("a", "1"))
	s.Freeze()
	published, closed := make(chan error, 1), make(chan error, 1)
	ctx := within(t, redistest.Patience)
	go func() { published <- b.Publish(ctx, message("a", "2")) }()
	until(t, "the call is under way", func() bool { // and those behind it wait
		return is(b.Publish(within(t, time.Millisecond), message("a", "3")), context.DeadlineExceeded)
	})
	go func() { closed <- b.Close(ctx) }()
	until(t, "closed", func() bool {
		return is(b.Publish(within(t, time.Millisecond), message("a", "4")), wschannels.ErrClosed)
	})
	late, cancel := context.WithTimeoutCause(ctx, 20*time.Millisecond, errLate)
	defer cancel()
	if err := b.Close(late); err != errLate {
		t.Errorf("Close, while another one waits: %v", err)
	}
	s.Thaw()
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	closeBroker(t, b)
	<-published
}

var errLate = errors.New("late")
