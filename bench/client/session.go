package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/wire"
)

// A target is how to connect.
type target struct {
	addr     string
	dialect  contestant.Dialect
	compress bool
	timeout  time.Duration // for each thing that a session does
}

// A session is one connection, used by one goroutine that waits for every answer.
type session struct {
	target
	tcp   *net.TCPConn
	scan  wire.Scanner
	take  func(wire.Message) error
	in    inflater
	buf   []byte
	queue []string // messages that nobody has asked for yet
}

// A closeFrame is the error when there was one.
type closeFrame struct{ code int }

func (c closeFrame) Error() string { return fmt.Sprintf("closed with %d", c.code) }

// open connects and does the WebSocket handshake.
func (t target) open(d *net.Dialer, group string) (*session, error) {
	tcp, err := d.Dial("tcp", t.addr)
	if err != nil {
		return nil, err
	}
	s := &session{target: t, tcp: tcp.(*net.TCPConn), buf: make([]byte, 4096)}
	s.take = s.message
	if err := s.handshake(group); err != nil {
		s.abort()
		return nil, err
	}
	return s, nil
}

// request is what a browser sends, more or less.
const request = "GET /ws?group=%s HTTP/1.1\r\nHost: %s\r\n" +
	"Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/136.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\nOrigin: http://%s\r\nSec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7\r\n" +
	"Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=necessary\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"

const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n"

func (s *session) handshake(group string) error {
	s.hurry()
	extensions := ""
	if s.compress {
		extensions = offer
	}
	if _, err := fmt.Fprintf(s.tcp, request, group, s.addr, s.addr, extensions); err != nil {
		return err
	}
	n, end := 0, -1
	for end < 0 {
		more, err := s.tcp.Read(s.buf[n:])
		if err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
		n += more
		end = bytes.Index(s.buf[:n], []byte("\r\n\r\n"))
	}
	answer := string(s.buf[:end])
	if !strings.HasPrefix(answer, "HTTP/1.1 101 ") {
		return fmt.Errorf("handshake: the answer is %.60q", answer)
	}
	if s.compress != strings.Contains(answer, "permessage-deflate") {
		return errors.New("handshake: not what was offered of permessage-deflate")
	}
	if s.compress && !strings.Contains(answer, "server_no_context_takeover") {
		return errors.New("handshake: the server takes its context over")
	}
	return s.scan.Scan(s.buf[end+4:n], s.take)
}

// hurry gives what follows until the timeout.
func (s *session) hurry() { _ = s.tcp.SetDeadline(time.Now().Add(s.timeout)) }

// join makes the session a member of the group that it was opened with.
func (s *session) join(group string) error {
	s.hurry()
	if s.dialect == contestant.Plain {
		return s.await("ready")
	}
	if err := s.command(`{"id":1,"connect":{}}`, `{"id":1,`); err != nil {
		return err
	}
	return s.command(`{"id":2,"subscribe":{"channel":"`+group+`"}}`, `{"id":2,`)
}

// leave ends the membership.
func (s *session) leave(group string) error {
	s.hurry()
	if s.dialect == contestant.Plain {
		return s.command("leave", "left")
	}
	return s.command(`{"id":3,"unsubscribe":{"channel":"`+group+`"}}`, `{"id":3,`)
}

func (s *session) command(text, answer string) error {
	if err := s.send(wire.OpText, []byte(text)); err != nil {
		return err
	}
	return s.await(answer)
}

func (s *session) send(op byte, payload []byte) error {
	_, err := s.tcp.Write(wire.AppendMasked(nil, op, payload))
	return err
}

// await reads up to the message that begins with prefix.
func (s *session) await(prefix string) error {
	for {
		for i, m := range s.queue {
			if strings.HasPrefix(m, prefix) {
				s.queue = s.queue[i+1:]
				if strings.Contains(m, `"error"`) {
					return fmt.Errorf("the answer is %.100s", m)
				}
				return nil
			}
		}
		s.queue = s.queue[:0]
		if err := s.read(); err != nil {
			return fmt.Errorf("waiting for %q: %w", prefix, err)
		}
	}
}

// read reads once and queues what that completes.
func (s *session) read() error {
	n, err := s.tcp.Read(s.buf)
	if err != nil {
		return err
	}
	return s.scan.Scan(s.buf[:n], s.take)
}

func (s *session) message(m wire.Message) error {
	switch m.Op {
	case wire.OpClose:
		code := 1005 // none
		if len(m.Payload) >= 2 {
			code = int(binary.BigEndian.Uint16(m.Payload))
		}
		return closeFrame{code}
	case wire.OpPing:
		return s.send(wire.OpPong, m.Payload)
	case wire.OpPong:
		return nil
	}
	payload := m.Payload
	if m.Compressed {
		var err error
		if payload, err = s.in.inflate(payload); err != nil {
			return err
		}
	}
	s.queue = append(s.queue, strings.Split(string(payload), "\n")...)
	return nil
}

// close does the closing handshake. The server closes the connection first, and the
// client resets what is left of it, so that neither keeps a port in TIME_WAIT.
func (s *session) close() error {
	defer s.abort()
	s.hurry()
	if err := s.send(wire.OpClose, []byte{1000 >> 8, 1000 & 0xff}); err != nil {
		return err
	}
	err := s.untilEnd()
	if frame := (closeFrame{}); !errors.As(err, &frame) {
		return fmt.Errorf("waiting for the close frame: %w", err)
	}
	if _, err := s.tcp.Read(s.buf); err != io.EOF {
		return fmt.Errorf("waiting for the end: %v", err)
	}
	return nil
}

// untilEnd reads until there is a close frame or another error.
func (s *session) untilEnd() error {
	for {
		if err := s.read(); err != nil {
			return err
		}
		s.queue = s.queue[:0]
	}
}

// abort ends the connection at once.
func (s *session) abort() {
	_ = s.tcp.SetLinger(0)
	_ = s.tcp.Close()
}
