package natsbroker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels"
)

// Position is [wschannels.Broker]'s.
func (b *Broker) Position(ctx context.Context, group string) (wschannels.Position, error) {
	ctx, cancel, err := b.call(ctx)
	if err != nil {
		return wschannels.Position{}, err
	}
	defer cancel()
	t, err := b.pin(group)
	if err != nil {
		return wschannels.Position{}, err
	}
	defer t.unpin()
	now, err := t.position(ctx)
	if err != nil {
		return wschannels.Position{}, err
	}
	return now.position(), nil
}

// position asks the stream for the group's tail. A group that has none, or an old one,
// gets a mark: its epoch has to be the same for everybody who asks, and to last.
func (t *topic) position(ctx context.Context) (tail, error) {
	b := t.shard.b
	if err := b.order.ready(ctx); err != nil {
		return tail{}, err
	}
	now, err := t.load(ctx)
	if errors.Is(err, nats.ErrNoResponders) && b.order.again(ctx) == nil {
		now, err = t.load(ctx)
	}
	if err != nil {
		return tail{}, b.failure(ctx, err)
	}
	if (&op{}).needless(&now, b.opts.Retain) {
		return now, nil
	}
	if now.at == 0 {
		t.forgetTail() // what is known is of a stream, or of an order, that is gone
	}
	mark := &op{}
	if err := t.do(ctx, mark); err != nil {
		return tail{}, b.failure(ctx, err)
	}
	return mark.tail, nil
}

// History is [wschannels.HistoryBroker]'s.
func (b *Broker) History(ctx context.Context, group string, opts *wschannels.HistoryOptions) (wschannels.HistoryPage, error) {
	ctx, cancel, err := b.call(ctx)
	if err != nil {
		return wschannels.HistoryPage{}, err
	}
	defer cancel()
	t, err := b.pin(group)
	if err != nil {
		return wschannels.HistoryPage{}, err
	}
	defer t.unpin()
	var o wschannels.HistoryOptions
	if opts != nil {
		o = *opts
	}
	now, err := t.position(ctx)
	if err != nil {
		return wschannels.HistoryPage{}, err
	}
	if o.After != nil && (o.After.Epoch != now.name() || o.After.Seq > now.seq) {
		o.After = nil
	}
	if o.After != nil && o.After.Seq >= now.saved { // the usual case: nothing has been missed
		return wschannels.HistoryPage{Position: now.position(), Complete: true}, nil
	}
	held, lost, err := t.held(ctx, &now)
	if err != nil {
		return wschannels.HistoryPage{}, b.failure(ctx, err)
	}
	return wschannels.HistoryPage{
		Position: now.position(),
		Complete: o.After != nil && lost <= o.After.Seq,
		Messages: choose(held, &o),
	}, nil
}

// choose returns what opts selects of a history.
func choose(held []wschannels.Message, o *wschannels.HistoryOptions) []wschannels.Message {
	held = slices.DeleteFunc(held, func(m wschannels.Message) bool {
		return o.After != nil && m.Seq <= o.After.Seq || !o.Since.IsZero() && m.Created.Before(o.Since)
	})
	if o.Last > 0 && len(held) > o.Last {
		held = held[len(held)-o.Last:]
	}
	return held
}

