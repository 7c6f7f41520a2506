package brokertest_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// A flawedNode is a wireNode that does one thing wrong: what its engine's flaw says.
type flawedNode struct {
	*wireNode

	mu     sync.Mutex // guards what follows
	own    map[uuid.UUID]bool
	counts map[string]int
	held   *wschannels.Publication
	answer []byte // to an earlier request
	shut   bool
}

func newFlawed(n *wireNode) wschannels.Broker {
	f := &flawedNode{wireNode: n, own: make(map[uuid.UUID]bool), counts: make(map[string]int)}
	if n.flaw("has no mailboxes") {
		return struct {
			wschannels.Broker
			wschannels.HistoryBroker
			wschannels.RequestBroker
			wschannels.PresenceBroker
			based
		}{f, f, f, f, f}
	}
	if n.flaw("leaves a goroutine") {
		go func() { <-make(chan struct{}) }()
	}
	return f
}

// name is what the node takes a name for.
func (n *flawedNode) name(s string) string {
	if n.flaw("folds the case of names") {
		return strings.ToLower(s)
	}
	return s
}

// usable is what every call begins with.
func (n *flawedNode) usable(ctx context.Context) (context.Context, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shut {
		return ctx, wschannels.ErrClosed
	}
	if n.flaw("ignores contexts") {
		ctx = context.WithoutCancel(ctx)
	}
	return ctx, nil
}

// failed is what every call that needs the engine ends with.
func (n *flawedNode) failed(err error) error {
	if n.flaw("has errors of its own") && (errors.Is(err, wschannels.ErrUnavailable) || errors.Is(err, wschannels.ErrUnknownOutcome)) {
		return errors.New("EOF")
	}
	return err
}

func (n *flawedNode) Publish(ctx context.Context, p *wschannels.Publication) error {
	ctx, err := n.usable(ctx)
	if err != nil {
		return err
	}
	if n.flaw("refuses large payloads") && len(p.Data) > 65_535 {
		return wschannels.ErrTooLarge
	}
	group, save := p.Group, p.Save
	p.Group = n.name(group)
	p.Save = save || n.flaw("saves everything")
	n.mu.Lock()
	n.own[p.ID] = true
	n.mu.Unlock()
	n.engine.number(p.ID)
	if n.flaw("waits for the slowest") {
		for !n.engine.slowest.TryLock() {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		defer n.engine.slowest.Unlock()
	}
	err = n.publish(ctx, p)
	p.Group, p.Save = group, save
	n.replace(p)
	if n.flaw("does not set Saved") {
		p.Saved = false
	}
	return n.failed(err)
}

// publish takes a while, in which the connection may break.
func (n *flawedNode) publish(ctx context.Context, p *wschannels.Publication) error {
	again, lies := n.flaw("publishes again"), n.flaw("says that nothing was published")
	for {
		c := n.current()
		err := n.wireNode.Publish(ctx, p)
		if err != nil || !again && !lies {
			return err
		}
		<-time.After(3 * time.Millisecond)
		switch {
		case !c.isDead():
			return nil
		case lies:
			return wschannels.ErrUnavailable
		}
		for n.current() == c || n.current() == nil {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return wschannels.ErrUnknownOutcome
			}
		}
	}
}

// replace gives p another place.
func (n *flawedNode) replace(p *wschannels.Publication) {
	switch n.engine.flaw {
	case "leaves holes":
		p.Seq *= 2
	case "starts at 0":
		p.Seq--
	case "has one order for all groups":
		p.Seq = n.engine.number(p.ID)
	case "goes on in an old epoch":
		p.Epoch = "old"
	}
}

// number counts what is published, whatever its group.
func (e *wireEngine) number(id uuid.UUID) uint64 {
	e.numbering.Lock()
	defer e.numbering.Unlock()
	if e.numbers == nil {
		e.numbers = make(map[uuid.UUID]uint64)
	}
	if e.numbers[id] == 0 {
		e.numbers[id] = uint64(len(e.numbers) + 1)
	}
	return e.numbers[id]
}

