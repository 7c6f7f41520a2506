package client

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/wire"
)

// A member counts what comes on one connection, as cheaply as it can: it shares the
// processors with the server that is measured.
type member struct {
	tcp      *net.TCPConn
	dialect  contestant.Dialect
	lines    *lineCache // for compressed messages with several lines
	progress *progress
	sampled  *sample // nil: messages are counted only

	mu       sync.Mutex // held while a read is dealt with, and by who asks for figures
	scan     wire.Scanner
	take     func(wire.Message) error
	received int64
	bytes    int64
	steps    int64
	marked   int64 // received, at the mark
	markedB  int64
	end      error
}

// adopt makes a member of a session.
func adopt(s *session, p *progress) *member {
	m := &member{tcp: s.tcp, dialect: s.dialect, progress: p, scan: s.scan}
	m.take = m.message
	m.scan.Plain = 0
	_ = m.tcp.SetDeadline(time.Time{})
	return m
}

// buffers are taken for as long as there is something to read, so that a few of them,
// which stay in the processors' caches, serve all members.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// run reads until the connection ends.
func (m *member) run() {
	m.scan.CountOnly = m.sampled == nil && m.dialect == contestant.Plain
	err := m.read()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end = err
	m.progress.lose(m.steps)
}

func (m *member) read() error {
	raw, err := m.tcp.SyscallConn()
	if err != nil {
		return err
	}
	var buf *[]byte
	var n int
	var failed error
	once := func(fd uintptr) bool {
		buf = buffers.Get().(*[]byte)
		for {
			n, failed = syscall.Read(int(fd), *buf)
			if failed != syscall.EINTR {
				break
			}
		}
		if failed == syscall.EAGAIN {
			buffers.Put(buf)
			return false
		}
		return true
	}
	for {
		if err := raw.Read(once); err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
		if n == 0 {
			return io.EOF
		}
		err := m.deal((*buf)[:n])
		buffers.Put(buf)
		if err != nil {
			return err
		}
	}
}

// deal counts what there is in p.
func (m *member) deal(p []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += int64(len(p))
	if m.sampled != nil {
		m.sampled.now = time.Now().UnixNano()
	}
	err := m.scan.Scan(p, m.take)
	if m.scan.CountOnly {
		m.received = m.scan.Counted
	}
	if steps := m.received / m.progress.step; steps > m.steps {
		m.progress.reach(m.steps, steps)
		m.steps = steps
	}
	return err
}

// message is called for all that is not only counted.
func (m *member) message(msg wire.Message) error {
	switch msg.Op {
	case wire.OpClose:
		return errors.New("a close frame")
	case wire.OpPing:
		_, err := m.tcp.Write(wire.AppendMasked(nil, wire.OpPong, msg.Payload))
		return err
	case wire.OpPong:
		return nil
	}
	if m.dialect == contestant.Centrifuge {
		return m.batch(msg)
	}
	m.received++
	if m.sampled != nil {
		m.sampled.message(m.received, msg)
	}
	return nil
}
