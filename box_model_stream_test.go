package wschannels_test

import (
	"slices"

	"github.com/wschannels/wschannels"
)

// fits reports whether a saved message can be replayed to ch.
func (g *modelGroup) fits(ch *modelChannel, s *modelSend) bool {
	p := s.kept(ch.opts.PayloadType)
	return p != nil && (ch.opts.QueueBytes == 0 || modelSize(ch, p, g.name, g.epoch, s.res.Seq) <= ch.opts.QueueBytes)
}

// replays checks what joins replayed, as far as the joins tell, and notes it.
func (k *modelCheck) replays(g *modelGroup) {
	for _, e := range g.episodes {
		j := e.join
		if e.failed {
			continue
		}
		if j.opts == nil {
			if j.res.Replayed != 0 || j.res.Recovered {
				k.failGroup(g.name, j.ch, "Join without replay: %+v", j.res)
			}
			continue
		}
		k.replayed(g, e)
	}
}

func (k *modelCheck) replayed(g *modelGroup, e *modelEpisode) {
	j, res := e.join, e.join.res
	end, ahead := g.savedUpTo(e.after), g.savedUpTo(g.after(j.ret)-1)
	low, high := g.held(j.modelSpan, end, ahead)
	from, known, perhaps := 0, false, false // what the client has, and whether that counts
	if after := j.opts.ReplayAfter; after != nil {
		from = g.savedUpTo(after.Seq)
		known = after.Epoch == g.epoch && after.Seq <= e.after
		perhaps = after.Epoch == g.epoch && after.Seq < g.after(j.ret)
	}
	first, last := low, high // bounds of where the replay begins
	switch n := j.opts.ReplayLast; {
	case n > 0:
		first, last = max(first, end-n), max(last, ahead-n)
	case known:
		first, last = max(first, from), max(last, from)
	case perhaps:
		last = max(last, from)
	}

	// Of the messages that fit, as many as the result says, from the end.
	begin, left := end, res.Replayed
	for begin > 0 && left > 0 {
		begin--
		if g.fits(e.ch, g.saved[begin]) {
			e.replay = append(e.replay, g.saved[begin].res.Seq)
			left--
		}
	}
	slices.Reverse(e.replay)
	skipped := false
	for _, s := range g.saved[begin:end] {
		skipped = skipped || !g.fits(e.ch, s)
	}
	// Before that, there may be some that do not fit.
	least, mayHaveSkipped := begin, skipped
	for least > first && !g.fits(e.ch, g.saved[least-1]) {
		least--
		mayHaveSkipped = true
	}
	if left > 0 || begin < first || least > last && res.Replayed > 0 || res.Replayed == 0 && least > last && last < end {
		k.failGroup(g.name, e.ch, "Join of channel %d, %+v: %+v, of %d that were saved; it should have begun with the %d. to %d., and began with the %d. to %d.",
			e.ch.id, *j.opts, res, end, first+1, last+1, least+1, begin+1)
		return
	}
	if begin > last { // it began before that, with what does not fit
		skipped = true
	}
	if j.opts.ReplayAfter == nil {
		if res.Recovered {
			k.failGroup(g.name, e.ch, "Join of channel %d, %+v: %+v", e.ch.id, *j.opts, res)
		}
		return
	}
	if res.Recovered && (!known || low > from || skipped) {
		k.failGroup(g.name, e.ch, "Join of channel %d after %v: Recovered, and it is not (known %v, the %d. is the first held, it has %d)",
			e.ch.id, *j.opts.ReplayAfter, known, low+1, from)
	}
	if !res.Recovered && known && high <= from && !mayHaveSkipped {
		k.failGroup(g.name, e.ch, "Join of channel %d after %v: not Recovered, and it is (the %d. is the first held, it has %d)",
			e.ch.id, *j.opts.ReplayAfter, high+1, from)
	}
}

// streams checks that each member got what it must have, in order, and nothing else.
func (k *modelCheck) streams(g *modelGroup) {
	for at, episodes := range k.episodes {
		if at.group != g.name {
			continue
		}
		var got []uint64
		for _, s := range k.received[at.ch] {
			if s.group == g.name {
				got = append(got, s.res.Seq)
			}
		}
		s := &modelStream{g: g, ch: at.ch, episodes: episodes, got: got, whole: k.whole(at.ch), tried: make(map[[2]int]bool)}
		ok := false
		if lossless(at.ch) {
			ok = s.matches(0, 0)
		} else {
			ok = s.someOf()
		}
		if !ok {
			text := ""
			for _, e := range episodes {
				text += e.String() + "\n"
			}
			k.failGroup(g.name, at.ch, "channel %d (%v, policy %d, all written: %v) got of %q %d; its memberships were\n%s",
				at.ch.id, at.ch.opts.PayloadType, at.ch.opts.Slow, s.whole, g.name, got, text)
		}
	}
	for _, ch := range k.chans {
		for _, s := range k.received[ch] {
			if s.group == g.name && len(k.episodes[modelPlace{ch, g.name}]) == 0 {
				k.failGroup(g.name, ch, "channel %d was never in %q, and got send %d", ch.id, g.name, s.n)
			}
		}
	}
}

