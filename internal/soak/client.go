package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// A client connects again and again, each time as another visit, on one goroutine that
// does nothing but read until it is time to do something.
type client struct {
	s    *server
	n    int
	kind *kind
	rnd  *rand.Rand
	ctx  context.Context // ends when no more visits are made

	places map[string]*place
	inbox  inbox
	visits int

	current atomic.Pointer[visit]

	// Of the current visit.
	visit         *visit
	peer          *peer
	echoes, heard uint64 // asked for; come back
	pings, pongs  int
	stalled       bool   // it did not read for a while: the server may give up on it
	heir          bool   // of a visit that did, whose mail may fill its queue
	dumb          bool   // it does not answer pings
	broken        bool   // the server reads nothing of it any more
	how           string // it has begun to end the visit
	want          int    // and with which close code that ends; noCode: none
}

func newClient(ctx context.Context, s *server, n int, kinds []*kind, round uint64) *client {
	c := &client{s: s, n: n, rnd: rand.New(rand.NewPCG(s.cfg.seed+round<<32, uint64(n))), ctx: ctx, places: make(map[string]*place)}
	share := n % 20
	for _, c.kind = range kinds {
		if share -= c.kind.share; share < 0 {
			break
		}
	}
	return c
}

// run visits until the context ends.
func (c *client) run() {
	for c.ctx.Err() == nil {
		if c.rnd.IntN(100) == 0 {
			c.beRefused()
		} else if err := c.once(); err != nil {
			c.s.faults.add("%s client %d, visit %d: %v", c.kind.name, c.n, c.visits, err)
		}
		wait(c.ctx, c.about(c.s.cfg.life/200))
	}
}

// about returns a random time of d on average.
func (c *client) about(d time.Duration) time.Duration {
	return min(8*d, time.Duration(c.rnd.ExpFloat64()*float64(d)))
}

func (c *client) target() string {
	return fmt.Sprintf("%s?client=%d&visit=%s", c.kind.name, c.n, c.visit.id)
}

// open connects for a new visit.
func (c *client) open(more string) error {
	c.visits++
	c.inbox.connects(c.visit == nil || c.visit.gone.Load())
	c.visit = &visit{id: fmt.Sprintf("%d.%d", c.n, c.visits), gapless: c.kind.envelope && !c.kind.lossy}
	c.heir = c.stalled
	c.echoes, c.heard, c.pings, c.pongs = 0, 0, 0, 0
	c.stalled, c.dumb, c.broken, c.how, c.want = false, false, false, "", 0
	c.current.Store(c.visit)
	var err error
	if c.peer, err = dial(c.s.addr, c.target()+more, c.kind.deflate); err == nil {
		c.s.ledger.upgraded.Add(1)
	}
	return err
}

// close is the end of a visit.
func (c *client) close() {
	c.current.Store(nil)
	if c.peer != nil {
		c.peer.reset()
		c.peer = nil
	}
	for group, p := range c.places {
		if p.state != member || isDuty(group) || c.patchy() {
			delete(c.places, group)
			continue
		}
		p.leaves()
	}
}

// patchy reports whether anything may be missing of what the client gets, answers too.
func (c *client) patchy() bool { return c.kind.evicts && (c.stalled || c.heir) }

// beRefused asks to be.
func (c *client) beRefused() {
	defer c.close()
	err := c.open("&refuse=1")
	if err == nil {
		err = c.end("refused", 4001)
	}
	if err != nil {
		c.s.faults.add("client %d, which is refused: %v", c.n, err)
	}
}

// once is one visit.
func (c *client) once() error {
	defer c.close()
	if err := c.open(""); err != nil {
		return err
	}
	c.resume()
	over := time.Now().Add(c.about(c.s.cfg.life))
	for c.ctx.Err() == nil && time.Now().Before(over) {
		next := time.Now().Add(c.about(c.s.cfg.act))
		if next.After(over) {
			next = over
		}
		if ended, err := c.listen(next); ended || err != nil {
			return err
		}
		if c.ctx.Err() == nil {
			c.act()
		}
	}
	if c.ctx.Err() != nil {
		return c.end("closed with all", 1001)
	}
	return c.misbehave()
}

