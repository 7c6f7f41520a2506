package wschannels_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

var errEngine = errors.New("the engine is away")

// A promiseLink is a Broker that has its engine elsewhere.
type promiseLink struct {
	*wschannels.MemoryBroker // the engine

	silent bool // what cannot be done waits for its context, instead of failing

	mu   sync.Mutex    // guards what follows
	cut  chan struct{} // nil: connected; else closed when it is again
	held []promiseHeld // what is to be delivered then
}

type promiseHeld struct {
	to wschannels.Subscriber
	p  *wschannels.Publication
}

// reach returns once the engine can be reached.
func (l *promiseLink) reach(ctx context.Context) error {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	switch {
	case cut == nil:
		return nil
	case !l.silent:
		return errEngine
	}
	select {
	case <-cut:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *promiseLink) cutOff() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = make(chan struct{})
}

func (l *promiseLink) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.held {
		h.to.Deliver(h.p)
	}
	l.held = nil
	close(l.cut)
	l.cut = nil
}

func (l *promiseLink) Publish(ctx context.Context, p *wschannels.Publication) error {
	if err := l.reach(ctx); err != nil {
		return err
	}
	return l.MemoryBroker.Publish(ctx, p)
}

func (l *promiseLink) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	if err := l.reach(ctx); err != nil {
		return err
	}
	return l.MemoryBroker.Subscribe(ctx, group, promiseEnd{l, s})
}

func (l *promiseLink) Unsubscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := l.reach(ctx); err != nil {
		return err
	}
	return l.MemoryBroker.Unsubscribe(ctx, group, promiseEnd{l, s})
}

func (l *promiseLink) Position(ctx context.Context, group string) (wschannels.Position, error) {
	if err := l.reach(ctx); err != nil {
		return wschannels.Position{}, err
	}
	return l.MemoryBroker.Position(ctx, group)
}

func (l *promiseLink) History(ctx context.Context, group string, opts *wschannels.HistoryOptions) (wschannels.HistoryPage, error) {
	if err := l.reach(ctx); err != nil {
		return wschannels.HistoryPage{}, err
	}
	return l.MemoryBroker.History(ctx, group, opts)
}

func (l *promiseLink) Flush(ctx context.Context, groups ...string) error {
	if err := l.reach(ctx); err != nil {
		return err
	}
	return l.MemoryBroker.Flush(ctx, groups...)
}

func (l *promiseLink) Listen(ctx context.Context, address string, to wschannels.Listener) error {
	if err := l.reach(ctx); err != nil {
		return err
	}
	return l.MemoryBroker.Listen(ctx, address, to)
}

func (l *promiseLink) Request(ctx context.Context, address string, data []byte) ([]byte, error) {
	if err := l.reach(ctx); err != nil {
		return nil, err
	}
	return l.MemoryBroker.Request(ctx, address, data)
}

func (l *promiseLink) PutMail(ctx context.Context, user string, ms []wschannels.Message, front bool, limits wschannels.MailboxLimits) (kept, lost int, err error) {
	if err := l.reach(ctx); err != nil {
		return 0, 0, err
	}
	return l.MemoryBroker.PutMail(ctx, user, ms, front, limits)
}

func (l *promiseLink) TakeMail(ctx context.Context, user string) ([]wschannels.Message, error) {
	if err := l.reach(ctx); err != nil {
		return nil, err
	}
	return l.MemoryBroker.TakeMail(ctx, user)
}

// A promiseEnd is the end of a link that messages come out of.
type promiseEnd struct {
	link *promiseLink
	to   wschannels.Subscriber
}

func (e promiseEnd) Appear(group string, p wschannels.PresenceEntry) { e.to.Appear(group, p) }
func (e promiseEnd) Interrupted(group string)                        { e.to.Interrupted(group) }
func (e promiseEnd) Failed(err error)                                { e.to.Failed(err) }

func (e promiseEnd) Deliver(p *wschannels.Publication) {
	e.link.mu.Lock()
	defer e.link.mu.Unlock()
	if e.link.cut == nil {
		e.to.Deliver(p)
		return
	}
	e.link.held = append(e.link.held, promiseHeld{e.to, &wschannels.Publication{ // p is not ours to keep
		Message: p.Message, Epoch: p.Epoch, Save: p.Save, Saved: p.Saved, Except: p.Except,
	}})
}

// promiseCluster returns two boxes on one engine, and their links.
func promiseCluster(t *testing.T, silent bool) (boxes [2]*wschannels.ChannelBox, links [2]*promiseLink) {
	t.Helper()
	const plenty = 1 << 30
	engine, err := wschannels.NewMemoryBroker(&wschannels.MemoryBrokerOptions{
		History: wschannels.HistoryLimits{Bytes: plenty}, HistoryBytes: plenty,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range boxes {
		links[i] = &promiseLink{MemoryBroker: engine, silent: silent}
		boxes[i] = boxOf(t, &wschannels.Options{Broker: links[i]})
	}
	return boxes, links
}
