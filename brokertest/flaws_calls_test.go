package brokertest_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/wschannels/wschannels"
)

func (n *flawedNode) Position(ctx context.Context, group string) (wschannels.Position, error) {
	ctx, err := n.usable(ctx)
	if err != nil {
		return wschannels.Position{}, err
	}
	at, err := n.wireNode.Position(ctx, n.name(group))
	if at.Seq > 0 && n.flaw("has an old position") {
		at.Seq--
	}
	return at, n.failed(err)
}

func (n *flawedNode) History(ctx context.Context, group string, opts *wschannels.HistoryOptions) (wschannels.HistoryPage, error) {
	ctx, err := n.usable(ctx)
	if err != nil {
		return wschannels.HistoryPage{}, err
	}
	var o wschannels.HistoryOptions
	if opts != nil {
		o = *opts
	}
	last := o.Last
	if n.flaw("returns the oldest as last") {
		o.Last = 0
	}
	if o.After != nil && o.After.Seq > 0 && n.flaw("includes After") {
		o.After = &wschannels.Position{Epoch: o.After.Epoch, Seq: o.After.Seq - 1}
	}
	page, err := n.wireNode.History(ctx, n.name(group), &o)
	switch ms := page.Messages; n.engine.flaw {
	case "returns the oldest as last":
		if last > 0 && len(ms) > last {
			page.Messages = ms[:last]
		}
	case "is always complete":
		page.Complete = true
	case "has a history that lags":
		page.Messages = ms[:max(0, len(ms)-1)]
	case "keeps more for a moment": // it is to keep 5
		if page.Position.Seq%5 != 0 && len(ms) > 5 {
			page.Messages = ms[len(ms)-5:]
		}
	}
	return page, n.failed(err)
}

func (n *flawedNode) Flush(ctx context.Context, groups ...string) error {
	ctx, err := n.usable(ctx)
	if err != nil {
		return err
	}
	for i, g := range groups {
		groups[i] = n.name(g)
	}
	all := n.flaw("flushes all") || n.flaw("takes * for a pattern when it flushes") && strings.Contains(strings.Join(groups, ""), "*")
	switch {
	case all:
		groups = nil
	case len(groups) == 0 && n.flaw("flushes nothing without names"):
		return nil
	}
	return n.failed(n.wireNode.Flush(ctx, groups...))
}

// flawed returns what the history is limited to.
func (e *wireEngine) flawed(l wschannels.HistoryLimits) wschannels.HistoryLimits {
	switch e.flaw {
	case "keeps one more":
		l.Len++
	case "keeps one byte more":
		l.Bytes++
	case "keeps messages longer":
		l.TTL += time.Minute
	case "keeps more for a moment":
		l.Len, l.Bytes = 2*l.Len, 2*l.Bytes
	}
	return l
}

func (n *flawedNode) Listen(ctx context.Context, address string, l wschannels.Listener) error {
	ctx, err := n.usable(ctx)
	if err != nil {
		return err
	}
	return n.failed(n.wireNode.Listen(ctx, n.name(address), flawedListener{n, l}))
}

func (n *flawedNode) Unlisten(ctx context.Context, address string, l wschannels.Listener) error {
	ctx, err := n.usable(ctx)
	if err != nil || n.flaw("hears after Unlisten") {
		return err
	}
	return n.wireNode.Unlisten(ctx, n.name(address), flawedListener{n, l})
}

