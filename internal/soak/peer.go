package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Opcodes of RFC 6455 section 5.2.
const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA

	bitFin  = 0x80
	bitRSV1 = 0x40
	bitMask = 0x80
)

// A peer is the client's end of a connection: RFC 6455 by hand, at a few kilobytes each.
type peer struct {
	tcp        *net.TCPConn
	buf        []byte
	start, end int  // buf[start:end] is yet to be parsed
	deflate    bool // agreed on
}

// A frame is one whole message, or a control frame. The server does not fragment.
type frame struct {
	op      byte
	payload []byte // until the next call
}

var errFrame = errors.New("not what a server may send")

const handshake = "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"

// dial connects and does the handshake.
func dial(addr, target string, deflate bool) (*peer, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	p := &peer{tcp: conn.(*net.TCPConn), buf: make([]byte, 1024), deflate: deflate}
	_ = p.tcp.SetReadBuffer(kernelBuffer)
	if err := p.handshake(addr, target); err != nil {
		p.reset()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return p, nil
}

func (p *peer) handshake(addr, target string) error {
	extension := ""
	if p.deflate {
		extension = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n"
	}
	_ = p.tcp.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(p.tcp, handshake, target, addr, extension); err != nil {
		return err
	}
	for {
		head, _, whole := bytes.Cut(p.buf[:p.end], []byte("\r\n\r\n"))
		if whole {
			p.start = len(head) + 4
			if text := string(head); !strings.HasPrefix(text, "HTTP/1.1 101 ") || !strings.Contains(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") ||
				p.deflate != strings.Contains(text, "permessage-deflate") {
				return fmt.Errorf("the answer is %q", text)
			}
			return nil
		}
		if err := p.fill(); err != nil {
			return err
		}
	}
}

// fill reads once.
func (p *peer) fill() error {
	if p.start > 0 {
		p.end = copy(p.buf, p.buf[p.start:p.end])
		p.start = 0
	}
	if p.end == len(p.buf) {
		p.buf = append(p.buf, make([]byte, len(p.buf))...)
	}
	n, err := p.tcp.Read(p.buf[p.end:])
	p.end += n
	if n > 0 {
		return nil
	}
	return err
}

// next returns the next frame, waiting until the read deadline.
func (p *peer) next() (frame, error) {
	for {
		f, whole, err := p.parse()
		if whole || err != nil {
			return f, err
		}
		if err := p.fill(); err != nil {
			return f, err
		}
	}
}

// parse takes a frame from what was read.
func (p *peer) parse() (f frame, whole bool, err error) {
	b := p.buf[p.start:p.end]
	if len(b) < 2 {
		return f, false, nil
	}
	first, size, head := b[0], int(b[1]), 2
	f.op = first & 0xF
	switch f.op {
	case opText, opBinary:
	case opClose, opPing, opPong:
		if size > 125 || first&bitRSV1 != 0 {
			return f, false, errFrame
		}
	default:
		return f, false, errFrame
	}
	if first&bitFin == 0 || first&0x30 != 0 || first&bitRSV1 != 0 && !p.deflate || size&bitMask != 0 || size == 127 {
		return f, false, errFrame
	}
	if size == 126 {
		if len(b) < 4 {
			return f, false, nil
		}
		if size, head = int(binary.BigEndian.Uint16(b[2:])), 4; size < 126 {
			return f, false, errFrame
		}
	}
	if len(b) < head+size {
		return f, false, nil
	}
	f.payload = b[head : head+size]
	p.start += head + size
	if first&bitRSV1 != 0 {
		if f.payload, err = inflate(f.payload); err != nil {
			return f, false, err
		}
	}
	if f.op == opText && !utf8.Valid(f.payload) {
		return f, false, errFrame
	}
	return f, true, nil
}

// half reports whether a part of a frame was read.
func (p *peer) half() bool { return p.start < p.end }

// send sends frames in one write. That it fails need not mean anything: reading tells
// how the connection ended.
func (p *peer) send(frames ...[]byte) {
	_ = p.tcp.SetWriteDeadline(time.Now().Add(patience))
	_, _ = p.tcp.Write(bytes.Join(frames, nil))
}

// reset ends the connection at once. Where the server has closed its end, that also ends
// the wait for segments that are late, which takes up a port.
func (p *peer) reset() {
	_ = p.tcp.SetLinger(0)
	_ = p.tcp.Close()
}

// masked returns a frame as a client sends it.
func masked(first byte, payload []byte) []byte {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := []byte{first}
	if n := len(payload); n < 126 {
		b = append(b, bitMask|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, bitMask|126), uint16(n))
	}
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i&3])
	}
	return b
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// inflate undoes RFC 7692 section 7.2.1, without context takeover.
func inflate(p []byte) ([]byte, error) {
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	tail := strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")
	if err := r.(flate.Resetter).Reset(io.MultiReader(bytes.NewReader(p), tail), nil); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, 1<<20))
}

var deflaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(nil, flate.BestSpeed) // the level is valid
	return w
}}

// deflated returns a text message as a client that compresses sends it.
func deflated(payload []byte) []byte {
	var b bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&b)
	_, _ = w.Write(payload) // to memory
	_ = w.Flush()
	return masked(bitFin|bitRSV1|opText, bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff")))
}
