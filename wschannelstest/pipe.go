package wschannelstest

import (
	"bytes"
	"io"
	"net"
	"os"
	"time"
)

// pipeBuffer is how many bytes one direction of a pipe holds.
const pipeBuffer = 64 << 10

var (
	// clientAddr is a handler's RemoteAddr, as in httptest.NewRequest.
	clientAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234}
	serverAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 80}
)

// A pipe is one end of an in-memory network connection. Like TCP and unlike
// [net.Pipe] it has buffers, and after one end is closed the other still reads
// what was written before, then io.EOF.
type pipe struct {
	in, out       *stream
	local, remote net.Addr
	writing       chan struct{} // holds one value during a Write
}

// newPipe returns the two ends of a connection.
func newPipe() (client, server *pipe) {
	up, down := new(stream), new(stream)
	client = &pipe{in: down, out: up, local: clientAddr, remote: serverAddr}
	server = &pipe{in: up, out: down, local: serverAddr, remote: clientAddr}
	client.writing = make(chan struct{}, 1)
	server.writing = make(chan struct{}, 1)
	return client, server
}

func (p *pipe) Read(b []byte) (int, error) { return p.in.read(b) }

func (p *pipe) Write(b []byte) (int, error) {
	p.writing <- struct{}{} // one Write's bytes stay together
	defer func() { <-p.writing }()
	return p.out.write(b)
}

func (p *pipe) Close() error {
	p.in.close(&p.in.reader)
	p.out.close(&p.out.writer)
	return nil
}

func (p *pipe) LocalAddr() net.Addr  { return p.local }
func (p *pipe) RemoteAddr() net.Addr { return p.remote }

func (p *pipe) SetDeadline(t time.Time) error {
	if err := p.SetReadDeadline(t); err != nil {
		return err
	}
	return p.SetWriteDeadline(t)
}

func (p *pipe) SetReadDeadline(t time.Time) error {
	return p.in.setDeadline(&p.in.reader, t)
}

func (p *pipe) SetWriteDeadline(t time.Time) error {
	return p.out.setDeadline(&p.out.writer, t)
}

// A stream is one direction of a pipe.
type stream struct {
	mu             monitor // guards all below; free while waiting
	buf            bytes.Buffer
	reader, writer side
}

// A side is the state of one of the two users of a stream.
type side struct {
	closed  bool
	expired bool        // its deadline has passed
	timer   *time.Timer // of its deadline; nil if it has none
}

// err says why the side can do nothing, if so.
func (s *side) err() error {
	switch {
	case s.closed:
		return net.ErrClosed
	case s.expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch err := s.reader.err(); {
		case err != nil:
			return 0, err
		case len(b) == 0:
			return 0, nil
		case s.buf.Len() > 0:
			s.mu.changed()
			return s.buf.Read(b)
		case s.writer.closed:
			return 0, io.EOF
		}
		s.mu.wait(nil)
	}
}

func (s *stream) write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		free := pipeBuffer - s.buf.Len()
		switch err := s.writer.err(); {
		case err != nil:
			return n, err
		case s.reader.closed:
			return n, io.ErrClosedPipe
		case n == len(b):
			return n, nil
		case free > 0:
			m, _ := s.buf.Write(b[n:min(len(b), n+free)]) // never fails
			n += m
			s.mu.changed()
		default:
			s.mu.wait(nil)
		}
	}
}

// close is for x, which is one of the sides of s. The other side notices: a
// writer at once, a reader after what was written.
func (s *stream) close(x *side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.closed = true
	x.setTimer(nil)
	s.mu.changed()
}

// setDeadline replaces the deadline of x, which is one of the sides of s.
func (s *stream) setDeadline(x *side, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.closed {
		return net.ErrClosed
	}
	x.setTimer(nil)
	d := time.Until(t)
	x.expired = !t.IsZero() && d <= 0
	if d > 0 {
		var timer *time.Timer
		timer = time.AfterFunc(d, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if x.timer == timer { // not replaced meanwhile
				x.expired = true
				s.mu.changed()
			}
		})
		x.setTimer(timer)
	}
	s.mu.changed()
	return nil
}

// setTimer stops the timer before it.
func (s *side) setTimer(t *time.Timer) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = t
}