func (n *flawedNode) Request(ctx context.Context, address string, data []byte) ([]byte, error) {
	ctx, err := n.usable(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := n.wireNode.Request(ctx, n.name(address), data)
	switch {
	case errors.Is(err, wschannels.ErrNobody) && n.flaw("waits for somebody"):
		<-ctx.Done()
		err = wschannels.ErrUnknownOutcome
	case errors.Is(err, wschannels.ErrUnknownOutcome) && n.flaw("takes silence for nobody"):
		err = wschannels.ErrNobody
	case err == nil && n.flaw("mixes answers up"):
		n.mu.Lock()
		if n.answer != nil {
			answer, n.answer = n.answer, answer
		} else {
			n.answer = answer
		}
		n.mu.Unlock()
	}
	return answer, n.failed(err)
}

// A flawedListener is a Listener as a flawed node treats it.
type flawedListener struct {
	n *flawedNode
	l wschannels.Listener
}

func (f flawedListener) Interrupted(address string) { f.l.Interrupted(address) }

func (f flawedListener) Hear(address string, data []byte, answer func([]byte)) {
	switch f.n.engine.flaw {
	case "hears twice":
		f.l.Hear(address, data, answer)
	case "asks one listener":
		if !f.n.engine.first(address + string(data)) {
			return
		}
	}
	f.l.Hear(address, data, answer)
}

// first reports whether nobody was asked that before.
func (e *wireEngine) first(what string) bool {
	e.numbering.Lock()
	defer e.numbering.Unlock()
	if slices.Contains(e.asked, what) {
		return false
	}
	e.asked = append(e.asked, what)
	return true
}

func (n *flawedNode) PutMail(ctx context.Context, user string, msgs []wschannels.Message, front bool, limits wschannels.MailboxLimits) (kept, lost int, err error) {
	if ctx, err = n.usable(ctx); err != nil {
		return 0, 0, err
	}
	user = n.name(user)
	switch n.engine.flaw {
	case "has no front":
		front = false
	case "keeps one byte more":
		limits.Bytes++
	case "keeps messages longer":
		limits.TTL += time.Minute
	case "refuses new mail when full":
		had, _ := n.wireNode.TakeMail(ctx, user)
		_, _, _ = n.wireNode.PutMail(ctx, user, had, false, limits)
		size := 0
		for _, m := range append(had, msgs...) {
			size += len(m.Data) + 128
		}
		if size > limits.Bytes {
			return 0, len(msgs), nil
		}
	}
	kept, lost, err = n.wireNode.PutMail(ctx, user, msgs, front, limits)
	return kept, lost, n.failed(err)
}

func (n *flawedNode) TakeMail(ctx context.Context, user string) (ms []wschannels.Message, err error) {
	if ctx, err = n.usable(ctx); err != nil {
		return nil, err
	}
	user = n.name(user)
	ms, err = n.wireNode.TakeMail(ctx, user)
	again := wschannels.MailboxLimits{Bytes: 1 << 20, TTL: time.Hour}
	switch n.engine.flaw {
	case "takes mail in the wrong order":
		slices.Reverse(ms)
	case "leaves mail where it is":
		_, _, _ = n.wireNode.PutMail(ctx, user, ms, true, again)
	case "takes mail in two steps":
		_, _, _ = n.wireNode.PutMail(ctx, user, ms, true, again)
		runtime.Gosched()
		_, err = n.wireNode.TakeMail(ctx, user)
	}
	return ms, n.failed(err)
}

func (n *flawedNode) Renew(ctx context.Context, node string, lease time.Duration) (alive []string, err error) {
	if ctx, err = n.usable(ctx); err != nil {
		return nil, err
	}
	switch n.engine.flaw {
	case "has leases without an end":
		lease = time.Hour
	case "has short leases":
		lease /= 4
	case "does not renew":
		if !n.engine.first("renew " + n.prefix + node) {
			node, lease = "another", time.Hour
		}
	}
	alive, err = n.wireNode.Renew(ctx, node, lease)
	return alive, n.failed(err)
}

func (n *flawedNode) SetPresence(ctx context.Context, group string, entries ...wschannels.PresenceEntry) error {
	ctx, err := n.usable(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	for _, e := range entries {
		n.own[e.ID] = true
	}
	n.mu.Unlock()
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Gone = entries[i].Gone && !n.flaw("does not forget who is gone")
	}
	return n.failed(n.wireNode.SetPresence(ctx, n.name(group), entries...))
}

func (n *flawedNode) Presence(ctx context.Context, group string) (es []wschannels.PresenceEntry, err error) {
	if ctx, err = n.usable(ctx); err != nil {
		return nil, err
	}
	es, err = n.wireNode.Presence(ctx, n.name(group))
	return es, n.failed(err)
}
