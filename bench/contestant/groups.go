package contestant

import (
	"slices"
	"sync"
)

// groups are the members of each group, for the contestants that have no rooms of
// their own. A slice is the cheapest thing to walk. Members are looked for from the
// front when they leave, which is no matter for groups of a thousand.
type groups[M comparable] struct {
	mu    sync.Mutex
	lists map[string][]M
	n     int
}

// add makes m a member.
func (g *groups[M]) add(group string, m M) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lists == nil {
		g.lists = make(map[string][]M)
	}
	g.lists[group] = append(g.lists[group], m)
	g.n++
}

// remove ends the membership of m, if it is a member.
func (g *groups[M]) remove(group string, m M) {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.lists[group]
	i := slices.Index(list, m)
	if i < 0 {
		return
	}
	g.cut(group, list, i)
}

// each calls send for every member, and removes those for which it returns false.
// Nobody joins or leaves meanwhile, so a member that has left gets nothing any more.
func (g *groups[M]) each(group string, send func(M) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.lists[group]
	for i := len(list) - 1; i >= 0; i-- {
		if !send(list[i]) {
			list = g.cut(group, list, i)
		}
	}
}

// cut takes the member at i out of the list and returns the list. g.mu is held.
func (g *groups[M]) cut(group string, list []M, i int) []M {
	var none M
	last := len(list) - 1
	list[i], list[last] = list[last], none // none: for the collector
	list = list[:last]
	g.n--
	if last == 0 {
		delete(g.lists, group)
	} else {
		g.lists[group] = list
	}
	return list
}

// len returns how many members there are in all groups.
func (g *groups[M]) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n
}
