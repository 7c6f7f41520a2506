package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/wschannels/wschannels"
)

// people returns who is in the room, on all nodes, or, while the broker is away, on this
// one.
func (s *rooms) people(ctx context.Context, room string) []person {
	var list []person
	set := func(p person) { // the one that came last counts
		list = slices.DeleteFunc(list, func(o person) bool { return o.Name == p.Name })
		list = append(list, p)
	}
	there, err := s.box.Presence(ctx, room)
	for _, m := range there.Members { // oldest first
		set(person{m.User, nodeName(m.Node)})
	}
	if err != nil {
		s.logger.Warn("who is here", "room", room, "err", err)
		for _, c := range s.box.Members(room) {
			set(person{c.User(), s.node})
		}
	}
	return list
}

// presence hears who comes and goes on any node, and tells the pages of this one.
func (s *rooms) presence(e wschannels.PresenceEvent) {
	var change any = left{Type: "left", Name: e.Member.User}
	if e.Joined {
		change = came{Type: "came", person: person{e.Member.User, nodeName(e.Member.Node)}}
	}
	if err := s.pages.tell(e.Group, change); err != nil {
		s.logger.Warn("presence", "room", e.Group, "err", err)
	}
}

// moved tells the room where p is. Presence does not say that of somebody who has been
// here all the time.
func (s *rooms) moved(ctx context.Context, room string, p person) error {
	_, err := s.box.GroupSend(ctx, room, came{Type: "came", person: p}, nil)
	return err
}

// stays tells the room where the person of c still is, after c has left.
func (s *rooms) stays(ctx context.Context, c *wschannels.Channel, room string) {
	there, err := s.box.Presence(ctx, room)
	for _, m := range slices.Backward(there.Members) {
		if m.User == c.User() && m.ID != c.ID() {
			err = s.moved(ctx, room, person{m.User, nodeName(m.Node)})
			break
		}
	}
	if err != nil && !errors.Is(err, wschannels.ErrClosed) { // closed: the program is shutting down
		s.logger.Warn("who stays", "room", room, "err", err)
	}
}

// nodeName is the name that a node was given, of the one that its box has.
func nodeName(node string) string {
	if i := strings.LastIndexByte(node, '/'); i >= 0 {
		return node[:i]
	}
	return node
}

// pages has the pages of this node, by room: what only they are told does not go through
// the broker.
type pages struct {
	mu    sync.Mutex // guards what follows, and who is in which of them
	rooms map[string]*wschannels.Group
}

func (p *pages) add(c *wschannels.Channel, room string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.rooms[room]
	if g == nil {
		var err error
		if g, err = wschannels.NewGroup("pages of "+room, nil); err != nil {
			return err
		}
		if p.rooms == nil {
			p.rooms = make(map[string]*wschannels.Group)
		}
		p.rooms[room] = g
	}
	_, err := g.Add(c)
	return err
}

func (p *pages) remove(c *wschannels.Channel, room string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.rooms[room]; g != nil {
		g.Remove(c)
		if g.Len() == 0 {
			delete(p.rooms, room)
		}
	}
}

func (p *pages) tell(room string, v any) error {
	p.mu.Lock()
	g := p.rooms[room]
	p.mu.Unlock()
	if g == nil {
		return nil // nobody to tell
	}
	_, err := g.Send(context.Background(), v, nil)
	return err
}