// A modelStream is what one channel got of one group, and why.
type modelStream struct {
	g        *modelGroup
	ch       *modelChannel
	episodes []*modelEpisode
	got      []uint64
	whole    bool
	tried    map[[2]int]bool
}

// live are the Seqs after which e was to get something.
func (s *modelStream) live(e *modelEpisode) (seqs []uint64) {
	for seq := e.after + 1; seq <= e.hi; seq++ {
		m := s.g.sends[seq-1]
		if !slices.Contains(m.except, s.ch) && m.kept(s.ch.opts.PayloadType) != nil {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// matches reports whether got[i:] is what the episodes from n on must have brought. An
// end by force may cut it anywhere.
func (s *modelStream) matches(n, i int) (ok bool) {
	if n == len(s.episodes) {
		return i == len(s.got)
	}
	if ok, known := s.tried[[2]int{n, i}]; known {
		return ok
	}
	defer func() { s.tried[[2]int{n, i}] = ok }()
	e := s.episodes[n]
	if e.failed { // some of it, in order
		for to := i; ; to++ {
			if s.matches(n+1, to) {
				return true
			}
			if to == len(s.got) || to > i && s.got[to] <= s.got[to-1] {
				return false
			}
		}
	}
	to := i
	for _, seq := range e.replay {
		if to == len(s.got) {
			return !s.whole
		}
		if s.got[to] != seq {
			return false
		}
		to++
	}
	var ends []int // where the live ones may end
	for _, seq := range append(s.live(e), e.hi+1) {
		if seq > e.lo {
			ends = append(ends, to)
		}
		if to == len(s.got) {
			if !s.whole {
				return true
			}
			break
		}
		if seq > e.hi || s.got[to] != seq {
			break
		}
		to++
	}
	for _, to := range slices.Backward(ends) {
		if s.matches(n+1, to) {
			return true
		}
	}
	return false
}

// someOf reports whether got is part of what the episodes brought, in order.
func (s *modelStream) someOf() bool {
	i := 0
	for _, e := range s.episodes {
		if e.failed {
			for from := i; i < len(s.got) && (i == from || s.got[i] > s.got[i-1]); i++ {
			}
			continue
		}
		for _, seq := range append(slices.Clone(e.replay), s.live(e)...) {
			if i < len(s.got) && s.got[i] == seq {
				i++
			}
		}
	}
	return i == len(s.got)
}

// direct checks the sends to one channel, and the order of all that one channel got.
func (k *modelCheck) direct() {
	count := make(map[*modelSend]int)
	for _, ch := range k.chans {
		for _, s := range k.received[ch] {
			if s.ch != nil {
				count[s]++
			}
		}
		k.fifo(ch)
	}
	for _, s := range k.sends {
		if s.ch == nil {
			continue
		}
		switch n := count[s]; {
		case n > 1:
			k.failChannel(s.ch, "send %d to channel %d arrived %d times", s.n, s.ch.id, n)
		case s.err == nil && n == 0 && k.whole(s.ch) && s.ch.opts.Slow != wschannels.SlowDropOldest:
			k.failChannel(s.ch, "send %d to channel %d, which was queued, never arrived", s.n, s.ch.id)
		}
	}
}

// fifo checks that of two messages of which one was sent before the other was begun,
// that one arrived first. What may have waited elsewhere than in the queue, in a
// mailbox, in a history or behind a replay, may be overtaken.
func (k *modelCheck) fifo(ch *modelChannel) {
	var called int64
	var last *modelSend
	for _, s := range k.received[ch] {
		if s.call > called {
			called, last = s.call, s
		}
		if s.ret < called && s.user == "" && !k.waited(s, ch) {
			k.failChannel(ch, "channel %d got send %d after send %d, which was called later", ch.id, s.n, last.n)
		}
	}
}

// waited reports whether s may have come to ch by a replay, or behind one.
func (k *modelCheck) waited(s *modelSend, ch *modelChannel) bool {
	for _, e := range k.episodes[modelPlace{ch, s.group}] {
		if s.call < e.join.ret && (e.failed || e.join.opts != nil || s.ret > e.join.call) {
			return true
		}
	}
	return false
}
