package wschannels_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// A modelTenure is the time in which a channel is a user's.
type modelTenure struct {
	named            *modelName
	ch               *modelChannel
	earliest, latest int64 // it ended between these ticks
}

func (u *modelTenure) possible(at modelSpan) bool { return u.named.call < at.ret && u.latest > at.call }
func (u *modelTenure) definite(at modelSpan) bool {
	return u.named.ret < at.call && u.earliest > at.ret
}

// tenure finds out who was whose.
func (k *modelCheck) tenure() {
	byChannel := make(map[*modelChannel][]*modelName)
	for _, n := range k.names {
		if n.err == nil {
			byChannel[n.ch] = append(byChannel[n.ch], n)
		} else if k.endsAt(n.ch) > n.ret {
			k.failChannel(n.ch, "SetUser: %v", n.err)
		}
	}
	for ch, names := range byChannel {
		slices.SortFunc(names, func(a, b *modelName) int { return cmp.Compare(a.call, b.call) })
		names = slices.CompactFunc(names, func(a, b *modelName) bool { return a.user == b.user })
		for i, n := range names {
			if n.user == "" {
				continue
			}
			u := &modelTenure{named: n, ch: ch, earliest: k.endsAt(ch), latest: ch.closedBy}
			if i+1 < len(names) {
				u.earliest, u.latest = min(u.earliest, names[i+1].call), min(u.latest, names[i+1].ret)
			}
			k.tenures[n.user] = append(k.tenures[n.user], u)
		}
	}
}

// mail checks what users got.
func (k *modelCheck) mail() {
	k.tenure()
	got := make(map[modelPlaceOf]int)
	for _, ch := range k.chans {
		called := make(map[string]int64)
		for _, s := range k.received[ch] {
			if s.user == "" {
				continue
			}
			at := modelPlaceOf{ch, s}
			if got[at]++; got[at] > 1 {
				k.failf("channel %d got send %d to %s twice\n%s", ch.id, s.n, s.user, k.traceUser(s.user))
			}
			if !slices.ContainsFunc(k.tenures[s.user], func(u *modelTenure) bool { return u.ch == ch && k.reaches(s, ch) && s.call < u.latest }) {
				k.failChannel(ch, "channel %d got send %d, and was never %s's after that", ch.id, s.n, s.user)
			}
			from := s.user
			if k.cfg.broker != nil { // what one box sends has an order, and no more
				from = fmt.Sprint(s.user, " from ", s.box)
			}
			if k.cfg.broker != nil && !k.fake && s.res.Queued == 0 {
				continue // it may have been put back while what is newer had another way
			}
			if calmUser(s.user) && s.ret < called[from] {
				k.failf("channel %d got send %d to %s after one that was called later\n%s", ch.id, s.n, s.user, k.traceUser(s.user))
			}
			called[from] = max(called[from], s.call)
		}
	}
	for _, s := range k.sends {
		if s.user != "" && s.err == nil {
			k.mailed(s, got)
		}
	}
}

// reaches reports whether a message to a user from where s was called gets to ch.
func (k *modelCheck) reaches(s *modelSend, ch *modelChannel) bool {
	return k.cfg.broker != nil || s.box == ch.box
}

type modelPlaceOf struct {
	ch *modelChannel
	s  *modelSend
}