func (n *flawedNode) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	ctx, err := n.usable(ctx)
	if err != nil {
		return err
	}
	group, s = n.name(group), flawedSubscriber{n, s}
	n.mu.Lock()
	n.counts[group]++
	n.mu.Unlock()
	if n.flaw("subscribes later") {
		time.AfterFunc(20*time.Millisecond, func() { _ = n.wireNode.Subscribe(context.Background(), group, s) })
		return nil
	}
	if err = n.wireNode.Subscribe(ctx, group, s); err != nil && n.flaw("subscribes when it has failed to") {
		n.wireNode.mu.Lock()
		n.subscribers[group] = append(n.subscribers[group], s)
		n.wireNode.mu.Unlock()
	}
	return n.failed(err)
}

func (n *flawedNode) Unsubscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	ctx, err := n.usable(ctx)
	if err != nil {
		return err
	}
	group, s = n.name(group), flawedSubscriber{n, s}
	n.mu.Lock()
	n.counts[group]--
	left := n.counts[group]
	n.mu.Unlock()
	switch n.engine.flaw {
	case "delivers to who has unsubscribed":
		return nil
	case "counts subscriptions":
		if left > 0 {
			return nil
		}
	case "forgets no group":
		if n.current() == nil {
			return nil
		}
	case "needs the engine to unsubscribe":
		if _, err := n.Position(ctx, group); err != nil {
			return err
		}
	case "unsubscribes all of a node":
		n.wireNode.mu.Lock()
		n.subscribers[group] = nil
		n.wireNode.mu.Unlock()
	}
	err = n.wireNode.Unsubscribe(ctx, group, s)
	if n.flaw("keeps the engine's subscription") {
		_ = n.wireNode.Subscribe(ctx, group, flawedSubscriber{n, nil})
	}
	return err
}

// A flawedSubscriber is a Subscriber as a flawed node treats it.
type flawedSubscriber struct {
	n *flawedNode
	s wschannels.Subscriber // nil: nobody
}

func (f flawedSubscriber) Deliver(p *wschannels.Publication) {
	n := f.n
	if f.s == nil {
		return
	}
	n.mu.Lock()
	own, held := n.own[p.ID], n.held
	n.held = nil
	n.mu.Unlock()
	n.replace(p)
	switch n.engine.flaw {
	case "drops a message":
		if p.Seq%7 == 3 {
			return
		}
	case "delivers a message twice":
		if p.Seq%7 == 3 {
			f.s.Deliver(p)
		}
	case "delivers nothing to the origin":
		if own {
			return
		}
	case "reorders":
		if held == nil && p.Seq%10 == 5 {
			n.mu.Lock()
			n.held = p
			n.mu.Unlock()
			return
		}
		if held != nil {
			defer f.s.Deliver(held)
		}
	case "delivers concurrently":
		go f.s.Deliver(p)
		return
	case "cuts payloads at a zero byte":
		p.Data, _, _ = bytes.Cut(p.Data, []byte{0})
	case "forgets Except":
		p.Except = nil
	case "rounds times":
		p.Created = p.Created.Truncate(time.Millisecond)
	case "forgets Saved":
		p.Saved = false
	case "waits for the slowest":
		n.engine.slowest.Lock()
		defer n.engine.slowest.Unlock()
	}
	f.s.Deliver(p)
}

func (f flawedSubscriber) Appear(group string, e wschannels.PresenceEntry) {
	f.n.mu.Lock()
	own := f.n.own[e.ID]
	f.n.mu.Unlock()
	if f.s != nil && (own || !f.n.flaw("tells no other node who is there")) {
		f.s.Appear(group, e)
	}
}

func (f flawedSubscriber) Interrupted(group string) {
	if f.s != nil {
		f.s.Interrupted(group)
	}
}

func (f flawedSubscriber) Failed(err error) {
	if f.s == nil {
		return
	}
	garbage := !errors.Is(err, wschannels.ErrUnavailable)
	if garbage && f.n.flaw("ignores garbage") {
		return
	}
	f.s.Failed(err)
	if garbage && f.n.flaw("reports garbage twice") {
		f.s.Failed(err)
	}
}

func (n *flawedNode) Close(ctx context.Context) error {
	switch n.engine.flaw {
	case "works after Close":
		return nil
	case "does not close while the engine is away":
		for n.current() == nil || n.current().isDead() {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	case "delivers after Close":
		n.mu.Lock()
		n.shut = true
		n.mu.Unlock()
		return nil
	}
	return n.wireNode.Close(ctx)
}
