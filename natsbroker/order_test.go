package natsbroker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
)

func message(text string, save bool) *wschannels.Publication {
	return &wschannels.Publication{Save: save, Message: wschannels.Message{
		ID: uuid.New(), Group: "room", Created: time.Now(), Data: []byte(text),
	}}
}

func publish(t testing.TB, b wschannels.Broker, p *wschannels.Publication) {
	t.Helper()
	if err := b.Publish(context.Background(), p); err != nil {
		t.Fatal(err)
	}
}

func streamOf(t testing.TB, url, name string) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatIsOverTheLimitsIsRemovedFromTheStream(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix(), History: wschannels.HistoryLimits{Bytes: 64 << 10}}
	b := open(t, e.url(), opts)
	awaitUp(t, b)
	text := strings.Repeat("x", 1<<10)
	for range 600 { // more than half a megabyte, saved and not
		publish(t, b, message(text, true))
		publish(t, b, message(text, false))
	}
	eventually(t, "the stream is near the limits", func() error {
		info, err := streamOf(t, e.url(), opts.Prefix+"-order").Info(context.Background())
		if err != nil {
			return err
		}
		if most := uint64(64<<10 + 64<<10/4 + maxUnsaved); info.State.Bytes > most {
			return fmt.Errorf("%d bytes, want %d at most", info.State.Bytes, most)
		}
		return nil
	})
}

// maxUnsaved is what may be left of messages that are not saved.
const maxUnsaved = 256<<10 + 256<<10/4

func TestABatchWhoseAnswerIsLostIsPublishedOnce(t *testing.T) {
	e := newEngine(t)
	p := newProxy(t, e.addr)
	opts := &natsbroker.Options{Prefix: newPrefix(), RequestTimeout: time.Second, ProbeInterval: time.Hour}
	b, other := open(t, p.url(), opts), open(t, e.url(), opts)
	awaitUp(t, b)
	awaitUp(t, other)
	publish(t, b, message("first", true))
	// What is stored, and not answered, is what a connection that ends just then leaves.
	p.mute()
	err := b.Publish(context.Background(), message("second", true))
	if err == nil {
		t.Fatal("published without an answer")
	}
	if !strings.Contains(err.Error(), "outcome unknown") {
		t.Errorf("the error is %v, want ErrUnknownOutcome", err)
	}
	p.cut()
	p.unmute()
	eventually(t, "it is back", func() error { return b.Publish(context.Background(), message("third", true)) })
	page, err := other.History(context.Background(), "room", nil)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for i, m := range page.Messages {
		texts = append(texts, string(m.Data))
		if m.Seq != uint64(i+1) {
			t.Errorf("message %d has place %d", i, m.Seq)
		}
	}
	if got := strings.Join(texts, " "); got != "first second third" {
		t.Errorf("the history is %q", got)
	}
}

func TestAnAnswerThatComesLateStillSaysWhatBecameOfIt(t *testing.T) {
	e := newEngine(t)
	p := newProxy(t, e.addr)
	opts := &natsbroker.Options{Prefix: newPrefix(), RequestTimeout: 8 * time.Second, ProbeInterval: time.Hour}
	b := open(t, p.url(), opts)
	awaitUp(t, b)
	publish(t, b, message("first", true))
	p.mute()
	done := make(chan error)
	second := message("second", true)
	go func() { done <- b.Publish(context.Background(), second) }()
	eventually(t, "it is stored", func() error {
		info, err := streamOf(t, e.url(), opts.Prefix+"-order").GetLastMsgForSubject(context.Background(), opts.Prefix+".g.room.s")
		if err == nil && !strings.Contains(string(info.Data), "second") {
			err = fmt.Errorf("the last is %q", info.Data)
		}
		if !p.holds() {
			err = errors.Join(err, errors.New("not answered"))
		}
		return err
	})
	p.lose() // what it answered is gone for good
	p.unmute()
	if err := <-done; err != nil || second.Seq != 2 {
		t.Errorf("place %d, %v, want 2", second.Seq, err)
	}
	publish(t, b, message("third", true))
	page, err := b.History(context.Background(), "room", nil)
	if err != nil || len(page.Messages) != 3 || page.Position.Seq != 3 {
		t.Errorf("%d messages at %d, %v, want 3 at 3", len(page.Messages), page.Position.Seq, err)
	}
}