// mailed checks the result of one send to a user against who got it.
func (k *modelCheck) mailed(s *modelSend, got map[modelPlaceOf]int) {
	r, copies := s.res, k.copies[s]
	may, must, lossless := 0, 0, true
	cluster, everywhere := k.cfg.broker != nil, 0
	var next *modelTenure // the first that may get what waits
	for _, u := range k.tenures[s.user] {
		if !k.reaches(s, u.ch) {
			continue
		}
		carries := s.kept(u.ch.opts.PayloadType)
		lossless = lossless && carries != nil && u.ch.opts.Slow == wschannels.SlowDisconnect && u.ch.entered &&
			(u.ch.opts.QueueBytes == 0 || modelSize(u.ch, carries, "", "", 0) <= u.ch.opts.QueueBytes)
		if u.possible(s.modelSpan) {
			everywhere++
			if u.ch.box == s.box {
				may++
			}
		}
		if u.latest > s.ret && (next == nil || u.named.call < next.named.call) {
			next = u
		}
		if u.definite(s.modelSpan) && u.ch.calm && u.ch.box == s.box {
			must++
			if carries != nil && r.Waiting == 0 && k.whole(u.ch) && got[modelPlaceOf{u.ch, s}] != 1 {
				k.failChannel(u.ch, "channel %d, which is %s's, never got send %d: %+v", u.ch.id, s.user, s.n, r)
			}
		}
	}
	_, data := s.canonical()
	limit := cmp.Or(k.cfg.opts.MailboxBytes, 64<<10)
	fits := limit > 0 && len(data)+128 <= limit
	calm := calmUser(s.user)
	switch {
	case r.Seq != 0 || r.Saved:
		k.failf("send %d to %s: %+v", s.n, s.user, r)
	case r.Queued+r.Dropped+r.Closed > may, calm && r.Waiting == 0 && r.Queued+r.Dropped < must:
		k.failf("send %d to %s: %+v, who has %d to %d channels\n%s", s.n, s.user, r, must, may, k.traceUser(s.user))
	case r.Waiting > 1, !cluster && r.Waiting > 0 && !fits, everywhere == 0 && fits && r.Waiting != 1,
		!cluster && calm && must > 0 && r.Waiting > 0, r.Remote > 1, r.Remote > 0 && everywhere == 0, r.Local:
		k.failf("send %d to %s: %+v, who has %d to %d channels; fits in the mailbox: %v\n%s", s.n, s.user, r, must, may, fits, k.traceUser(s.user))
	case !cluster && copies > r.Queued+r.Waiting, copies > everywhere+r.Waiting:
		k.failf("send %d to %s: %+v, and it arrived %d times\n%s", s.n, s.user, r, copies, k.traceUser(s.user))
	case !k.cfg.roomyMailboxes():
	case k.fake && calm && r.Waiting == 1 && r.Remote == 0 && next != nil && next.ch.entered:
		ttl := k.cfg.opts.MailboxTTL
		want := r.Queued
		if ttl == 0 || next.named.from.Sub(s.from) < ttl {
			if s.kept(next.ch.opts.PayloadType) != nil {
				want++
			}
		}
		if copies != want {
			k.failf("send %d to %s: %+v, and it arrived %d times, want %d, as it waited %v of %v\n%s",
				s.n, s.user, r, copies, want, next.named.from.Sub(s.from), ttl, k.traceUser(s.user))
		}
	case lossless && (fits || !cluster) && r.Queued+r.Waiting+r.Remote > 0 && copies == 0 && (k.cfg.opts.MailboxTTL == 0 || !k.fake):
		k.failf("send %d to %s: %+v, and it never arrived\n%s", s.n, s.user, r, k.traceUser(s.user))
	}
}

// inbound checks that each channel received what its peer sent, in order.
func (k *modelCheck) inbound() {
	for _, ch := range k.chans {
		var times []modelPush // of those that the limit let through, the latest window
		for i, in := range ch.inbound {
			if i >= len(ch.pushed) {
				k.failChannel(ch, "channel %d received %d messages, and %d were sent", ch.id, len(ch.inbound), len(ch.pushed))
				break
			}
			p := ch.pushed[i]
			limited := false
			if limit := ch.opts.MessageLimit; limit > 0 && k.fake {
				times = slices.DeleteFunc(times, func(t modelPush) bool { return p.at.Sub(t.at) >= ch.opts.MessageWindow })
				if limited = len(times) >= limit; !limited {
					times = append(times, p)
				}
			}
			invalid := !limited && !strings.HasPrefix(p.data, "{") && ch.opts.PayloadType == wschannels.JSON
			isInvalid := errors.As(in.err, new(*wschannels.PayloadError))
			if errors.Is(in.err, wschannels.ErrRateLimited) != limited || isInvalid != invalid || in.err == nil && in.data != p.data {
				k.failChannel(ch, "channel %d received as number %d %q, %v; %q was sent; limited: %v, invalid: %v", ch.id, i, in.data, in.err, p.data, limited, invalid)
				break
			}
			if k.fake && !in.at.Equal(p.at) {
				k.failChannel(ch, "channel %d received number %d %v late", ch.id, i, in.at.Sub(p.at))
			}
		}
	}
}

