package wschannels_test

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/wschannels/wschannels"
)

// A modelEpisode is one membership: from a join to whatever ended it.
type modelEpisode struct {
	join   *modelJoin
	ch     *modelChannel
	failed bool

	earliest, latest int64 // it ended between these ticks

	after  uint64   // it got what came after this Seq,
	lo, hi uint64   // through at least and at most these
	replay []uint64 // and before that these
}

// possible reports whether it may have existed at some moment of at.
func (e *modelEpisode) possible(at modelSpan) bool { return e.join.call < at.ret && e.latest > at.call }

// definite reports whether it existed throughout at.
func (e *modelEpisode) definite(at modelSpan) bool {
	return !e.failed && e.join.ret < at.call && e.earliest > at.ret
}

// removed reports whether the leave ended a membership.
func (l *modelLeave) removed() bool {
	return l.status == wschannels.ChannelRemoved || l.status == wschannels.GroupRemoved
}

// membership finds the episodes and checks the results of joins.
func (k *modelCheck) membership() {
	byPlace := make(map[modelPlace][]*modelJoin)
	for _, j := range k.joins {
		at := modelPlace{j.ch, j.group}
		byPlace[at] = append(byPlace[at], j)
	}
	leaves := make(map[modelPlace][]*modelLeave)
	for _, l := range k.leaves {
		at := modelPlace{l.ch, l.group}
		leaves[at] = append(leaves[at], l)
		if l.err != nil {
			k.failf("leaving: %v", l.err)
		}
	}
	for at, joins := range byPlace {
		g := k.groups[at.group]
		slices.SortFunc(joins, func(a, b *modelJoin) int { return cmp.Compare(a.call, b.call) })
		var episodes []*modelEpisode
		for i, j := range joins {
			e := k.episode(g, j)
			if e == nil {
				continue
			}
			for _, next := range joins[i+1:] {
				if next.err == nil && next.res.Status == wschannels.ChannelAdded {
					e.latest = min(e.latest, next.ret)
					break
				}
			}
			e.bound(leaves[at], k.endsAt(at.ch))
			e.bound(leaves[modelPlace{}], k.endsAt(at.ch)) // FlushGroups
			e.latest = max(e.latest, e.join.ret)
			e.lo, e.hi = g.before(e.earliest), g.after(e.latest)-1
			episodes = append(episodes, e)
		}
		k.episodes[at] = episodes
		g.episodes = append(g.episodes, episodes...)
		for _, j := range joins {
			k.joined(g, j, episodes)
		}
	}
}

// episode returns what j began, nil if that was nothing.
func (k *modelCheck) episode(g *modelGroup, j *modelJoin) *modelEpisode {
	e := &modelEpisode{join: j, ch: j.ch, earliest: k.endsAt(j.ch), latest: j.ch.closedBy}
	switch {
	case j.err == nil && j.res.Status == wschannels.ChannelAdded:
		e.after = j.res.Position.Seq
	case j.err == nil:
		return nil
	case errors.Is(j.err, context.Canceled), errors.Is(j.err, context.DeadlineExceeded), errors.Is(j.err, wschannels.ErrClosed):
		e.failed, e.earliest, e.latest = true, j.call, j.ret
		e.after = g.before(j.call)
		if j.opts != nil {
			k.failed++
		}
	default:
		return nil
	}
	return e
}

// bound narrows when e ended down, by what took its channel out of its group. A leave
// that found no member may have come while the channel was closing.
func (e *modelEpisode) bound(leaves []*modelLeave, closes int64) {
	for _, l := range leaves {
		all := l.ch == nil
		if all && l.box != e.join.box {
			continue
		}
		if l.ret > e.join.call && (all || l.removed()) {
			e.earliest = min(e.earliest, max(l.call, e.join.call))
		}
		if l.call > e.join.ret && (l.removed() || closes > l.ret) {
			e.latest = min(e.latest, l.ret)
		}
	}
}

