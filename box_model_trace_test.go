package wschannels_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// What a failure shows: the operations on the group and the channel that it is about.

type modelLine struct {
	call int64
	text string
}

// modelTrace returns the lines in order, without the first sends if there are many.
func modelTrace(lines []modelLine) string {
	slices.SortFunc(lines, func(a, b modelLine) int { return cmp.Compare(a.call, b.call) })
	const most = 40
	text := new(strings.Builder)
	if n := len(lines) - most; n > 0 {
		fmt.Fprintf(text, "    (without the sends among the first %d)\n", n)
		i := 0
		lines = slices.DeleteFunc(lines, func(l modelLine) bool {
			i++
			return i <= n && strings.Contains(l.text, "] send ")
		})
	}
	for _, l := range lines {
		fmt.Fprintln(text, "   ", l.text)
	}
	return text.String()
}

func (s modelSpan) String() string { return fmt.Sprintf("[%d,%d]", s.call, s.ret) }

func (s *modelSend) String() string {
	to := s.group + s.user
	if s.ch != nil {
		to = fmt.Sprint("channel ", s.ch.id)
	}
	var except []int
	for _, ch := range s.except {
		except = append(except, ch.id)
	}
	return fmt.Sprintf("%v send %d from %d to %s: form %d, %d bytes, save %v, except %v: Seq %d Saved %v Queued %d Waiting %d Dropped %d Evicted %d Closed %d Remote %d, %v",
		s.modelSpan, s.n, s.box, to, s.form, len(s.text), s.save, except, s.res.Seq, s.res.Saved, s.res.Queued, s.res.Waiting, s.res.Dropped, s.res.Evicted, s.res.Closed, s.res.Remote, s.err)
}

func (j *modelJoin) String() string {
	opts := "no replay"
	if j.opts != nil {
		opts = fmt.Sprintf("last %d, after %v", j.opts.ReplayLast, j.opts.ReplayAfter)
	}
	return fmt.Sprintf("%v channel %d joins %s, %s: %v at %d, Replayed %d, Recovered %v, %v",
		j.modelSpan, j.ch.id, j.group, opts, j.res.Status, j.res.Position.Seq, j.res.Replayed, j.res.Recovered, j.err)
}

func (e *modelEpisode) String() string {
	return fmt.Sprintf("    %v: replay %d, then after %d to between %d and %d (failed: %v)", e.join, e.replay, e.after, e.lo, e.hi, e.failed)
}

// failGroup reports a broken promise of a group, and perhaps of a channel in it.
func (k *modelCheck) failGroup(group string, about *modelChannel, format string, args ...any) {
	k.t.Helper()
	k.failf("%s\n%s", fmt.Sprintf(format, args...), k.trace(group, about))
}

// failChannel reports a broken promise of a channel.
func (k *modelCheck) failChannel(ch *modelChannel, format string, args ...any) {
	k.t.Helper()
	k.failf("%s\n%s", fmt.Sprintf(format, args...), k.trace("", ch))
}

// trace is what happened in group, "" being none, and with ch.
func (k *modelCheck) trace(group string, ch *modelChannel) string {
	var lines []modelLine
	add := func(s modelSpan, text string) { lines = append(lines, modelLine{s.call, text}) }
	for _, s := range k.sends {
		if group != "" && s.group == group || ch != nil && s.ch == ch {
			add(s.modelSpan, s.String())
		}
	}
	for _, j := range k.joins {
		if j.group == group && (ch == nil || ch == j.ch) || group == "" && ch == j.ch {
			add(j.modelSpan, j.String())
		}
	}
	for _, l := range k.leaves {
		switch {
		case l.ch == nil:
			add(l.modelSpan, fmt.Sprintf("%v FlushGroups of box %d", l.modelSpan, l.box))
		case l.group == group && (ch == nil || ch == l.ch), group == "" && ch == l.ch:
			add(l.modelSpan, fmt.Sprintf("%v channel %d leaves %s: %v", l.modelSpan, l.ch.id, l.group, l.status))
		}
	}
	for _, f := range k.flushes {
		if f.group == "" || f.group == group {
			add(f.modelSpan, fmt.Sprintf("%v FlushHistory %s", f.modelSpan, f.group))
		}
	}
	for _, c := range k.closes {
		switch {
		case c.ch == nil:
			add(c.modelSpan, fmt.Sprintf("%v CloseAll of box %d with %d: %d", c.modelSpan, c.box, c.code, c.closed))
		case ch == nil || c.ch == ch:
			add(c.modelSpan, fmt.Sprintf("%v %s with %d of channel %d", c.modelSpan, c.how, c.code, c.ch.id))
		}
	}
	for _, o := range k.chans {
		if ch == nil || o == ch {
			end := modelLine{o.closedBy, fmt.Sprintf("[%d] channel %d has closed: %v", o.closedBy, o.id, o.c.Err())}
			lines = append(lines, end)
			add(o.opened, fmt.Sprintf("%v channel %d opens in box %d: %v, calm %v, policy %d, %d bytes, envelope %v",
				o.opened, o.id, o.box, o.opts.PayloadType, o.calm, o.opts.Slow, o.opts.QueueBytes, o.opts.Envelope))
		}
	}
	return modelTrace(lines)
}