// listen reads until then. ended says that the visit is over.
func (c *client) listen(until time.Time) (ended bool, err error) {
	_ = c.peer.tcp.SetReadDeadline(until)
	for {
		f, err := c.peer.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case err != nil:
			return true, c.lost(err)
		case f.op == opClose:
			return true, c.closed(f.payload)
		}
		if err := c.take(f); err != nil {
			return true, err
		}
	}
}

// take is told every frame but a close.
func (c *client) take(f frame) error {
	switch f.op {
	case opPing:
		if !c.dumb {
			c.peer.send(masked(bitFin|opPong, f.payload))
		}
		return nil
	case opPong:
		if c.pongs++; c.pongs > c.pings {
			return errors.New("a pong to no ping")
		}
		return nil
	}
	c.s.ledger.received.Add(1)
	if (f.op == opBinary) != c.kind.binary {
		return fmt.Errorf("a message of opcode %d", f.op)
	}
	var m struct {
		envelope
		Data json.RawMessage `json:"data"`
	}
	data, at := f.payload, (*envelope)(nil)
	if c.kind.envelope {
		if err := json.Unmarshal(f.payload, &m); err != nil || m.ID == "" {
			return fmt.Errorf("%.200q in an envelope: %v", f.payload, err)
		}
		if data = m.Data; m.Group != "" {
			at = &m.envelope
		}
	}
	var p payload
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("%.200q: %v", f.payload, err)
	}
	if (p.Re == "" || p.Pad != "") && p.damaged() {
		return fmt.Errorf("a damaged note: %.200q", f.payload)
	}
	if c.patchy() {
		return nil
	}
	if p.Re != "" {
		return c.answered(&p.answer)
	}
	return c.noted(&p.note, at)
}

// noted is told every message to a group or a user.
func (c *client) noted(n *note, at *envelope) error {
	if u := &c.s.users[c.n]; strings.HasPrefix(n.To, "user") || n.To == u.name {
		if n.To != u.name || at != nil {
			return fmt.Errorf("a message to %s for %s", n.To, u.name)
		}
		if u.shared {
			return nil // each has its own numbers
		}
		return c.inbox.sees(n.N)
	}
	if c.kind.envelope && (at == nil || at.Group != n.To) {
		return fmt.Errorf("a message to %s in the envelope %+v", n.To, at)
	}
	p := c.places[n.To]
	if p == nil && isDuty(n.To) { // it was made a member, and will be told
		p = c.place(n.To)
		p.state = joining
	}
	if p == nil {
		return fmt.Errorf("a message to %s, which it has nothing to do with", n.To)
	}
	if n.Not == c.visit.id && p.state == member {
		return fmt.Errorf("a message to all others of %s", n.To)
	}
	c.s.ledger.checked.Add(1)
	return p.sees(n, at)
}

// answered is told every answer.
func (c *client) answered(a *answer) error {
	switch a.Re {
	case "echo":
		if c.heard++; a.Seq != c.heard {
			return fmt.Errorf("echo %d after %d", a.Seq, c.heard-1)
		}
		return nil
	case "burst":
		return nil
	}
	p := c.places[a.Group]
	if p == nil && isDuty(a.Group) {
		p = c.place(a.Group)
		p.state = joining
	}
	switch {
	case p == nil:
		return fmt.Errorf("the answer %+v, and it has nothing to do with that", a)
	case a.Re == "left":
		if p.state != leaving && !(p.state == member && isDuty(p.group)) {
			return fmt.Errorf("the answer %+v in state %d", a, p.state)
		}
		p.leaves()
		if isDuty(p.group) || c.rnd.IntN(2) == 0 {
			delete(c.places, p.group)
		}
		return nil
	case p.state != joining:
		return fmt.Errorf("the answer %+v in state %d", a, p.state)
	}
	if a.Recovered {
		c.s.ledger.recovered.Add(1)
	}
	return p.joined(a)
}

// place returns what the client knows of group.
func (c *client) place(group string) *place {
	p := c.places[group]
	if p == nil {
		p = &place{group: group, kind: c.kind}
		c.places[group] = p
	}
	return p
}