func TestWhatNobodyPublishedIsRemovedFromTheOrder(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	b := open(t, e.url(), opts)
	awaitUp(t, b)
	publish(t, b, message("first", true))
	nc := connect(t, e.url())
	for _, subject := range []string{".g.room.s", ".g.room.u", ".g.room.zzz", ".g.other.s"} {
		if _, err := nc.Request(opts.Prefix+subject, []byte("garbage"), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	fresh := open(t, e.url(), opts)
	awaitUp(t, fresh)
	second := message("second", true)
	publish(t, fresh, second)
	page, err := fresh.History(context.Background(), "room", nil)
	if err != nil || len(page.Messages) != 2 || second.Seq != 2 {
		t.Errorf("%d messages at %d, %v, want 2 at 2", len(page.Messages), second.Seq, err)
	}
	if at, err := fresh.Position(context.Background(), "other"); err != nil || at.Seq != 0 {
		t.Errorf("the position of a group that nobody published to is %d, %v", at.Seq, err)
	}
}

func TestAStreamThatIsGoneIsMadeAgainWithANewEpoch(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	b := open(t, e.url(), opts)
	awaitUp(t, b)
	first, second := message("first", true), message("second", true)
	publish(t, b, first)
	js, err := jetstream.New(connect(t, e.url()))
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(context.Background(), opts.Prefix+"-order"); err != nil {
		t.Fatal(err)
	}
	publish(t, b, second)
	if second.Seq != 1 || second.Epoch == first.Epoch {
		t.Errorf("place %d of %q, want 1 of another epoch than %q", second.Seq, second.Epoch, first.Epoch)
	}
}

func TestNodesThatPublishToOneGroupDoNotStarveEachOther(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	var wg sync.WaitGroup
	var last sync.Map
	for node := range 4 {
		b := open(t, e.url(), opts)
		awaitUp(t, b)
		for range 4 {
			wg.Go(func() {
				for range 50 {
					p := message("x", true)
					if err := b.Publish(context.Background(), p); err != nil {
						t.Errorf("node %d: %v", node, err)
						return
					}
					if _, twice := last.LoadOrStore(p.Seq, true); twice {
						t.Errorf("place %d is given twice", p.Seq)
					}
				}
			})
		}
	}
	wg.Wait()
	for seq := range uint64(800) {
		if _, ok := last.Load(seq + 1); !ok {
			t.Errorf("nobody has place %d", seq+1)
		}
	}
}

func TestANodeThatIsTooSlowIsToldThatItMissedSomething(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	b := open(t, e.url(), opts)
	awaitUp(t, b)
	s := &stuck{release: make(chan struct{})}
	if err := b.Subscribe(context.Background(), "room", s); err != nil {
		t.Fatal(err)
	}
	publish(t, b, message("x", false))
	nc := connect(t, e.url())
	for range 20_000 { // more than there is room for
		if err := nc.Publish(opts.Prefix+".d.room", nil); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, nc)
	if err := b.Unsubscribe(context.Background(), "none", s); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Position(context.Background(), "room"); err != nil { // all of it has come by then
		t.Fatal(err)
	}
	close(s.release)
	eventually(t, "an interruption", func() error {
		if s.interrupted.Load() == 0 {
			return fmt.Errorf("%d failures", s.failed.Load())
		}
		return nil
	})
	if n := s.failed.Load(); n < 2 || n > 201 { // garbage is told of 100 times a second
		t.Errorf("%d failures", n)
	}
}

// A stuck subscriber does not do what it should: it waits.
type stuck struct {
	counter
	release chan struct{}
}

func (s *stuck) Deliver(*wschannels.Publication) { <-s.release }

func TestBadOptionsAreRefused(t *testing.T) {
	for name, o := range map[string]natsbroker.Options{
		"a prefix with a dot":     {Prefix: "a.b"},
		"a prefix with a star":    {Prefix: "*"},
		"a prefix that is long":   {Prefix: strings.Repeat("x", 33)},
		"a history of less":       {History: wschannels.HistoryLimits{Bytes: -1}},
		"an instant":              {Retain: time.Millisecond},
		"no replica":              {Replicas: -1},
		"too many":                {Replicas: 6},
		"no majority":             {Replicas: 2},
		"another storage":         {Storage: nats.StorageType(7)},
		"a negative timeout":      {RequestTimeout: -1},
		"a probe before the last": {ProbeInterval: -1},
		"probes without a pause":  {ProbeInterval: 1},
	} {
		b, err := natsbroker.Open("nats://127.0.0.1:1", &o)
		if err == nil {
			closeBroker(t, b)
		}
		if !errors.Is(err, wschannels.ErrInvalidOption) {
			t.Errorf("%s: %v, want ErrInvalidOption", name, err)
		}
	}
	if _, err := natsbroker.New(nil, nil); !errors.Is(err, wschannels.ErrInvalidOption) {
		t.Errorf("no connection: %v, want ErrInvalidOption", err)
	}
}
