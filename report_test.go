package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	. "github.com/wschannels/wschannels"
)

// reportBox returns a box, and its Broker's way in, whose OnError is f.
func reportBox(t *testing.T, opts *Options, f func(c *Channel, err error)) (*ChannelBox, Subscriber) {
	t.Helper()
	broker := &scriptBroker{at: Position{Epoch: "a"}}
	opts.Broker, opts.Events.OnError = broker, f
	b := boxOf(t, opts)
	boxMember(t, b, &ChannelOptions{PayloadType: Text, Events: Events{
		OnError: func(_ *Channel, err error) { t.Errorf("the OnError of a channel got %v", err) },
	}}, "g")
	return b, broker.to
}

func TestErrorsOfTheBrokerAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var got []error
		b, to := reportBox(t, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(c *Channel, err error) {
			if c != nil {
				t.Errorf("with %v", c)
			}
			got = append(got, err)
		})
		lost := errors.New("the connection was lost")
		to.Failed(lost)
		to.Failed(nil) // says nothing
		synctest.Wait()
		if len(got) != 1 || got[0] != lost || b.Stats().BrokerErrors != 1 || strings.Count(log.String(), lost.Error()) != 1 {
			t.Errorf("OnError got %v, Stats %d, the log %q", got, b.Stats().BrokerErrors, log.String())
		}
	})
}

// While OnError does not return, nothing else waits, and only so much is kept; then comes
// how many were not.
func TestReportsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pass := make(chan struct{})
		var got []string
		b, to := reportBox(t, &Options{}, func(_ *Channel, err error) {
			<-pass
			got = append(got, err.Error())
		})
		before := runtime.NumGoroutine()
		for i := range 1000 {
			to.Failed(fmt.Errorf("error %d", i))
			if i == 0 {
				synctest.Wait() // it is being told
			}
		}
		if n := runtime.NumGoroutine(); n > before+1 {
			t.Errorf("%d goroutines more, want 1", n-before)
		}
		close(pass)
		synctest.Wait()
		want := make([]string, 0, 258)
		for i := range 257 {
			want = append(want, fmt.Sprintf("error %d", i))
		}
		want = append(want, "wschannels: 743 more errors of the Broker are not reported")
		boxWant(t, "reports", got, want)
		to.Failed(errors.New("the next one"))
		synctest.Wait()
		if got[len(got)-1] != "the next one" || b.Stats().BrokerErrors != 1001 {
			t.Errorf("%q was the last; %d errors in Stats", got[len(got)-1], b.Stats().BrokerErrors)
		}
		boxGoroutines(t, before) // one that has ended is still counted for a moment
	})
}

// OnError panics, ends its goroutine or shuts the box down: the next report comes.
func TestOnErrorOfTheBrokerMayDoAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		var b *ChannelBox
		box, to := reportBox(t, &Options{}, func(_ *Channel, err error) {
			got = append(got, fmt.Sprintf("%T", err))
			switch len(got) {
			case 1:
				panic("in OnError")
			case 2:
				runtime.Goexit()
			case 3:
				if err := b.Shutdown(context.Background()); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
			}
		})
		b = box
		var evil *nilError
		to.Failed(errors.New("1"))
		to.Failed(errors.New("2"))
		to.Failed(errors.New("3"))
		to.Failed(evil) // whose Error panics
		synctest.Wait()
		if len(got) != 4 || b.Stats().Panics != 1 {
			t.Errorf("OnError got %v; %d panics", got, b.Stats().Panics)
		}
	})
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestLostErrorsReadWell(t *testing.T) {
	for _, tt := range []struct {
		err  LostError
		want string
	}{
		{LostError{Group: "g", Epoch: "a", From: 3, To: 9, Lost: 5}, `wschannels: group "g" missed 5 messages between 3 and 9`},
		{LostError{Group: "g", Epoch: "a", From: 3, To: 3, Lost: 1, Err: ErrUnavailable}, `wschannels: group "g" missed message 3: broker unavailable`},
		{LostError{Group: "g", Epoch: "a", Err: ErrNewOrder}, `wschannels: group "g" may have missed messages: the order started anew`},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if tt.err.Err != nil && !errors.Is(&tt.err, tt.err.Err) {
			t.Errorf("%v is not %v", &tt.err, tt.err.Err)
		}
	}
}
