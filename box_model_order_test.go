package wschannels_test

import (
	"cmp"
	"slices"

	"github.com/wschannels/wschannels"
)

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

// caps finds which saved messages the limits of size let go of.
func (g *modelGroup) caps() {
	g.lower = []int{0}
	low, size := 0, 0
	cost := func(s *modelSend) int {
		_, data := s.canonical()
		return len(data) + 128
	}
	for i, s := range g.saved {
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