// joined checks what a join returned.
func (k *modelCheck) joined(g *modelGroup, j *modelJoin, episodes []*modelEpisode) {
	possible, definite := false, false
	for _, e := range episodes {
		if e.join != j {
			possible = possible || e.possible(j.modelSpan)
			definite = definite || e.definite(j.modelSpan)
		}
	}
	switch {
	case j.err == nil:
		at := j.res.Position
		if at.Epoch != g.epoch || at.Seq < g.before(j.call) || at.Seq >= g.after(j.ret) {
			k.failGroup(g.name, j.ch, "Join: Position %v, want %q from %d to %d", at, g.epoch, g.before(j.call), g.after(j.ret)-1)
		}
		if exists := j.res.Status == wschannels.ChannelExists; exists && !possible || !exists && definite {
			k.failGroup(g.name, j.ch, "Join: %v", j.res.Status)
		}
		if j.res.Status == wschannels.ChannelExists && (j.res.Replayed != 0 || j.res.Recovered) {
			k.failGroup(g.name, j.ch, "Join of a member: %+v", j.res)
		}
	case errors.Is(j.err, wschannels.ErrClosed), errors.Is(j.err, wschannels.ErrNoSuchChannel):
		if k.endsAt(j.ch) > j.ret {
			k.failGroup(g.name, j.ch, "Join of an open channel: %v", j.err)
		}
	case errors.Is(j.err, wschannels.ErrTooManyGroups) && (k.cfg.opts.MaxGroups > 0 || k.cfg.opts.MaxGroupsPerChannel > 0),
		errors.Is(j.err, wschannels.ErrUnauthorized) && j.ch.opts.Authenticator != nil:
	case errors.Is(j.err, context.Canceled), errors.Is(j.err, context.DeadlineExceeded) && !j.ch.calm:
		// somebody else made it leave, or its peer did not read
	default:
		k.failGroup(g.name, j.ch, "Join: %v", j.err)
	}
}

// leaving checks the results of leaves.
func (k *modelCheck) leaving() {
	for _, l := range k.leaves {
		if l.ch == nil {
			continue
		}
		possible, definite := false, false
		for _, e := range k.episodes[modelPlace{l.ch, l.group}] {
			possible = possible || e.possible(l.modelSpan) || l.removed() && e.join.call < l.ret && e.latest >= l.ret
			definite = definite || e.definite(l.modelSpan)
		}
		others, other := false, false // members beside it: possible, definite
		for _, e := range k.groups[l.group].episodes {
			if e.ch != l.ch && e.ch.box == l.box {
				others = others || e.possible(l.modelSpan)
				other = other || e.definite(l.modelSpan)
			}
		}
		switch {
		case l.removed() && !possible, !l.removed() && definite,
			l.status == wschannels.GroupRemoved && other, l.status == wschannels.ChannelRemoved && !others,
			l.status == wschannels.NoSuchGroup && other, l.status == wschannels.ChannelNotMember && !others && !possible,
			l.status.String() == "UNKNOWN":
			k.failGroup(l.group, l.ch, "Leave of channel %d: %v (a member: perhaps %v, surely %v; others: perhaps %v, surely %v)",
				l.ch.id, l.status, possible, definite, others, other)
		}
	}
}

