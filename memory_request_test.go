package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/wschannels/wschannels"
)

// A memoryEar keeps what it hears, and answers with answer; "": not.
type memoryEar struct {
	answer string
	heard  []string
}

func (e *memoryEar) Hear(address string, data []byte, answer func([]byte)) {
	e.heard = append(e.heard, address+" "+string(data))
	switch e.answer {
	case "":
	case "panic":
		panic("in Hear")
	default:
		answer([]byte(e.answer))
		answer([]byte("once more"))
	}
}

func (e *memoryEar) Interrupted(string) {}

func memoryBroker(t *testing.T, opts *MemoryBrokerOptions) *MemoryBroker {
	t.Helper()
	b, err := NewMemoryBroker(opts)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestARequestReachesEveryListenerAndReturnsTheFirstAnswer(t *testing.T) {
	b := memoryBroker(t, nil)
	silent, one, two, elsewhere := &memoryEar{}, &memoryEar{answer: "one"}, &memoryEar{answer: "two"}, &memoryEar{answer: "?"}
	for _, l := range []*memoryEar{silent, one, one, two} {
		if err := b.Listen(t.Context(), "a", l); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Listen(t.Context(), "b", elsewhere); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if got, err := b.Request(t.Context(), "a", []byte(fmt.Sprint(i))); err != nil || string(got) != "one" {
			t.Errorf("Request: %q, %v; want the first answer, one", got, err)
		}
	}
	for _, l := range []*memoryEar{silent, one, two} {
		boxWant(t, "a listener", l.heard, []string{"a 0", "a 1", "a 2"})
	}
	boxWant(t, "who listens elsewhere", elsewhere.heard, nil)

	for _, l := range []*memoryEar{one, one, silent} {
		if err := b.Unlisten(t.Context(), "a", l); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.Request(t.Context(), "a", nil); err != nil || string(got) != "two" || len(one.heard) != 3 {
		t.Errorf("Request: %q, %v; want two's answer, and that one has heard nothing", got, err)
	}
	_ = b.Unlisten(t.Context(), "a", two)
	if _, err := b.Request(t.Context(), "a", nil); err != ErrNobody {
		t.Errorf("Request: %v; want ErrNobody", err)
	}
}

func TestARequestWithoutAnAnswerHasAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t, nil)
		if err := b.Listen(t.Context(), "a", &memoryEar{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := b.Request(ctx, "a", nil)
		if !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("Request: %v after %v; want ErrUnknownOutcome when ctx ended", err, time.Since(begun))
		}
		if _, err = b.Request(ctx, "a", nil); err != context.DeadlineExceeded {
			t.Errorf("Request with a context that has ended: %v", err)
		}
	})
}

// A listener that panics takes the request from nobody else; the panic is the sender's.
func TestAPanicOfAListenerTakesNothingFromOthers(t *testing.T) {
	b := memoryBroker(t, nil)
	other := &memoryEar{answer: "x"}
	for _, l := range []*memoryEar{{answer: "panic"}, other} {
		if err := b.Listen(t.Context(), "a", l); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if v := recover(); v != "in Hear" || len(other.heard) != 1 {
			t.Errorf("panic %v; the other heard %q", v, other.heard)
		}
		if err := b.Unlisten(t.Context(), "a", other); err != nil { // nothing is locked
			t.Error(err)
		}
	}()
	_, err := b.Request(t.Context(), "a", nil)
	t.Errorf("Request returned %v", err)
}

func TestAClosedMemoryBrokerTakesNoRequestsAndNoMail(t *testing.T) {
	b := memoryBroker(t, nil)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, request := b.Request(t.Context(), "a", nil)
	_, _, put := b.PutMail(t.Context(), "a", nil, false, MailboxLimits{})
	_, take := b.TakeMail(t.Context(), "a")
	for name, err := range map[string]error{
		"Listen": b.Listen(t.Context(), "a", &memoryEar{}), "Unlisten": b.Unlisten(t.Context(), "a", &memoryEar{}),
		"Request": request, "PutMail": put, "TakeMail": take,
	} {
		if err != ErrClosed {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
}
