package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A scriptBroker does what a test says: nothing comes but what the test delivers, and the
// history has what the test put there.
type scriptBroker struct {
	mu           sync.Mutex // guards what follows
	to           wschannels.Subscriber
	at           wschannels.Position
	saved        []wschannels.Message
	err          error         // of Position and History, if not nil
	block        chan struct{} // Position and History wait for it, if not nil
	asked        int
	publishErr   error
	unsubscribed int
}

func (b *scriptBroker) Publish(_ context.Context, p *wschannels.Publication) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.publishErr != nil {
		return b.publishErr
	}
	b.at.Seq++
	p.Seq, p.Epoch = b.at.Seq, b.at.Epoch
	if p.Saved = p.Save; p.Saved {
		b.saved = append(b.saved, p.Message)
	}
	return nil
}

func (b *scriptBroker) Subscribe(_ context.Context, _ string, s wschannels.Subscriber) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to = s
	return nil
}

func (b *scriptBroker) Unsubscribe(context.Context, string, wschannels.Subscriber) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsubscribed++
	return nil
}

func (b *scriptBroker) Close(context.Context) error { return nil }

// ask waits as the test says, and returns what there is then.
func (b *scriptBroker) ask(ctx context.Context, after *wschannels.Position) (page wschannels.HistoryPage, err error) {
	b.mu.Lock()
	b.asked++
	block := b.block
	b.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return page, context.Cause(ctx)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	page.Position = b.at
	for _, m := range b.saved {
		if after == nil || after.Epoch != b.at.Epoch || m.Seq > after.Seq {
			page.Messages = append(page.Messages, m)
		}
	}
	page.Complete = after != nil && after.Epoch == b.at.Epoch
	return page, b.err
}

func (b *scriptBroker) Position(ctx context.Context, _ string) (wschannels.Position, error) {
	page, err := b.ask(ctx, nil)
	return page.Position, err
}

func (b *scriptBroker) History(ctx context.Context, _ string, opts *wschannels.HistoryOptions) (wschannels.HistoryPage, error) {
	return b.ask(ctx, opts.After)
}

func (*scriptBroker) Flush(context.Context, ...string) error { return nil }

// A script is a test on one box with one member of group "g", on a scriptBroker at "a", 0.
type script struct {
	*scriptBroker
	t    *testing.T
	box  *wschannels.ChannelBox
	c    *wschannels.Channel
	conn *wschannelstest.Conn

	reports []error // of OnError; guarded by mu
}

const (
	scriptTimeout = 5 * time.Second
	scriptGrace   = time.Second // for what is on its way
)

// runScript runs f in a bubble. unable hides the history.
func runScript(t *testing.T, f func(s *script)) { runScriptWith(t, nil, f) }

func runScriptWith(t *testing.T, set func(s *script, o *wschannels.Options), f func(s *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, scriptBroker: &scriptBroker{at: wschannels.Position{Epoch: "a"}}}
		opts := wschannels.Options{
			Broker: s.scriptBroker, BrokerTimeout: scriptTimeout,
			Events: wschannels.Events{OnError: func(c *wschannels.Channel, err error) {
				if c != nil {
					t.Errorf("an error of channel %v: %v", c, err)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				s.reports = append(s.reports, err)
			}},
		}
		if set != nil {
			set(s, &opts)
		}
		s.box = boxOf(t, &opts)
		s.c, s.conn = boxMember(t, s.box, &boxRoomy, "g")
		f(s)
	})
}

// message returns the one that is, or would be, at epoch and seq.
func scriptMessage(epoch string, seq uint64) wschannels.Message {
	return wschannels.Message{
		ID: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, epoch, seq)), Group: "g", Seq: seq, Created: time.Now(),
		Type: wschannels.Text, Data: fmt.Append(nil, epoch, seq),
	}
}

// publish has messages of the epoch published up to seq, of which those of saved are.
func (s *script) publish(epoch string, seq uint64, saved ...uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch != s.at.Epoch {
		s.scriptBroker.saved = nil
	}
	s.at = wschannels.Position{Epoch: epoch, Seq: seq}
	for _, n := range saved {
		s.scriptBroker.saved = append(s.scriptBroker.saved, scriptMessage(epoch, n))
	}
}

// set says what Position and History do from now on.
func (s *script) set(block chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block, s.err = block, err
}

// hear delivers messages of the epoch, which have been published.
func (s *script) hear(epoch string, seqs ...uint64) {
	s.mu.Lock()
	if last := slices.Max(seqs); epoch == s.at.Epoch {
		s.at.Seq = max(s.at.Seq, last)
	} else {
		s.at = wschannels.Position{Epoch: epoch, Seq: last}
	}
	to := s.to
	s.mu.Unlock()
	for _, n := range seqs {
		to.Deliver(&wschannels.Publication{Message: scriptMessage(epoch, n), Epoch: epoch})
	}
}

// want checks what the member was written since the last time.
func (s *script) want(what string, want ...string) {
	s.t.Helper()
	synctest.Wait()
	boxWant(s.t, what, boxFlushed(s.t, s.c, s.conn), want)
}

// reported returns what was reported since the last time.
func (s *script) reported() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reports
}

// wantLost checks what was reported since the last time, and Stats. Err is compared by
// errors.Is.
func (s *script) wantLost(want ...wschannels.LostError) {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reports) != len(want) {
		s.t.Fatalf("reported: %v, want %d errors: %+v", s.reports, len(want), want)
	}
	for i, w := range want {
		w.Group = "g"
		var got *wschannels.LostError
		if !errors.As(s.reports[i], &got) || !errors.Is(got.Err, w.Err) || (w.Err == nil) != (got.Err == nil) {
			s.t.Errorf("reported: %v, want %+v", s.reports[i], w)
			continue
		}
		w.Err = got.Err
		if *got != w {
			s.t.Errorf("reported: %+v, want %+v", *got, w)
		}
	}
	s.reports = nil
}

func lost(epoch string, from, to, n uint64, err error) wschannels.LostError {
	return wschannels.LostError{Epoch: epoch, From: from, To: to, Lost: n, Err: err}
}

// scriptTexts are the texts of messages of the epoch.
func scriptTexts(epoch string, from, to int) []string {
	var s []string
	for _, n := range boxNumbers(from, to) {
		s = append(s, epoch+n)
	}
	return s
}

// A latePage is a scriptBroker whose first page arrives late.
type latePage struct {
	*scriptBroker
	gate  chan struct{}
	asked atomic.Bool
}

func (b *latePage) History(ctx context.Context, group string, opts *wschannels.HistoryOptions) (wschannels.HistoryPage, error) {
	page, err := b.scriptBroker.History(ctx, group, opts)
	if !b.asked.Swap(true) {
		<-b.gate
	}
	return page, err
}
