package client

import (
	"encoding/binary"
	"net"
	"sync"
)

// progress tells the server how many messages the slowest member has, a step at a
// time. Members that are lost hold nobody up.
type progress struct {
	conn net.Conn
	step int64

	mu      sync.Mutex
	members int
	slowest int64   // steps that all have done
	done    []int32 // ring by step: how many have done it
	gone    []int32 // ring by step: how many were lost when this was the last one that they had done
	lost    int     // of gone, those up to slowest
}

// farthest is how many steps a member may be ahead of another.
const farthest = 1 << 16

func newProgress(conn net.Conn, members, step int) *progress {
	return &progress{
		conn: conn, step: int64(step), members: members,
		done: make([]int32, farthest), gone: make([]int32, farthest),
	}
}

// reach is told that a member has done the steps after from, up to to.
func (p *progress) reach(from, to int64) {
	p.mu.Lock()
	for s := from + 1; s <= to; s++ {
		p.done[s%farthest]++
	}
	p.advance()
}

// lose is told that a member that has done steps is gone.
func (p *progress) lose(steps int64) {
	p.mu.Lock()
	if steps == p.slowest {
		p.lost++
	} else {
		p.gone[steps%farthest]++
	}
	p.advance()
}

// advance unlocks mu.
func (p *progress) advance() {
	before := p.slowest
	for p.lost < p.members {
		next := (p.slowest + 1) % farthest
		if int(p.done[next])+p.lost < p.members {
			break
		}
		p.done[next] = 0
		p.slowest++
		p.lost += int(p.gone[next])
		p.gone[next] = 0
	}
	now := p.slowest
	p.mu.Unlock()
	if now > before {
		var report [8]byte
		binary.LittleEndian.PutUint64(report[:], uint64(now*p.step))
		_, _ = p.conn.Write(report[:]) // the server's end is noticed elsewhere
	}
}
