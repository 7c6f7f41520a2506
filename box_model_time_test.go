package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

const modelToken = "the right one"

// timeOptions sets deadlines, of odd lengths, so that no two are at the same moment.
func (w *modelWorker) timeOptions(ch *modelChannel, o *wschannels.ChannelOptions) {
	between := func(least, most time.Duration) time.Duration {
		return least + 1 + time.Duration(w.rnd.Int64N(int64(most-least)))
	}
	if ch.calm && w.rnd.IntN(4) == 0 {
		o.TTL = between(3*time.Second, 20*time.Second)
	}
	if w.rnd.IntN(5) == 0 {
		o.MaxLifetime = between(5*time.Second, time.Minute)
	}
	if w.rnd.IntN(3) == 0 {
		o.Heartbeat, o.HeartbeatTimeout = between(4*time.Second, 10*time.Second), between(2*time.Second, 8*time.Second)
		switch w.rnd.IntN(4) {
		case 0:
			ch.mute = true
		case 1: // late, but not too late
			ch.answerIn = between(time.Millisecond, o.HeartbeatTimeout)
		}
	}
	if w.rnd.IntN(3) == 0 {
		o.MessageLimit, o.MessageWindow = 1+w.rnd.IntN(4), 4*time.Second
	}
	if ch.calm && w.rnd.IntN(5) == 0 {
		o.AuthTimeout = between(2*time.Second, 12*time.Second)
		o.Authenticator = func(_ context.Context, _ *wschannels.Channel, token string) error {
			if token != modelToken {
				return errModel
			}
			return nil
		}
	}
	if !ch.calm {
		o.CloseTimeout = between(time.Second, 5*time.Second)
		o.WriteTimeout = between(3*time.Second, 15*time.Second)
	}
}