// ends checks the events of each channel and how it ended.
func (k *modelCheck) ends() {
	all := make(map[websocket.StatusCode]int) // closed by CloseAll with this code
	for _, c := range k.closes {
		if c.ch == nil {
			all[c.code] += c.closed
		}
	}
	for _, ch := range k.chans {
		end := ch.end()
		if end == nil {
			k.failChannel(ch, "channel %d is open", ch.id)
			continue
		}
		if ch.gone.Load() != 1 || ch.connects.Load() > 1 || !ch.served && ch.connects.Load() > 0 || ch.problems.Load() > 0 {
			k.failChannel(ch, "channel %d: %d OnConnect, %d OnDisconnect, %d of them wrong", ch.id, ch.connects.Load(), ch.gone.Load(), ch.problems.Load())
		}
		if end.Code >= 4100 {
			all[end.Code]--
		}
		known := false
		for _, c := range k.closes {
			known = known || (c.ch == ch || c.ch == nil && c.box == ch.box) && c.code == end.Code
		}
		switch {
		case known, k.fake: // times knows better
		case !ch.calm && (errors.Is(end, wschannels.ErrSlowConsumer) || end.Code == websocket.StatusAbnormalClosure):
		default:
			k.failChannel(ch, "channel %d has closed with %v, and nobody wanted that", ch.id, end)
		}
	}
	for code, n := range all {
		if n != 0 {
			k.failf("CloseAll with %d says that it closed %d more channels than it did", code, n)
		}
	}
	for i := range k.boxes {
		in := 0
		for _, ch := range k.chans {
			if ch.box == i {
				in++
			}
		}
		if n := int(k.gone[i].Load()); n != in {
			k.failf("box %d: %d OnDisconnect, and %d channels were in it", i, n, in)
		}
	}
	for _, ch := range k.refused {
		if ch.gone.Load() > 1 || ch.connects.Load() != 0 {
			k.failChannel(ch, "channel %d was refused: %d OnConnect, %d OnDisconnect", ch.id, ch.connects.Load(), ch.gone.Load())
		}
	}
}

