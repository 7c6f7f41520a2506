package wschannels_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// A modelCheck is the sequential model of a run: each group's sends in the order of
// their Seq, and who was a member from which to which.
type modelCheck struct {
	*modelRun
	byNumber map[int]*modelSend
	groups   map[string]*modelGroup
	sends    []*modelSend
	joins    []*modelJoin
	leaves   []*modelLeave
	flushes  []*modelFlush
	looks    []*modelLook
	closes   []*modelClose
	names    []*modelName
	touches  []*modelTouch

	received map[*modelChannel][]*modelSend // what its peer got, in order
	copies   map[*modelSend]int             // how often anybody got it
	tenures  map[string][]*modelTenure      // of users
	failed   int                            // joins that failed and may have replayed something
	episodes map[modelPlace][]*modelEpisode
	mayEnd   map[*modelChannel]int64 // see endsAt
	ticks    []modelTick             // with the fake clock, all that are known
}

type modelTick struct {
	at   time.Time
	tick int64
}

// A modelPlace is one channel in one group.
type modelPlace struct {
	ch    *modelChannel
	group string
}

func newModelCheck(run *modelRun) *modelCheck {
	k := &modelCheck{
		modelRun: run, byNumber: make(map[int]*modelSend), groups: make(map[string]*modelGroup),
		received: make(map[*modelChannel][]*modelSend), copies: make(map[*modelSend]int), tenures: make(map[string][]*modelTenure),
		episodes: make(map[modelPlace][]*modelEpisode), mayEnd: make(map[*modelChannel]int64),
	}
	for _, w := range run.workers {
		k.sends = append(k.sends, w.sends...)
		k.joins = append(k.joins, w.joins...)
		k.leaves = append(k.leaves, w.leaves...)
		k.flushes = append(k.flushes, w.flushes...)
		k.looks = append(k.looks, w.looks...)
		k.closes = append(k.closes, w.closes...)
		k.names = append(k.names, w.names...)
		k.touches = append(k.touches, w.touches...)
	}
	for _, s := range k.sends {
		k.byNumber[s.n] = s
	}
	if run.fake {
		k.tickAll()
	}
	return k
}

// tickAll finds which ticks were when.
func (k *modelCheck) tickAll() {
	add := func(s modelSpan) {
		k.ticks = append(k.ticks, modelTick{s.from, s.call}, modelTick{s.to, s.ret})
	}
	for _, ch := range append(slices.Clone(k.chans), k.refused...) {
		add(ch.opened)
	}
	for _, s := range k.sends {
		add(s.modelSpan)
	}
	for _, j := range k.joins {
		add(j.modelSpan)
	}
	for _, l := range k.leaves {
		add(l.modelSpan)
	}
	for _, l := range k.looks {
		add(l.modelSpan)
	}
	for _, c := range k.closes {
		add(c.modelSpan)
	}
	for _, n := range k.names {
		add(n.modelSpan)
	}
	slices.SortFunc(k.ticks, func(a, b modelTick) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.tick, b.tick)) })
}

func (k *modelCheck) all() {
	k.order()
	k.results()
	k.membership()
	k.frames()
	for _, g := range k.groups {
		k.replays(g)
		k.streams(g)
		k.counts(g)
		k.seen(g)
	}
	k.leaving()
	k.limits()
	k.direct()
	k.mail()
	k.inbound()
	k.ends()
	k.conservation()
	if k.fake {
		k.times()
	}
}

// order checks that the sends to each group have the Seqs from 1 on, each once, in an
// order that agrees with what happened after what, and finds what was saved.
func (k *modelCheck) order() {
	for _, name := range k.modelRun.groups {
		g := &modelGroup{name: name, limits: k.cfg.history(), exact: k.cfg.exactHistory(), fake: k.fake}
		k.groups[name] = g
		g.limits.Bytes = cmp.Or(g.limits.Bytes, 1<<20)
		var sends []*modelSend
		for _, s := range k.sends {
			if s.group == name && s.err == nil {
				sends = append(sends, s)
			}
		}
		slices.SortFunc(sends, func(a, b *modelSend) int { return cmp.Compare(a.res.Seq, b.res.Seq) })
		var called int64
		for i, s := range sends {
			if s.res.Seq != uint64(i)+1 {
				k.failGroup(name, nil, "send %d has the Seq %d, and is the %d. of %q", s.n, s.res.Seq, i+1, name)
				sends = sends[:i]
				break
			}
			if s.ret < called {
				k.failGroup(name, nil, "%q: send %d got Seq %d, and a smaller one was called after it had returned", name, s.n, s.res.Seq)
			}
			called = max(called, s.call)
			if s.res.Saved {
				g.saved = append(g.saved, s)
			}
			_, data := s.canonical()
			fits := len(data)+128 <= g.limits.Bytes
			if total := k.cfg.opts.HistoryTotalBytes; total > 0 {
				fits = fits && len(data)+128 <= total
			}
			if s.res.Saved != (s.save && fits) {
				k.failGroup(name, nil, "send %d: Saved = %v, want %v", s.n, s.res.Saved, s.save && fits)
			}
		}
		g.modelOrder = newModelOrder(sends)
		g.caps()
		for _, f := range k.flushes {
			if f.group == "" || f.group == name {
				g.flushes = append(g.flushes, f)
			}
		}
		for _, l := range k.looks { // there was one in the end, at least
			if l.group == name && l.position != nil {
				g.epoch = l.position.Epoch
			}
		}
	}
}

