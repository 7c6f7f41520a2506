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

// A modelGroup is the order of one group.
type modelGroup struct {
	*modelOrder
	name, epoch string
	saved       []*modelSend
	lower       []int // of saved, the first that is held after as many were saved
	flushes     []*modelFlush
	episodes    []*modelEpisode
	limits      wschannels.HistoryLimits
	exact, fake bool
}

// A modelOrder finds the sends that returned before, or were called after, a tick.
type modelOrder struct {
	sends  []*modelSend // by Seq, from 1
	byRet  []*modelSend
	latest []uint64 // the largest Seq among the first of byRet
	byCall []*modelSend
	first  []uint64 // the smallest Seq among the last of byCall
}

func newModelOrder(sends []*modelSend) *modelOrder {
	o := &modelOrder{sends: sends, byRet: slices.Clone(sends), byCall: slices.Clone(sends)}
	slices.SortFunc(o.byRet, func(a, b *modelSend) int { return cmp.Compare(a.ret, b.ret) })
	slices.SortFunc(o.byCall, func(a, b *modelSend) int { return cmp.Compare(a.call, b.call) })
	o.latest, o.first = make([]uint64, len(sends)+1), make([]uint64, len(sends)+1)
	o.first[len(sends)] = uint64(len(sends)) + 1
	for i, s := range o.byRet {
		o.latest[i+1] = max(o.latest[i], s.res.Seq)
	}
	for i := len(sends) - 1; i >= 0; i-- {
		o.first[i] = min(o.first[i+1], o.byCall[i].res.Seq)
	}
	return o
}

// before is the largest Seq of a send that had returned at tick.
func (o *modelOrder) before(tick int64) uint64 {
	i, _ := slices.BinarySearchFunc(o.byRet, tick, func(s *modelSend, t int64) int { return cmp.Compare(s.ret, t) })
	return o.latest[i]
}

// after is the smallest Seq of a send that was called after tick.
func (o *modelOrder) after(tick int64) uint64 {
	i, _ := slices.BinarySearchFunc(o.byCall, tick, func(s *modelSend, t int64) int { return cmp.Compare(s.call, t) })
	return o.first[i]
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

// caps finds which saved messages the limits of size let go of.
func (g *modelGroup) caps() {
	g.lower = []int{0}
	low, size := 0, 0
	cost := func(s *modelSend) int {
		_, data := s.canonical()
		return len(data) + 128
	}
	for i, s := range g.saved {
		s.position = i
		size += cost(s)
		for size > g.limits.Bytes || g.limits.Len > 0 && i-low+1 > g.limits.Len {
			size -= cost(g.saved[low])
			low++
		}
		g.lower = append(g.lower, low)
	}
}

// savedUpTo is how many messages with a Seq up to seq were saved.
func (g *modelGroup) savedUpTo(seq uint64) int {
	i, _ := slices.BinarySearchFunc(g.saved, seq+1, func(s *modelSend, seq uint64) int { return cmp.Compare(s.res.Seq, seq) })
	return i
}

// held returns bounds of the first saved message that is held for one who looks during
// at, when between least and most messages have been saved.
func (g *modelGroup) held(at modelSpan, least, most int) (low, high int) {
	low, high = g.lower[least], g.lower[most]
	for _, f := range g.flushes {
		if f.ret < at.call {
			low = max(low, g.savedUpTo(g.before(f.call)))
		}
		if f.call < at.ret {
			high = max(high, min(most, g.savedUpTo(g.after(f.ret)-1)))
		}
	}
	if ttl := g.limits.TTL; ttl > 0 {
		expired := 0
		for expired < most && at.from.Sub(g.saved[expired].from) >= ttl {
			expired++
		}
		low, high = max(low, expired), max(high, expired)
	}
	if !g.exact {
		high = most
	}
	return low, max(low, high)
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

// seen checks what those saw who looked at the group.
func (k *modelCheck) seen(g *modelGroup) {
	for _, l := range k.looks {
		if l.group != g.name {
			continue
		}
		switch {
		case l.position != nil:
			if at := l.position.Seq; at < g.before(l.call) || at >= g.after(l.ret) || g.epoch != "" && l.position.Epoch != g.epoch {
				k.failGroup(g.name, nil, "%q: Position %v, want %q from %d to %d", g.name, *l.position, g.epoch, g.before(l.call), g.after(l.ret)-1)
			}
		case l.history != nil:
			k.historySeen(g, l)
		case l.listed:
			k.membersSeen(g, l)
		}
	}
}

func (k *modelCheck) historySeen(g *modelGroup, l *modelLook) {
	least, most := g.savedUpTo(g.before(l.call)), g.savedUpTo(g.after(l.ret)-1)
	if n := len(l.history); n > 0 {
		last := g.savedUpTo(l.history[n-1].Seq)
		if last < least || last > most {
			k.failGroup(g.name, nil, "%q: the history ends with Seq %d, want from the %d. to the %d. that was saved", g.name, l.history[n-1].Seq, least, most)
			return
		}
		least, most = last, last
	}
	low, high := g.held(l.modelSpan, least, most)
	if n := len(l.history); n == 0 {
		if high < least {
			k.failGroup(g.name, nil, "%q: an empty history, and the %d. to %d. that were saved should be held", g.name, high+1, least)
		}
		return
	} else if from := most - n; from < low || from > high {
		k.failGroup(g.name, nil, "%q: the history holds the %d. to %d. that were saved; want it to begin with the %d. to %d.",
			g.name, from+1, most, low+1, high+1)
		return
	}
	for i, m := range l.history {
		s := g.saved[most-len(l.history)+i]
		t, data := s.canonical()
		if m.Seq != s.res.Seq || m.ID != s.res.ID || m.Group != g.name || m.Type != t || !bytes.Equal(m.Data, data) {
			k.failGroup(g.name, nil, "%q: the history has %+v, want send %d", g.name, m, s.n)
		}
	}
}

func (k *modelCheck) membersSeen(g *modelGroup, l *modelLook) {
	have := make(map[*wschannels.Channel]bool)
	for _, c := range l.members {
		if have[c] {
			k.failGroup(g.name, nil, "%q: a member twice", g.name)
		}
		have[c] = true
	}
	may := make(map[*wschannels.Channel]bool)
	for _, e := range g.episodes {
		if e.ch.box != l.box {
			continue
		}
		may[e.ch.c] = may[e.ch.c] || e.possible(l.modelSpan)
		if e.definite(l.modelSpan) && !have[e.ch.c] {
			k.failGroup(g.name, e.ch, "%q: channel %d is a member, and Members says it is not", g.name, e.ch.id)
		}
	}
	for c := range have {
		if !may[c] {
			k.failGroup(g.name, nil, "%q: %v cannot be a member, and Members says it is", g.name, c.ID())
		}
	}
}
