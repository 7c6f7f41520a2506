package main

import (
	"encoding/json"
	"slices"
)

// ask sends a request, in one of the ways in which a message can be sent.
func (c *client) ask(r *request) {
	p, _ := json.Marshal(r) // strings and numbers
	op := byte(opText)
	if c.kind.binary {
		op = opBinary
	}
	switch {
	case c.rnd.IntN(10) == 0: // in fragments, with a ping between
		cut := c.rnd.IntN(len(p))
		c.pings++
		c.peer.send(masked(op, p[:cut]), masked(bitFin|opPing, []byte("between")), masked(bitFin, p[cut:]))
	case c.kind.deflate && c.rnd.IntN(2) == 0:
		c.peer.send(deflated(p))
	default:
		c.peer.send(masked(bitFin|op, p))
	}
}

// in returns the groups in that state which the client itself has joined.
func (c *client) in(s state) (groups []string) {
	for group, p := range c.places {
		if p.state == s && !isDuty(group) {
			groups = append(groups, group)
		}
	}
	slices.Sort(groups) // the same order each time
	return groups
}

// resume goes back to the groups of the visit before, and on from there.
func (c *client) resume() {
	for _, group := range c.in(away) {
		if c.rnd.IntN(10) == 0 {
			delete(c.places, group)
			continue
		}
		c.join(group)
	}
}

func (c *client) join(group string) {
	p := c.place(group)
	r := request{Do: "join", Group: group}
	if at := p.position(); c.kind.envelope && at.Epoch != "" {
		r.Epoch, r.Seq = at.Epoch, at.Seq
	} else if c.rnd.IntN(2) == 0 {
		r.Last = 1 + c.rnd.IntN(2*historyLen)
	}
	p.state, p.asked = joining, r
	c.ask(&r)
}

// act does one thing that a client may.
func (c *client) act() {
	in := c.in(member)
	what := c.rnd.IntN(100)
	if what < 50 && len(in) < 2 {
		what = 30
	}
	switch {
	case what < 30:
		c.ask(&request{Do: "say", Group: in[c.rnd.IntN(len(in))], N: c.rnd.Uint64N(1000)})
	case what < 42:
		group := c.s.cfg.room(c.rnd)
		if left := c.in(away); len(left) > 0 && c.rnd.IntN(2) == 0 {
			group = left[0]
		}
		if p := c.places[group]; p == nil && len(c.places) < 6 || p != nil && p.state == away {
			c.join(group)
		}
	case what < 50:
		group := in[c.rnd.IntN(len(in))]
		c.places[group].state = leaving
		c.ask(&request{Do: "leave", Group: group})
	case what < 60:
		c.echoes++
		c.ask(&request{Do: "echo", N: c.echoes})
	case what < 75:
		c.ask(&request{Do: "tell", N: uint64(c.rnd.IntN(len(c.s.users)))})
	case what < 80:
		c.pings++
		c.peer.send(masked(bitFin|opPing, []byte("hello")))
	case what < 84:
		c.peer.send(masked(bitFin|opPong, []byte("for nothing")))
	case what < 88 && !c.kind.binary:
		c.peer.send(masked(bitFin|opText, []byte(`{"do":`))) // invalid, where it has to be JSON
	case what < 90 && c.rnd.IntN(4) == 0:
		c.stall()
	}
}

// stall asks for more than the server can keep, and does not read for a while.
func (c *client) stall() {
	c.stalled = true
	r := &request{Do: "burst"}
	if !c.s.users[c.n].shared && c.rnd.IntN(2) == 0 {
		r = &request{Do: "userburst", N: uint64(c.n)}
	}
	c.ask(r)
	d := c.about(c.s.cfg.life / 20)
	if c.rnd.IntN(10) == 0 {
		d = writeTimeout * 3 / 2
	}
	wait(c.ctx, d)
}
