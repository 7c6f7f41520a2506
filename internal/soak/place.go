package main

import (
	"fmt"
	"slices"

	"github.com/wschannels/wschannels"
)

// A place is what a client knows of one group, and by which it finds out about every
// message that it misses, gets twice or gets too early.
type place struct {
	group string
	kind  *kind
	state state

	epoch string
	seq   uint64 // of the last message, or where the client joined

	asked request  // the join that is under way
	early []uint64 // what came before its answer

	// The last note of each publisher; live once it came after the join.
	last [publishers]uint64
	live [publishers]bool
}

type state uint8

const (
	away state = iota
	joining
	member
	leaving
)

// envelope is what a message has around it on channels of kinds that have it.
type envelope struct {
	Group string `json:"group"`
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
	ID    string `json:"id"`
}

// sees takes the next message in order. at is nil on channels without envelopes.
func (p *place) sees(n *note, at *envelope) error {
	if p.state == away {
		return fmt.Errorf("%s: message of a group that it is not in", p.group)
	}
	if at != nil {
		if err := p.follows(at); err != nil {
			return err
		}
	}
	if n.From == nobody {
		return nil
	}
	last, live := p.last[n.From], p.live[n.From]
	p.last[n.From], p.live[n.From] = n.N, p.state != joining
	if n.N <= last || live && !p.kind.lossy && n.N != last+1 {
		return fmt.Errorf("%s: note %d of publisher %d after %d", p.group, n.N, n.From, last)
	}
	return nil
}

// follows checks the order of the group itself.
func (p *place) follows(at *envelope) error {
	if p.state == joining {
		p.early = append(p.early, at.Seq) // until the answer tells
		return nil
	}
	if at.Epoch != p.epoch || at.Seq <= p.seq || !p.kind.lossy && at.Seq != p.seq+1 {
		return fmt.Errorf("%s: message %d of %s after %d of %s", p.group, at.Seq, at.Epoch, p.seq, p.epoch)
	}
	p.seq = at.Seq
	return nil
}

// joined checks what came so far against the answer to the join.
func (p *place) joined(a *answer) error {
	early, asked := p.early, p.asked
	p.state, p.early = member, nil
	p.epoch, p.seq = a.Epoch, a.Seq
	if len(early) > 0 {
		p.seq = max(p.seq, early[len(early)-1])
	}
	wrong := func(why string) error {
		return fmt.Errorf("%s: %s: asked for %+v, was answered %+v, got %d", p.group, why, asked, *a, early)
	}
	if a.Replayed > 0 && asked.Last == 0 && asked.Epoch == "" || asked.Last > 0 && a.Replayed > asked.Last {
		return wrong("more was replayed than asked for")
	}
	if a.Recovered && (asked.Epoch != a.Epoch || a.Seq < asked.Seq) {
		return wrong("recovered what it cannot")
	}
	if !p.kind.envelope {
		return nil
	}
	if !slices.IsSortedFunc(early, func(a, b uint64) int {
		if a < b {
			return -1
		}
		return 1 // the same twice is wrong, too
	}) {
		return wrong("out of order")
	}
	if p.kind.lossy {
		return nil
	}
	if a.Replayed > len(early) {
		return wrong("not all that was replayed came")
	}
	replayed, live := early[:a.Replayed], early[a.Replayed:]
	if !contiguous(live, a.Seq+1) {
		return wrong("gap after the join")
	}
	if len(replayed) == 0 {
		if a.Recovered && isArchive(p.group) && a.Seq != asked.Seq {
			return wrong("recovered nothing")
		}
		return nil
	}
	if replayed[len(replayed)-1] > a.Seq {
		return wrong("replayed what is live")
	}
	if a.Recovered && replayed[0] <= asked.Seq {
		return wrong("replayed what it had")
	}
	if isArchive(p.group) { // all are saved: what is held is all of the newest
		first := a.Seq - uint64(len(replayed)) + 1
		if !contiguous(replayed, first) || a.Recovered && first != asked.Seq+1 {
			return wrong("gap in the replay")
		}
	}
	return nil
}

// contiguous reports whether seqs are first, first+1 and so on.
func contiguous(seqs []uint64, first uint64) bool {
	for i, seq := range seqs {
		if seq != first+uint64(i) {
			return false
		}
	}
	return true
}

// leaves forgets what ends with the membership.
func (p *place) leaves() {
	p.state, p.early = away, nil
	p.last, p.live = [publishers]uint64{}, [publishers]bool{}
}

// position is where a join goes on from.
func (p *place) position() wschannels.Position {
	return wschannels.Position{Epoch: p.epoch, Seq: p.seq}
}

// An inbox knows which messages to its user a client has seen.
type inbox struct {
	highest uint64
	seen    uint64 // a bit for each of the 64 up to highest

	ordered bool   // in this visit they come in order
	last    uint64 // of this visit
}

// connects begins a visit. What the channel of the visit before had not written comes to
// this one: before anything newer, if that channel is gone already.
func (b *inbox) connects(gone bool) { b.ordered, b.last = gone, 0 }

// sees takes message n.
func (b *inbox) sees(n uint64) error {
	if b.ordered && n < b.last {
		return fmt.Errorf("message %d to the user after %d", n, b.last)
	}
	b.last = n
	if n > b.highest {
		b.seen = b.seen<<min(64, n-b.highest) | 1
		b.highest = n
		return nil
	}
	bit := uint64(1) << (b.highest - n) // 0 if it is too long ago
	if b.seen&bit != 0 {
		return fmt.Errorf("message %d to the user, twice", n)
	}
	b.seen |= bit
	return nil
}