// results checks the errors of sends, and that what was not encoded got nowhere.
func (k *modelCheck) results() {
	for _, s := range k.sends {
		bad := errors.As(s.err, new(*wschannels.PayloadError))
		sum := s.res.Queued + s.res.Waiting + s.res.Dropped + s.res.Evicted + s.res.Closed
		switch {
		case s.err != nil && (sum != 0 || s.res.Seq != 0):
			k.failf("send %d: %+v, and %v", s.n, s.res, s.err)
		case !s.encodable() && s.err == nil, !s.encodable() && !bad && s.ch == nil:
			k.failf("send %d of what cannot be encoded: %v", s.n, s.err)
		case s.err == nil || bad && (!s.encodable() || s.form == modelBinary):
		case s.ch != nil:
			k.directError(s)
		case s.group != "" && s.save && k.cfg.opts.MaxGroups > 0 && errors.Is(s.err, wschannels.ErrTooManyGroups):
		default:
			k.failf("send %d: %v", s.n, s.err)
		}
	}
}

// directError checks why a send to one channel failed.
func (k *modelCheck) directError(s *modelSend) {
	ch := s.ch
	switch {
	case errors.Is(s.err, wschannels.ErrTooLarge):
		if modelSize(ch, s.kindOf(ch), "", "", 0) <= ch.opts.QueueBytes {
			k.failChannel(ch, "send %d: %v", s.n, s.err)
		}
	case errors.Is(s.err, wschannels.ErrClosed), errors.Is(s.err, wschannels.ErrNoSuchChannel):
		if k.endsAt(ch) > s.ret {
			k.failChannel(ch, "send %d: %v, on an open channel", s.n, s.err)
		}
	case errors.Is(s.err, wschannels.ErrUnauthorized):
		if ch.opts.Authenticator == nil {
			k.failChannel(ch, "send %d: %v", s.n, s.err)
		}
	case !ch.calm && (errors.Is(s.err, context.DeadlineExceeded) || errors.Is(s.err, context.Canceled)):
	default:
		k.failChannel(ch, "send %d: %v", s.n, s.err)
	}
}

// kindOf is the payload as it is sent to ch itself; nil if that cannot be.
func (s *modelSend) kindOf(ch *modelChannel) []byte {
	return s.modelPayload.direct(ch.opts.PayloadType)
}

// endsAt is the first tick at which ch may have closed.
func (k *modelCheck) endsAt(ch *modelChannel) int64 {
	if at, ok := k.mayEnd[ch]; ok {
		return at
	}
	at := ch.closedBy
	if k.fake { // whatever it was: at this moment, and not before
		i, _ := slices.BinarySearchFunc(k.ticks, ch.closedAt, func(t modelTick, at time.Time) int { return t.at.Compare(at) })
		if at = 0; i > 0 {
			at = k.ticks[i-1].tick + 1
		}
	}
	for _, c := range k.closes {
		if c.ch == ch || c.ch == nil && c.box == ch.box && c.ret > ch.opened.call {
			at = min(at, c.call)
		}
	}
	if !ch.calm && !k.fake && !k.whole(ch) && ch.opened.ret < at {
		at = min(at, ch.opened.ret) // when a send closes it, or a write fails, nobody knows
	}
	k.mayEnd[ch] = at
	return at
}

// whole reports whether all that was queued on ch has been written.
// One that a send from another box found full gets nothing more, and is closed a moment
// later.
func (k *modelCheck) whole(ch *modelChannel) bool {
	return ch.calm || ch.flushed && (k.cfg.boxes == 1 || !lossless(ch))
}

// lossless reports whether nothing is dropped for ch but by its end.
func lossless(ch *modelChannel) bool { return ch.opts.Slow == wschannels.SlowDisconnect }

// frames checks each thing that a peer got by itself, and notes which message it was.
func (k *modelCheck) frames() {
	for _, ch := range k.chans {
		want := ch.opts.PayloadType
		for i, f := range ch.frames {
			n, payload, env, err := modelOpen(ch, f.data)
			s := k.byNumber[n]
			if err != nil || s == nil {
				k.failChannel(ch, "frame %d: %v", i, err)
				return
			}
			if (f.typ == websocket.MessageBinary) != (want == wschannels.Bytes) {
				k.failChannel(ch, "frame %d of a %v channel has the type %v", i, want, f.typ)
			}
			kept, direct := s.kept(want), s.kindOf(ch)
			ok := bytes.Equal(payload, direct)
			if s.ch == nil && (s.box != ch.box || !bytes.Equal(kept, direct) && !k.knew(s, ch)) {
				ok = bytes.Equal(payload, kept) || ok && s.box == ch.box
			}
			if !ok {
				k.failChannel(ch, "frame %d, of send %d: %q, want %q", i, n, payload, direct)
			}
			switch {
			case s.err != nil:
				k.failChannel(ch, "frame %d is of send %d, which failed: %v", i, n, s.err)
			case s.ch != nil && s.ch != ch:
				k.failChannel(ch, "frame %d is of send %d, to another channel", i, n)
			}
			if ch.opts.Envelope {
				epoch := ""
				if s.group != "" {
					epoch = k.groups[s.group].epoch
				}
				if env.Group != s.group || env.Epoch != epoch || env.Seq != s.res.Seq || len(env.ID) != 36 || s.ch == nil && env.ID != s.res.ID.String() {
					k.failChannel(ch, "frame %d, of send %d: envelope %+v", i, n, env)
				}
			}
			k.received[ch] = append(k.received[ch], s)
			k.copies[s]++
		}
	}
}

// knew reports whether the sender must have known that ch is a member, and so encoded
// for it.
func (k *modelCheck) knew(s *modelSend, ch *modelChannel) bool {
	if s.group == "" {
		return false
	}
	knew := false
	for _, e := range k.episodes[modelPlace{ch, s.group}] {
		knew = knew || e.definite(s.modelSpan)
		if e.join.opts != nil && (e.failed || e.after >= s.res.Seq) {
			return false // it may have been replayed, from where it was kept
		}
	}
	return knew
}
