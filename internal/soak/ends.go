package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

// misbehave ends a visit in one of the ways in which clients do.
func (c *client) misbehave() error {
	switch c.rnd.IntN(20) {
	case 0, 1, 2, 3:
		c.peer.reset()
		c.s.ledger.ends.add("reset by the client")
		return nil
	case 4, 5:
		_ = c.peer.tcp.CloseWrite()
		return c.end("hung up by the client", noCode)
	case 6, 7:
		frame := masked(bitFin|opText, make([]byte, 100))
		c.peer.send(frame[:1+c.rnd.IntN(len(frame)-1)])
		c.peer.reset()
		c.s.ledger.ends.add("reset in a frame")
		return nil
	case 8:
		frame := masked(bitFin|opText, make([]byte, 100))
		c.peer.send(frame[:1+c.rnd.IntN(len(frame)-1)])
		c.broken, c.dumb = true, true // a pong would be taken for the rest
		return c.end("silent in a frame", 1008)
	case 9:
		c.dumb = true
		return c.end("no pong", 4000)
	case 11:
		c.ask(&request{Do: "panic"})
		return c.end("panic of the handler", 1011)
	case 12:
		c.ask(&request{Do: "quit"})
		return c.end("closed by the handler", 4501)
	case 13, 14:
		return c.breach()
	}
	c.peer.send(masked(bitFin|opClose, binary.BigEndian.AppendUint16(nil, 1000)))
	return c.end("closed by the client", 1000)
}

// breaches of the protocol, and what they are closed with.
var breaches = []struct {
	name string
	code int
	sent []byte
}{
	{"no mask", 1002, []byte{bitFin | opText, 2, 'h', 'i'}},
	{"reserved bits", 1002, masked(bitFin|0x30|opText, []byte("hi"))},
	{"unknown opcode", 1002, masked(bitFin|0x3, []byte("hi"))},
	{"continuation of nothing", 1002, masked(bitFin, []byte("hi"))},
	{"long ping", 1002, masked(bitFin|opPing, make([]byte, 126))},
	{"bad close code", 1002, masked(bitFin|opClose, []byte{1005 >> 8, 1005 & 0xFF})},
	{"not UTF-8", 1007, masked(bitFin|opText, []byte("\xff\xfe"))},
	{"too large", 1009, masked(bitFin|opText, make([]byte, readLimit+1))},
}

func (c *client) breach() error {
	b := breaches[c.rnd.IntN(len(breaches))]
	c.peer.send(b.sent)
	c.broken = true
	return c.end("breach: "+b.name, b.code)
}

// owed reports whether the client has a close frame to come at once: it reads, and the
// server need not wait for anything.
func (c *client) owed() bool {
	return c.want > 0 && c.want != 1008 && !c.dumb && !c.stalled && !c.heir && c.ctx.Err() == nil
}

// end reads up to the end, which is to be a close frame with code, unless the server had
// other plans already.
func (c *client) end(how string, code int) error {
	c.how, c.want = how, code
	limit := patience
	if c.dumb {
		limit += c.s.cfg.beat + staleTimeout
	}
	began := time.Now()
	ended, err := c.listen(began.Add(limit))
	if err == nil && !ended {
		err = errors.New("nothing happened")
	}
	if c.owed() {
		c.s.ledger.longest.note(time.Since(began))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", how, err)
	}
	return err
}

// lost judges the end of a connection without a close frame.
func (c *client) lost(err error) error {
	switch {
	case c.want == noCode:
		c.s.ledger.ends.add(c.how)
	case c.visit.cut.Load():
		c.s.ledger.ends.add("cut by the server")
	case c.stalled:
		c.s.ledger.ends.add("stalled, and cut by the server")
	default:
		return fmt.Errorf("the connection was lost: %w", err)
	}
	return nil
}

// noCode is the close code of a connection that ends without a close frame.
const noCode = -1

// closed judges the end of a connection with a close frame, and sees to the end of it.
func (c *client) closed(payload []byte) error {
	code := 1005
	if len(payload) >= 2 {
		code = int(binary.BigEndian.Uint16(payload))
	}
	switch {
	case code == c.want:
		c.s.ledger.ends.add(c.how)
	case code == 1001 && c.ctx.Err() != nil:
		c.s.ledger.ends.add("closed with all")
	case code == int(statusAsked) && c.visit.closed.Load():
		c.s.ledger.ends.add("closed by the server")
	case code == 4003 && c.kind.expires:
		c.s.ledger.ends.add("expired")
	case code == 4004 && (c.stalled || c.heir):
		c.stalled = true // for its heir
		c.s.ledger.ends.add("stalled, and too slow")
	case code == 4000 && c.stalled:
		c.s.ledger.ends.add("stalled, and stale")
	default:
		return fmt.Errorf("closed with %d, %q", code, payload[min(2, len(payload)):])
	}
	if c.broken {
		_ = c.peer.tcp.CloseWrite()
	} else {
		c.peer.send(masked(bitFin|opClose, payload))
	}
	_ = c.peer.tcp.SetReadDeadline(time.Now().Add(patience))
	switch f, err := c.peer.next(); {
	case err == nil:
		return fmt.Errorf("opcode %d after the close frame", f.op)
	case errors.Is(err, os.ErrDeadlineExceeded) || c.peer.half():
		return fmt.Errorf("after the close frame: %w, half a frame: %v", err, c.peer.half())
	}
	return nil
}
