package redisbroker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// History is [wschannels.HistoryBroker]'s.
func (b *Broker) History(ctx context.Context, group string, opts *wschannels.HistoryOptions) (wschannels.HistoryPage, error) {
	var o wschannels.HistoryOptions
	if opts != nil {
		o = *opts
	}
	channel := b.channel(ofGroup, group)
	known, err := b.enter(ctx, channel)
	if err != nil {
		return wschannels.HistoryPage{}, err
	}
	defer b.leave()
	var after wschannels.Position
	seq, count := "", 0
	if o.After != nil {
		after, seq = *o.After, strconv.FormatUint(o.After.Seq, 10)
	}
	if o.Since.IsZero() { // else it decides which are the last
		count = max(o.Last, 0)
	}
	keys, args := groupArgs(channel, known, after.Epoch, seq, strconv.Itoa(count))
	reply, err := b.run(ctx, true, 5, b.scripts.history, keys, args)
	if err != nil {
		return wschannels.HistoryPage{}, err
	}
	page, junk, err := readPage(reply, group, o, count > 0)
	if junk {
		b.garbage(channel)
	}
	return page, err
}

// readPage reads what the script returned. What no broker wrote is junk, and is left out.
func readPage(reply []rueidis.RedisMessage, group string, o wschannels.HistoryOptions, newestFirst bool) (page wschannels.HistoryPage, junk bool, err error) {
	if page.Position, err = position(reply); err != nil {
		return page, false, err
	}
	lost, err1 := reply[2].AsUint64()
	entries, err2 := reply[3].AsXRange()
	dropped, err3 := reply[4].AsInt64()
	if err := errors.Join(err1, err2, err3); err != nil {
		return page, false, err
	}
	junk = dropped > 0
	page.Messages = make([]wschannels.Message, 0, len(entries))
	for _, e := range entries {
		var p wschannels.Publication
		seq, _, _ := strings.Cut(e.ID, "-")
		if p.Seq, err = strconv.ParseUint(seq, 10, 64); err == nil {
			err = p.UnmarshalBinary([]byte(e.FieldValues["p"]))
		}
		if err != nil {
			junk = true
			lost = max(lost, p.Seq) // it may be in the place of a message
			continue
		}
		p.Group = group
		if p.Created.Before(o.Since) && !o.Since.IsZero() {
			continue
		}
		page.Messages = append(page.Messages, p.Message)
	}
	if newestFirst {
		slices.Reverse(page.Messages)
	}
	if n := len(page.Messages) - o.Last; o.Last > 0 && n > 0 {
		page.Messages = page.Messages[n:]
	}
	page.Complete = o.After != nil && o.After.Epoch == page.Position.Epoch &&
		lost <= o.After.Seq && o.After.Seq <= page.Position.Seq
	return page, junk, nil
}

// flushers is how many groups are flushed at a time.
const flushers = 32

// Flush is [wschannels.HistoryBroker]'s. With several groups it is one step for each; after
// an error some may have been flushed.
func (b *Broker) Flush(ctx context.Context, groups ...string) error {
	if len(groups) == 0 {
		var err error
		if groups, err = b.saved(ctx); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, min(flushers, len(groups)))
	for i := range errs {
		wg.Go(func() {
			for j := i; j < len(groups) && errs[i] == nil; j += len(errs) {
				_, errs[i] = b.at(ctx, false, b.scripts.flush, groups[j])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// saved returns the groups that have a history.
func (b *Broker) saved(ctx context.Context) ([]string, error) {
	if _, err := b.enter(ctx, b.inbox); err != nil {
		return nil, err
	}
	defer b.leave()
	found := make(map[string]struct{})
	for _, node := range b.client.Nodes() { // replicas, too: it does no harm
		for cursor := uint64(0); ; {
			page, err := node.Do(ctx, read(node.B().Scan().Cursor(cursor).Match(b.opts.Prefix+":{"+ofGroup+"*}log").Count(1000).Build())).AsScanEntry()
			if err != nil {
				return nil, failure(ctx, true, err)
			}
			for _, key := range page.Elements {
				if group, ok := b.groupOf(key); ok {
					found[group] = struct{}{}
				}
			}
			if cursor = page.Cursor; cursor == 0 {
				break
			}
		}
	}
	groups := make([]string, 0, len(found))
	for group := range found {
		groups = append(groups, group)
	}
	return groups, nil
}
