package wschannels_test

import (
	"bytes"

	"github.com/wschannels/wschannels"
)

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
