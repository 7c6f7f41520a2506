package main

import (
	"context"

	"github.com/wschannels/wschannels"
)

// handle is the Handler of the channels that have one.
func (s *server) handle(ctx context.Context, c *wschannels.Channel) error {
	for m, err := range c.Messages(ctx) {
		switch {
		case c.Err() != nil:
			return err
		case err != nil:
			continue // an invalid message
		}
		if err := s.request(ctx, c, m); err != nil {
			return err
		}
	}
	return nil
}

// request does what a client asks for.
func (s *server) request(ctx context.Context, c *wschannels.Channel, m wschannels.Message) error {
	var r request
	if err := m.Decode(&r); err != nil {
		return nil // text and bytes may be anything
	}
	switch r.Do {
	case "join":
		s.join(ctx, c, &r)
	case "leave":
		status, err := s.box.Leave(ctx, c, r.Group)
		s.expect(c, err, "Leave")
		if status > wschannels.GroupRemoved && c.Err() == nil {
			s.faults.add("Leave %s: %v", r.Group, status)
		}
		s.answer(ctx, c, &answer{Re: "left", Group: r.Group})
	case "say":
		s.toGroup(&note{To: r.Group, From: nobody, N: r.N}, nil)
	case "echo":
		s.answer(ctx, c, &answer{Re: "echo", Seq: r.N})
	case "tell":
		s.toUser(int(r.N) % len(s.users))
	case "burst":
		for range burst {
			if c.Err() != nil {
				break
			}
			s.answer(ctx, c, &payload{answer{Re: "burst"}, note{From: nobody, Pad: padding(0)}})
		}
	case "userburst":
		for range 10 * burst {
			if c.Err() != nil {
				break // or the next visit would get the rest
			}
			s.toUser(int(r.N))
		}
	case "panic":
		s.ledger.panics.Add(1)
		panic(asked)
	case "quit":
		return &wschannels.CloseError{Code: statusQuit, Reason: asked}
	}
	return nil
}

// burst is how many long notes overflow a client that does not read.
const burst = 60

func (s *server) join(ctx context.Context, c *wschannels.Channel, r *request) {
	opts := &wschannels.JoinOptions{ReplayLast: r.Last}
	if r.Epoch != "" {
		opts.ReplayAfter = &wschannels.Position{Epoch: r.Epoch, Seq: r.Seq}
	}
	res, err := s.box.Join(ctx, c, r.Group, opts)
	if err != nil {
		if r.Epoch != "" || r.Last > 0 {
			s.ledger.cutReplays.Add(1)
		}
		s.expect(c, err, "Join")
		return
	}
	s.ledger.joins.Add(1)
	s.ledger.replayed.Add(uint64(res.Replayed))
	if res.Status != wschannels.ChannelAdded {
		s.faults.add("Join %s: %v", r.Group, res.Status)
	}
	s.answer(ctx, c, &answer{
		Re: "joined", Group: r.Group, Epoch: res.Position.Epoch, Seq: res.Position.Seq,
		Replayed: res.Replayed, Recovered: res.Recovered,
	})
}

// answer sends v to c alone, and reports whether it was queued.
func (s *server) answer(ctx context.Context, c *wschannels.Channel, v any) bool {
	err := c.Send(ctx, v)
	if err == nil {
		s.ledger.direct.Add(1)
	} else if ctx.Err() == nil {
		s.expect(c, err, "Send")
	}
	return err == nil
}

// toGroup sends n to its group.
func (s *server) toGroup(n *note, not *wschannels.Channel) {
	n.Pad = padding(n.N)
	opts := &wschannels.SendOptions{SaveHistory: saves(n.To, n.N)}
	if not != nil {
		opts.Except = append(opts.Except, not.ID())
	}
	res, err := s.box.GroupSend(context.Background(), n.To, n, opts)
	if err != nil || res.Saved != opts.SaveHistory {
		s.faults.add("GroupSend %s: %+v, %v", n.To, res, err)
	}
	s.ledger.groupSends.Add(1)
	s.ledger.sent(res)
}

// toUser sends the next message to user i.
func (s *server) toUser(i int) {
	u := &s.users[i]
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.issued.Load() + 1
	res, err := s.box.SendToUser(context.Background(), u.name, &note{To: u.name, From: nobody, N: n, Pad: padding(n)})
	if err != nil {
		s.faults.add("SendToUser: %v", err)
	}
	u.issued.Store(n)
	s.ledger.userSends.Add(1)
	s.ledger.sent(res)
}

// expect wants err to be nil, or due to the end of c.
func (s *server) expect(c *wschannels.Channel, err error, what string) {
	if err != nil && c.Err() == nil {
		s.faults.add("%s on an open channel: %v", what, err)
	}
}
