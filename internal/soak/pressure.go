package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// press does, until ctx ends, what the server does of itself: it sends, closes and moves
// channels about.
func (s *server) press(ctx context.Context) {
	var wg sync.WaitGroup
	for p := range publishers {
		rnd := rand.New(rand.NewPCG(s.cfg.seed, uint64(1_000_000+p)))
		wg.Go(func() { s.publish(ctx, p, rnd) })
	}
	rnd := rand.New(rand.NewPCG(s.cfg.seed, 2_000_000))
	wg.Go(func() { s.meddle(ctx, rnd) })
	wg.Go(func() { s.watch(ctx) })
	wg.Wait()
}

// publish sends to groups, at an even rate, and numbers what it sends to each.
func (s *server) publish(ctx context.Context, p int, rnd *rand.Rand) {
	tick := time.NewTicker(time.Second * publishers / time.Duration(s.cfg.rate))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		group := s.cfg.room(rnd)
		switch rnd.IntN(20) {
		case 0:
			s.toAllBut(group, rnd)
		case 1:
			s.toUser(rnd.IntN(len(s.users)))
		case 2:
			group = s.cfg.duty(rnd)
			fallthrough
		default:
			n := s.issued[p][group] + 1
			s.toGroup(&note{To: group, From: p, N: n}, nil)
			s.issued[p][group] = n
		}
	}
}

// toAllBut sends to the members of group but one, who is not of those that expect to see
// every message.
func (s *server) toAllBut(group string, rnd *rand.Rand) {
	for _, c := range s.box.Members(group) {
		v := c.Value(visitKey{}).(*visit)
		if !v.gapless {
			s.toGroup(&note{To: group, From: nobody, N: rnd.Uint64N(1000), Not: v.id}, c)
			return
		}
	}
}

// meddle does things to channels that they did not ask for.
func (s *server) meddle(ctx context.Context, rnd *rand.Rand) {
	pause := time.Second * 20 / time.Duration(s.cfg.rate)
	for wait(ctx, pause) {
		clients := *s.clients.Load()
		v := clients[rnd.IntN(len(clients))].current.Load()
		if v == nil {
			continue
		}
		c := v.channel.Load()
		if c == nil {
			continue
		}
		switch rnd.IntN(20) {
		case 0, 1:
			v.closed.Store(true)
			go c.Close(statusAsked, asked) // returns within CloseTimeout and a little
		case 2:
			v.cut.Store(true)
			_ = c.CloseNow()
		case 3:
			if rnd.IntN(20) == 0 {
				_ = s.box.FlushHistory(ctx, s.cfg.room(rnd))
				s.ledger.clears.Add(1)
			}
		case 4:
			_, _ = s.box.History(ctx, s.cfg.room(rnd), nil)
			s.box.Groups()
		case 5:
			c.Touch()
			_, _ = s.box.Position(ctx, s.cfg.room(rnd))
		default:
			s.duty(ctx, c, v, s.cfg.duty(rnd))
		}
	}
}

// duty makes c a member of a group, or none of it any more, and tells the client.
func (s *server) duty(ctx context.Context, c *wschannels.Channel, v *visit, group string) {
	g, err := s.box.Group(group)
	if err != nil {
		s.faults.add("Group: %v", err)
		return
	}
	a := &answer{Re: "left", Group: group}
	if g.Has(c) {
		g.Remove(c)
	} else {
		res, err := s.box.Join(context.WithoutCancel(ctx), c, group, nil) // waits for nothing
		if s.expect(c, err, "Join by the server"); err != nil {
			return
		}
		s.ledger.joins.Add(1)
		*a = answer{Re: "joined", Group: group, Epoch: res.Position.Epoch, Seq: res.Position.Seq}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if !s.answer(ctx, c, a) && c.Err() == nil {
		v.cut.Store(true) // the client would not understand what it gets
		_ = c.CloseNow()
	}
}

// closeAll closes everybody, again and again until done is closed: who was on the way in
// is none of the first call's.
func (s *server) closeAll(done <-chan struct{}) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if _, err := s.box.CloseAll(ctx, websocket.StatusGoingAway, ""); err != nil {
			s.faults.add("CloseAll: %v", err)
		}
		cancel()
		select {
		case <-done:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// watch finds out for how long the machine left the process alone.
func (s *server) watch(ctx context.Context) {
	const each = 50 * time.Millisecond
	for last := time.Now(); wait(ctx, each); {
		now := time.Now()
		s.pause = max(s.pause, now.Sub(last)-each)
		last = now
	}
}
