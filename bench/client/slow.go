package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// slowDialer connects with small segments and a small window, as a far-away client
// has: on loopback the kernels' buffers alone would take megabytes.
func slowDialer() *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10),
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1460),
			)
		})
		return errors.Join(err, failed)
	}}
}

// Slow says what became of the members who did not read, by how many.
type Slow map[string]int

// Fates asks what became of them. Quiet is how long nothing must come on a connection
// that is still open.
type Fates struct {
	Quiet time.Duration
}

// whatBecame reads all that there is for the slow ones.
func (p *process) whatBecame(f Fates) (Slow, error) {
	ends := make(chan string, len(p.slow))
	for _, s := range p.slow {
		go func() { ends <- s.fate(f.Quiet) }()
	}
	fates := make(Slow)
	for range p.slow {
		fates[<-ends]++
	}
	return fates, nil
}

// fate reads to the end.
func (s *session) fate(quiet time.Duration) string {
	_ = s.tcp.SetReadBuffer(1 << 20)
	s.buf = make([]byte, 64<<10)
	s.scan.CountOnly = true
	for {
		_ = s.tcp.SetDeadline(time.Now().Add(quiet))
		err := s.read()
		frame := closeFrame{}
		switch {
		case err == nil:
		case errors.As(err, &frame):
			return fmt.Sprintf("closed with %d", frame.code)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "still open"
		case err == io.EOF:
			return "ended without a close frame"
		default:
			return "reset"
		}
	}
}