// held reads the group's history, and the Seq of the last message that was saved and is not
// in it. What has been published since now was read is taken along, as what was there then
// may have made room for it: now becomes the position of what is returned.
func (t *topic) held(ctx context.Context, now *tail) (held []wschannels.Message, lost uint64, err error) {
	for tries := 0; ; tries++ {
		if now.saved <= now.floor {
			return nil, now.saved, nil
		}
		at := now.savedAt
		var newest tail
		if held, lost, newest, err = t.stored(ctx, now); err != nil {
			return nil, 0, err
		}
		if newest.at > now.at {
			*now = newest
		}
		if newest.at >= at || tries == 10 {
			break // at last: it is too old, and nobody has it
		}
		// A replica does not have it yet, or it has been flushed meanwhile.
		pause(ctx, time.Duration(tries)*5*time.Millisecond)
		again, err := t.position(ctx)
		if err != nil {
			return nil, 0, err
		}
		*now = again
	}
	limits := t.shard.b.opts.History
	from, bytes := len(held), 0
	for from > 0 && held[from-1].Seq > now.floor {
		cost := len(held[from-1].Data) + wschannels.MessageCost
		if bytes+cost > limits.Bytes || limits.Len > 0 && len(held)-from >= limits.Len {
			break
		}
		bytes += cost
		from--
	}
	for limits.TTL > 0 && from < len(held) && time.Since(held[from].Created) >= limits.TTL {
		from++
	}
	if from > 0 {
		lost = max(lost, held[from-1].Seq)
	}
	return held[from:], lost, nil
}

// stored reads what the stream has of the group's history in the epoch of now, and the tail
// with the last of it.
func (t *topic) stored(ctx context.Context, now *tail) (held []wschannels.Message, lost uint64, newest tail, err error) {
	lost = now.saved // until something is found
	err = t.shard.b.order.read(ctx, t.subject("s"), 1, func(m *stored) bool {
		b, err := decodeBatch(m.data)
		if err != nil || b.before.epoch != now.epoch {
			return true
		}
		if newest.at == 0 {
			lost = b.before.saved
		}
		newest = b.after(m.seq, m.when)
		for i, item := range b.items {
			var p wschannels.Publication
			if p.UnmarshalBinary(item) != nil {
				continue // nobody gets it
			}
			p.Group, p.Seq = t.group, b.first+uint64(i)
			held = append(held, p.Message)
		}
		return true
	})
	return held, lost, newest, err
}

// Flush is [wschannels.HistoryBroker]'s.
func (b *Broker) Flush(ctx context.Context, groups ...string) error {
	call, cancel, err := b.call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := b.order.ready(call); err != nil {
		return err
	}
	if len(groups) == 0 {
		if groups, err = b.saved(call); err != nil {
			return b.failure(call, err)
		}
	}
	var mu sync.Mutex // guards what follows
	var failed []error
	var wg sync.WaitGroup
	turns := make(chan struct{}, 16)
	for _, group := range groups {
		turns <- struct{}{}
		wg.Go(func() { // ends with its call
			defer func() { <-turns }()
			if err := b.flush(ctx, group); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		})
	}
	wg.Wait()
	if len(failed) > 0 {
		return failed[0]
	}
	return nil
}

func (b *Broker) flush(ctx context.Context, group string) error {
	t, err := b.pin(group)
	if err != nil {
		return err
	}
	defer t.unpin()
	mark := &op{flush: true}
	if err := t.do(ctx, mark); err != nil {
		return err
	}
	// Forgotten it is already. What remains is to give back the room.
	ctx, cancel, err := b.call(ctx)
	if err != nil {
		return nil
	}
	defer cancel()
	_ = b.order.purge(ctx, t.subject("s"), mark.tail.savedAt+1)
	return nil
}

// saved returns the groups that have a history.
func (b *Broker) saved(ctx context.Context) ([]string, error) {
	filter := b.opts.Prefix + ".g.*.s"
	var groups []string
	for offset := 0; ; {
		var answer struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		err := b.order.api(ctx, "STREAM.INFO", map[string]any{"subjects_filter": filter, "offset": offset}, &answer)
		if err != nil {
			return nil, err
		}
		for subject := range answer.State.Subjects {
			name := strings.TrimSuffix(strings.TrimPrefix(subject, b.opts.Prefix+".g."), ".s")
			if group, ok := untoken(name); ok {
				groups = append(groups, group)
			}
		}
		offset += len(answer.State.Subjects)
		if len(answer.State.Subjects) == 0 || offset >= answer.Total {
			return groups, nil
		}
	}
}
