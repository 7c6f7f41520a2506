package wschannels

import (
	"bytes"
	"compress/flate"
	"io"
	"net"
	"sync"
	"time"
)

const fuzzLimit = 300

// fuzzFrame is a client's frame.
func fuzzFrame(first byte, payload string) []byte {
	b := inspectFrame(first, len(payload))
	mask := b[len(b)-len(payload)-4:]
	for i := range payload {
		mask[4+i] = payload[i] ^ mask[i%4]
	}
	return b
}

func fuzzSeeds() [][]byte {
	packed := fuzzDeflate("hello hello hello")
	return [][]byte{
		{},
		fuzzFrame(0x81, "hello"),
		fuzzFrame(0x82, string(make([]byte, 200))),
		bytes.Join([][]byte{fuzzFrame(0x01, "caf\xc3"), fuzzFrame(0x89, "ping"), fuzzFrame(0x80, "\xa9"), fuzzFrame(0x88, "\x03\xe8bye")}, nil),
		append(fuzzFrame(0xC1, packed), fuzzFrame(0x81, "plain")...),
		append(fuzzFrame(0x41, packed[:3]), fuzzFrame(0x80, packed[3:])...),
		append(fuzzFrame(0x82, "a"), 0x81, 0x00),
		append(fuzzFrame(0x88, ""), 0xFF, 0xFF, 0xFF),
		fuzzFrame(0x88, "\x03\xe8\xff"),
		fuzzFrame(0x88, "\x03\xed"),
		fuzzFrame(0x81, "\xff\xfe"),
		fuzzFrame(0x82, string(make([]byte, fuzzLimit+1))),
		{0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		append([]byte{0x82, 0xFE, 0, 125, 0, 0, 0, 0}, make([]byte, 125)...),
		append([]byte{0x82, 0xFE, 0, 126, 0, 0, 0, 0}, make([]byte, 126)...),
		{0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0},
		append(fuzzFrame(0x01, "a"), fuzzFrame(0x81, "b")...),
		fuzzFrame(0x80, "of nothing"),
		fuzzFrame(0x83, "reserved"),
		fuzzFrame(0xA1, "reserved"),
		fuzzFrame(0x09, "half a ping"),
		fuzzFrame(0x89, string(make([]byte, 126))),
		append(fuzzFrame(0x02, string(make([]byte, fuzzLimit))), fuzzFrame(0x80, "x")...),
		bytes.Repeat(fuzzFrame(0x89, ""), 101),
		append(fuzzFrame(0x01, "x"), bytes.Repeat(fuzzFrame(0x00, ""), 101)...),
	}
}

func fuzzDeflate(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestSpeed)
	w.Write([]byte(s))
	w.Flush()
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff")))
}

// A fuzzConn is the connection of a peer that has said all it will, in pieces.
type fuzzConn struct {
	net.Conn
	mu     sync.Mutex
	in     []byte
	piece  int
	out    []byte
	closed bool
}

func (c *fuzzConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case len(c.in) == 0:
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.piece)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *fuzzConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, p...)
	return len(p), nil
}

func (c *fuzzConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *fuzzConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *fuzzConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *fuzzConn) SetDeadline(time.Time) error      { return nil }
func (c *fuzzConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fuzzConn) SetWriteDeadline(time.Time) error { return nil }

// answers returns what was written, and whether the connection was closed.
func (c *fuzzConn) answers() (out []byte, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out, c.closed
}