// conservation checks Stats against all results: what was accepted is what arrived and
// what was dropped.
func (k *modelCheck) conservation() {
	for box, got := range k.stats {
		var want wschannels.Stats
		slow, limited, invalid, mostLimited := 0, uint64(0), uint64(0), uint64(0)
		for _, ch := range k.chans {
			if ch.box != box {
				continue
			}
			want.Accepted++
			want.Disconnected++
			want.Sent += uint64(len(ch.frames))
			for _, f := range ch.frames {
				want.BytesSent += uint64(len(f.data))
			}
			switch end := ch.end(); {
			case errors.Is(end, wschannels.ErrSlowConsumer):
				want.SlowClosed++
			case errors.Is(end, wschannels.ErrExpired):
				want.Expired++
			case errors.Is(end, wschannels.ErrStale):
				want.Stale++
			case errors.Is(end, wschannels.ErrUnauthorized): // after AuthTimeout: there is no other way here
				want.Unauthenticated++
			}
			if ch.tooSlow() {
				slow++
			}
			want.Received += uint64(len(ch.inbound))
			mostLimited += uint64(len(ch.pushed))
			for _, in := range ch.inbound {
				switch {
				case errors.Is(in.err, wschannels.ErrRateLimited):
					limited++
				case in.err != nil:
					invalid++
				}
			}
		}
		if got.Received < want.Received || got.Received > mostLimited || k.fake && got.Received != want.Received ||
			got.RateLimited < limited || got.Invalid < invalid || k.fake && (got.RateLimited != limited || got.Invalid != invalid) {
			k.failf("Stats of box %d: %+v, want %d received, %d of them limited, %d invalid", box, got, want.Received, limited, invalid)
		}
		var results wschannels.SendResult
		accepted := 0
		for _, s := range k.sends {
			if s.box == box && errors.Is(s.err, wschannels.ErrTooManyGroups) {
				want.GroupsRefused++
			}
			switch {
			case s.box != box || s.err != nil:
			case s.ch != nil:
				accepted++
			default:
				accepted += s.res.Queued + s.res.Waiting
				results.Dropped += s.res.Dropped
				results.Evicted += s.res.Evicted
				results.Closed += s.res.Closed
			}
		}
		for _, j := range k.joins {
			if j.box == box && errors.Is(j.err, wschannels.ErrTooManyGroups) {
				want.GroupsRefused++
			}
			if j.box == box {
				accepted += j.res.Replayed
			}
		}
		want.Dropped = got.Dropped
		if k.cfg.boxes == 1 {
			want.Dropped = uint64(accepted - int(want.Sent) + results.Dropped)
			if more := got.Dropped - want.Dropped; more > 0 && more <= uint64(64*k.failed) {
				want.Dropped = got.Dropped // of a replay that failed, nobody tells how far it came
			}
			if results.Closed < slow {
				k.failf("box %d: %d channels were too slow, and results say that %d were closed", box, slow, results.Closed)
			}
			if uint64(results.Dropped+results.Evicted) > got.Dropped {
				k.failf("box %d: Stats says that %d were dropped, and results %+v", box, got.Dropped, results)
			}
		}
		least, most := k.historyBytes()
		want.HistoryBytes = min(max(got.HistoryBytes, least), most)
		if !k.cfg.exactHistory() || k.cfg.boxes > 1 {
			want.HistoryBytes = got.HistoryBytes // other groups', too; not in a box's own memory
		}
		saved := uint64(0)
		for _, g := range k.groups {
			saved += uint64(len(g.saved))
		}
		want.HistoryEvicted = min(got.HistoryEvicted, saved)     // others were flushed
		want.Unanswered = min(got.Unanswered, want.Disconnected) // who was stalled then, nobody noted
		want.Received, want.BytesReceived, want.RateLimited, want.Invalid = got.Received, got.BytesReceived, got.RateLimited, got.Invalid
		if got != want {
			k.failf("Stats of box %d when all had closed:\n  %+v, want\n  %+v (%d accepted, results %+v)", box, got, want, accepted, results)
		}
	}
}

// historyBytes returns bounds of what the histories held in the end.
func (k *modelCheck) historyBytes() (least, most int64) {
	for _, g := range k.groups {
		now := modelSpan{call: k.clock.Load(), ret: k.clock.Load(), from: k.statsAt}
		low, high := g.held(now, len(g.saved), len(g.saved))
		for i, s := range g.saved[low:] {
			_, data := s.canonical()
			most += int64(len(data) + 128)
			if low+i >= high {
				least += int64(len(data) + 128)
			}
		}
	}
	return least, most
}

// traceUser is what happened with a user.
func (k *modelCheck) traceUser(user string) string {
	var lines []modelLine
	for _, u := range k.tenures[user] {
		lines = append(lines, modelLine{u.named.call, fmt.Sprintf("channel %d of box %d (calm %v, queue %d) is %s's until %d..%d", u.ch.id, u.ch.box, u.ch.calm, u.ch.opts.QueueBytes, user, u.earliest, u.latest)})
	}
	for _, s := range k.sends {
		if s.user == user {
			lines = append(lines, modelLine{s.call, s.String()})
		}
	}
	text := modelTrace(lines)
	for _, u := range k.tenures[user] {
		var got []int
		for _, s := range k.received[u.ch] {
			if s.user == user {
				got = append(got, s.n)
			}
		}
		text += fmt.Sprintf("    channel %d got %d\n", u.ch.id, got)
	}
	return text
}