// limits checks that MaxGroupsPerChannel and MaxChannels refuse what is over them, and
// nothing else.
func (k *modelCheck) limits() {
	if limit := k.cfg.opts.MaxGroupsPerChannel; limit > 0 {
		for _, j := range k.joins {
			may, must := 0, 0
			for _, g := range k.groups {
				possible, definite := false, false
				for _, e := range k.episodes[modelPlace{j.ch, g.name}] {
					possible = possible || e.join != j && e.possible(j.modelSpan)
					definite = definite || e.join != j && e.definite(j.modelSpan)
				}
				if possible {
					may++
				}
				if definite {
					must++
				}
			}
			over := errors.Is(j.err, wschannels.ErrTooManyGroups)
			if over && may < limit && k.cfg.opts.MaxGroups == 0 || j.err == nil && j.res.Status == wschannels.ChannelAdded && must >= limit {
				k.failGroup(j.group, j.ch, "Join of channel %d, which is in %d to %d groups of at most %d: %v", j.ch.id, must, may, limit, j.err)
			}
		}
	}
	if limit := k.cfg.opts.MaxChannels; limit > 0 {
		for _, ch := range append(slices.Clone(k.chans), k.refused...) {
			may, must := 0, 0
			for _, o := range k.chans {
				if o != ch && o.opened.call < ch.opened.ret && o.closedBy > ch.opened.call {
					may++
				}
				if o != ch && o.opened.ret < ch.opened.call && k.endsAt(o) > ch.opened.ret {
					must++
				}
			}
			if ch.entered && must >= limit || !ch.entered && may < limit {
				k.failChannel(ch, "entered: %v, with %d to %d channels in the box, of at most %d", ch.entered, must, may, limit)
			}
		}
	}
}

// counts checks the results of the group's sends against who was there.
func (k *modelCheck) counts(g *modelGroup) {
	n := len(g.sends) + 2
	must, may, got, missed := make([]int, n), make([]int, n), make([]int, n), make([]int, n)
	fuzzy, lossy := make([]bool, n), make([]bool, n) // who got it is not sure; not all that was queued arrived
	for at, episodes := range k.episodes {
		if at.group != g.name {
			continue
		}
		ch := at.ch
		have := make(map[uint64]int)
		for _, s := range k.received[ch] {
			if s.group == g.name {
				have[s.res.Seq]++
			}
		}
		sure := k.whole(ch) || ch.opts.Slow != wschannels.SlowDisconnect
		for i, e := range episodes {
			for _, seq := range e.replay {
				if have[seq] > 0 {
					have[seq]--
				}
			}
			for seq := range have { // by a replay that failed, perhaps
				fuzzy[seq] = fuzzy[seq] || e.failed && e.join.opts != nil
			}
			for seq := e.after + 1; seq <= e.hi; seq++ {
				s := g.sends[seq-1]
				if s.box != ch.box || slices.Contains(s.except, ch) {
					continue
				}
				may[seq]++
				if !e.failed && sure && seq <= e.lo {
					must[seq]++
				}
				if e.failed || seq > e.lo && i+1 < len(episodes) {
					fuzzy[seq] = true
				}
				if !k.whole(ch) || !lossless(ch) {
					lossy[seq] = true
				}
			}
		}
		for i, e := range episodes {
			for seq := e.after + 1; seq <= e.hi && !e.failed; seq++ {
				s := g.sends[seq-1]
				if s.box != ch.box || slices.Contains(s.except, ch) {
					continue
				}
				if have[seq] > 0 {
					got[seq]++
				} else if seq <= e.lo && k.whole(ch) && ch.opts.Slow == wschannels.SlowDropNewest && i+1 == len(episodes) {
					missed[seq]++
				}
			}
		}
	}
	for _, s := range g.sends {
		seq, r := s.res.Seq, s.res
		sum := r.Queued + r.Dropped + r.Closed
		switch {
		case sum < must[seq] || sum > may[seq]:
			k.failGroup(g.name, nil, "send %d to %q, Seq %d: %+v are %d members, want %d to %d", s.n, g.name, seq, r, sum, must[seq], may[seq])
		case !fuzzy[seq] && got[seq] > r.Queued:
			k.failGroup(g.name, nil, "send %d to %q, Seq %d: queued for %d, and %d got it", s.n, g.name, seq, r.Queued, got[seq])
		case !fuzzy[seq] && !lossy[seq] && got[seq] != r.Queued:
			k.failGroup(g.name, nil, "send %d to %q, Seq %d: queued for %d, and %d got it: lost", s.n, g.name, seq, r.Queued, got[seq])
		case !fuzzy[seq] && missed[seq] > r.Dropped:
			k.failGroup(g.name, nil, "send %d to %q, Seq %d: Dropped = %d, and %d missed it", s.n, g.name, seq, r.Dropped, missed[seq])
		}
	}
}
