package server

import (
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
)

// progress is how many messages the slowest client has, as the client process says.
type progress struct {
	n     atomic.Int64
	moved chan struct{} // holds one: there was news
}

func (p *progress) listen(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go p.read(conn)
	}
}

func (p *progress) read(conn net.Conn) {
	defer conn.Close()
	var report [8]byte
	for {
		if _, err := io.ReadFull(conn, report[:]); err != nil {
			return
		}
		// Reports are written by several goroutines of the client: they may be out of order.
		n := int64(binary.LittleEndian.Uint64(report[:]))
		for old := p.n.Load(); n > old && !p.n.CompareAndSwap(old, n); old = p.n.Load() {
		}
		select {
		case p.moved <- struct{}{}:
		default:
		}
	}
}
