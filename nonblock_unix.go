//go:build unix

package wschannels

import (
	"net"
	"syscall"
)

// rawConn returns conn as one that can be written to without waiting, nil if it
// cannot: its type must be one that puts nothing between its Write and the socket. The
// application may have used the socket's File, whose Fd makes it wait: not any more.
func rawConn(conn net.Conn) syscall.RawConn {
	var raw syscall.RawConn
	var err error
	switch conn := conn.(type) {
	case *net.TCPConn:
		raw, err = conn.SyscallConn()
	case *net.UnixConn:
		raw, err = conn.SyscallConn()
	}
	if raw == nil || err != nil {
		return nil
	}
	if raw.Control(func(fd uintptr) { err = syscall.SetNonblock(int(fd), true) }) != nil || err != nil {
		return nil
	}
	return raw
}

// write makes one write call, which the socket being in non-blocking mode never waits.
func (t *trial) write(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), t.p)
		switch err {
		case nil:
			t.n = n
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
		default:
			t.err = err
		}
		return true // done, whatever came of it: do not wait
	}
}