// authenticate gives the channel a token, not always the right one.
func (w *modelWorker) authenticate(ch *modelChannel) {
	if ch.opts.Authenticator == nil || ch.c.Err() != nil {
		return
	}
	if w.rnd.IntN(2) == 0 {
		if err := ch.c.Authenticate(context.Background(), "a wrong one"); !errors.Is(err, wschannels.ErrUnauthorized) {
			w.run.failf("channel %d: Authenticate with a wrong token: %v", ch.id, err)
		}
		return
	}
	if err := ch.c.Authenticate(context.Background(), modelToken); err != nil {
		w.run.failf("channel %d: Authenticate: %v", ch.id, err)
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.tries = append(ch.tries, time.Now())
}

// A modelEnd is when and how a channel must end, unless something else comes first.
type modelEnd struct {
	at   time.Time
	code websocket.StatusCode
	why  string
}

// times checks that each channel has ended at the very moment at which it had to, and
// for that reason.
func (k *modelCheck) times() {
	for _, ch := range k.chans {
		if ch.accepted {
			continue
		}
		k.pings(ch)
		ends := k.mustEnd(ch)
		slices.SortStableFunc(ends, func(a, b modelEnd) int { return a.at.Compare(b.at) })
		end := ch.end()
		if ch.tooSlow() {
			if !slices.ContainsFunc(k.sends, func(s *modelSend) bool { return s.from.Equal(ch.closedAt) && (s.res.Closed > 0 || s.box != ch.box) }) {
				k.failChannel(ch, "channel %d was too slow %v, when no send closed anybody", ch.id, ch.since(ch.closedAt))
			}
			ends = append(ends, modelEnd{ch.closedAt, wschannels.StatusSlowConsumer, "a send"})
			slices.SortStableFunc(ends, func(a, b modelEnd) int { return a.at.Compare(b.at) })
		}
		ok := slices.ContainsFunc(ends, func(e modelEnd) bool {
			return e.at.Equal(ends[0].at) && e.at.Equal(ch.closedAt) && e.code == end.Code
		})
		if !ok {
			text := ""
			for _, e := range ends[:min(6, len(ends))] {
				text += fmt.Sprintf("    %v: %d, by %s\n", ch.since(e.at), e.code, e.why)
			}
			k.failChannel(ch, "channel %d has ended after %v, with %v; it had to\n%s", ch.id, ch.since(ch.closedAt), end, text)
			continue
		}
		k.goneInTime(ch)
	}
}

func (ch *modelChannel) since(t time.Time) time.Duration { return t.Sub(ch.created) }

// mustEnd returns all that would end ch.
func (k *modelCheck) mustEnd(ch *modelChannel) (ends []modelEnd) {
	add := func(at time.Time, code websocket.StatusCode, why string) {
		ends = append(ends, modelEnd{at, code, why})
	}
	o := &ch.opts
	for _, c := range k.closes {
		switch {
		case c.ch == nil && c.box == ch.box && c.call > ch.opened.call, c.ch == ch && c.how != "FailWrites":
			add(c.from, c.code, c.how)
			if c.how == "Hangup" { // a write may find out before the read does
				add(c.from, websocket.StatusAbnormalClosure, "a write to who hung up")
			}
		}
	}
	if o.TTL > 0 {
		active := []time.Time{ch.created}
		for _, t := range k.touches {
			if t.ch == ch {
				active = append(active, t.from)
			}
		}
		for _, in := range ch.inbound {
			active = append(active, in.at)
		}
		for _, f := range ch.frames {
			active = append(active, f.at)
		}
		add(firstGap(active, o.TTL), wschannels.StatusExpired, "TTL")
	}
	if o.MaxLifetime > 0 {
		add(ch.created.Add(o.MaxLifetime), wschannels.StatusExpired, "MaxLifetime")
	}
	if o.Authenticator != nil && (len(ch.tries) == 0 || ch.since(ch.tries[0]) > o.AuthTimeout) {
		add(ch.created.Add(o.AuthTimeout), wschannels.StatusUnauthorized, "AuthTimeout")
	}
	if o.Heartbeat > 0 {
		add(firstGap(ch.heard(), o.Heartbeat+o.HeartbeatTimeout), wschannels.StatusStale, "Heartbeat")
	}
	for _, w := range ch.writes {
		switch late := w.to.Sub(w.from) >= o.WriteTimeout; {
		case late:
			add(w.from.Add(o.WriteTimeout), wschannels.StatusSlowConsumer, "WriteTimeout")
		case errors.Is(w.err, errModel):
			add(w.to, websocket.StatusAbnormalClosure, "FailWrites")
		}
	}
	return ends
}

// heard is when something came from the peer.
func (ch *modelChannel) heard() []time.Time {
	heard := []time.Time{ch.created}
	for _, in := range ch.inbound {
		heard = append(heard, in.at)
	}
	for _, p := range ch.pings {
		if !p.answered.IsZero() {
			heard = append(heard, p.answered)
		}
	}
	return heard
}

// firstGap is when there had been nothing for as long as gap, for the first time.
func firstGap(times []time.Time, gap time.Duration) time.Time {
	slices.SortFunc(times, time.Time.Compare)
	for i, t := range times {
		if i+1 == len(times) || times[i+1].Sub(t) > gap {
			return t.Add(gap)
		}
	}
	return time.Time{}
}

// pings checks that a peer is pinged when it has been silent for as long as Heartbeat,
// or up to a tenth of that less.
func (k *modelCheck) pings(ch *modelChannel) {
	interval := ch.opts.Heartbeat
	if interval <= 0 && len(ch.pings) > 0 {
		k.failChannel(ch, "channel %d was pinged, and has no heartbeat", ch.id)
	}
	if interval <= 0 || len(ch.stalls) > 0 {
		return // a ping may have waited for what was being written
	}
	heard := ch.heard()
	slices.SortFunc(heard, time.Time.Compare)
	quiet := func(at time.Time) time.Duration { // before at
		i, _ := slices.BinarySearchFunc(heard, at, time.Time.Compare)
		return at.Sub(heard[max(0, i-1)])
	}
	for _, p := range ch.pings {
		if q := quiet(p.at); q < interval-interval/10 || q > interval {
			k.failChannel(ch, "channel %d was pinged after %v of silence, and Heartbeat is %v", ch.id, q, interval)
		}
	}
	for i, t := range heard {
		until := ch.closedAt
		if i+1 < len(heard) {
			until = heard[i+1]
		}
		if until.Sub(t) > interval && !slices.ContainsFunc(ch.pings, func(p modelPing) bool { return p.at.After(t) && p.at.Before(until) }) && !ch.pinging(t) {
			k.failChannel(ch, "channel %d was not pinged in %v of silence, and Heartbeat is %v", ch.id, until.Sub(t), interval)
		}
	}
}

// pinging reports whether a ping had yet to be answered at t: there is no second one then.
func (ch *modelChannel) pinging(t time.Time) bool {
	return slices.ContainsFunc(ch.pings, func(p modelPing) bool { return !p.at.After(t) && (p.answered.IsZero() || p.answered.After(t)) })
}

// goneInTime checks that the last event came when the peer had taken what there was, or
// CloseTimeout was over.
func (k *modelCheck) goneInTime(ch *modelChannel) {
	want := ch.closedAt
	for _, s := range ch.stalls {
		if s.from.Before(want) && (s.to.IsZero() || s.to.After(want)) {
			want = want.Add(ch.opts.CloseTimeout)
			if late := ch.goneAt.Sub(want); late > 0 {
				k.failChannel(ch, "channel %d, whose peer does not read, was gone %v after CloseTimeout", ch.id, late)
			}
			return
		}
	}
	if !ch.goneAt.Equal(want) {
		k.failChannel(ch, "channel %d was gone %v after it had closed, and its peer reads", ch.id, ch.goneAt.Sub(want))
	}
}
