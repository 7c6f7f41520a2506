package brokertest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wschannels/wschannels"
)

// Publish is Broker's, and so on.
func (n *wireNode) Publish(ctx context.Context, p *wschannels.Publication) error {
	return n.do(ctx, func(m *wschannels.MemoryBroker) error { return m.Publish(ctx, p) })
}

func (n *wireNode) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	return wireAttach(ctx, n, n.subscribers, group, s, (*wireConn).subscribe)
}

func (n *wireNode) Unsubscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	return wireDetach(ctx, n, n.subscribers, group, s, func(c *wireConn) {
		_ = c.memory.Unsubscribe(ctx, group, c)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.groups, group)
	})
}

func (n *wireNode) Position(ctx context.Context, group string) (at wschannels.Position, err error) {
	err = n.do(ctx, func(m *wschannels.MemoryBroker) (err error) {
		at, err = m.Position(ctx, group)
		return err
	})
	return at, err
}

func (n *wireNode) History(ctx context.Context, group string, opts *wschannels.HistoryOptions) (page wschannels.HistoryPage, err error) {
	err = n.do(ctx, func(m *wschannels.MemoryBroker) (err error) {
		page, err = m.History(ctx, group, opts)
		return err
	})
	return page, err
}

func (n *wireNode) Flush(ctx context.Context, groups ...string) error {
	return n.do(ctx, func(m *wschannels.MemoryBroker) error { return m.Flush(ctx, groups...) })
}

func (n *wireNode) Listen(ctx context.Context, address string, l wschannels.Listener) error {
	return wireAttach(ctx, n, n.listeners, address, l, (*wireConn).listen)
}

func (n *wireNode) Unlisten(ctx context.Context, address string, l wschannels.Listener) error {
	return wireDetach(ctx, n, n.listeners, address, l, func(c *wireConn) {
		_ = c.memory.Unlisten(ctx, address, c)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.addresses, address)
	})
}

// wireAttach adds who to those that n has under name, and has its connection begin.
func wireAttach[T comparable](ctx context.Context, n *wireNode, all map[string][]T, name string, who T, begin func(*wireConn, string)) error {
	c, err := n.reach(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn != c || c.isDead() {
		return wschannels.ErrUnavailable
	}
	if !slices.Contains(all[name], who) {
		all[name] = append(all[name], who)
	}
	begin(c, name)
	return nil
}

// wireDetach removes who, and has the connection, if there is one, end if that was the last.
func wireDetach[T comparable](ctx context.Context, n *wireNode, all map[string][]T, name string, who T, end func(*wireConn)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.done:
		return wschannels.ErrClosed
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if all[name] = slices.DeleteFunc(all[name], func(o T) bool { return o == who }); len(all[name]) > 0 {
		return nil
	}
	delete(all, name)
	if n.conn != nil {
		end(n.conn)
	}
	return nil
}

// Request waits without the engine's lock, and no longer than its connection lives.
func (n *wireNode) Request(ctx context.Context, address string, data []byte) ([]byte, error) {
	c, err := n.reach(ctx)
	if err != nil {
		return nil, err
	}
	lost := fmt.Errorf("%w: connection lost", wschannels.ErrUnknownOutcome)
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-c.dead:
			cancel(lost)
		case <-stop:
		}
	}()
	answer, err := c.memory.Request(inner, address, data)
	switch {
	case errors.Is(err, wschannels.ErrUnknownOutcome):
		err = n.unlessClosed(err)
	case err == nil && answer == nil: // says a node whose listener has gone
		err = wschannels.ErrNobody
	}
	return answer, err
}

func (n *wireNode) PutMail(ctx context.Context, user string, msgs []wschannels.Message, front bool, limits wschannels.MailboxLimits) (kept, lost int, err error) {
	err = n.do(ctx, func(m *wschannels.MemoryBroker) (err error) {
		kept, lost, err = m.PutMail(ctx, user, msgs, front, limits)
		return err
	})
	return kept, lost, err
}

func (n *wireNode) TakeMail(ctx context.Context, user string) (ms []wschannels.Message, err error) {
	err = n.do(ctx, func(m *wschannels.MemoryBroker) (err error) {
		ms, err = m.TakeMail(ctx, user)
		return err
	})
	return ms, err
}

func (n *wireNode) Renew(ctx context.Context, node string, lease time.Duration) (alive []string, err error) {
	err = n.do(ctx, func(m *wschannels.MemoryBroker) (err error) {
		alive, err = m.Renew(ctx, node, lease)
		return err
	})
	return alive, err
}

func (n *wireNode) SetPresence(ctx context.Context, group string, entries ...wschannels.PresenceEntry) error {
	return n.do(ctx, func(m *wschannels.MemoryBroker) error { return m.SetPresence(ctx, group, entries...) })
}

func (n *wireNode) Presence(ctx context.Context, group string) (es []wschannels.PresenceEntry, err error) {
	err = n.do(ctx, func(m *wschannels.MemoryBroker) (err error) {
		es, err = m.Presence(ctx, group)
		return err
	})
	return es, err
}

var _ interface {
	wschannels.HistoryBroker
	wschannels.RequestBroker
	wschannels.MailboxBroker
	wschannels.PresenceBroker
} = (*wireNode)(nil)
