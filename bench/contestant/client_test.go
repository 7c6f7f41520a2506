package contestant_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wschannels/wschannels/bench/contestant"
)

// A client speaks to one server, in the server's dialect, and fails the test on
// anything that a server must not do.
type client struct {
	t       *testing.T
	conn    *net.TCPConn
	in      *bufio.Reader
	dialect contestant.Dialect
	group   string
	replies [][]byte // of a frame of centrifuge that held several
	rsv1    bool     // of the last message
	closed  int      // the code of the server's close frame; 0 if there was none
}

const noCode = 1005 // of a close frame without one

// join connects and returns when the client is a member.
func join(t *testing.T, s *server, group string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn.(*net.TCPConn), in: bufio.NewReader(conn), dialect: s.Dialect, group: group}
	fmt.Fprintf(conn, "GET /any?group=%s HTTP/1.1\r\nHost: bench\r\nOrigin: http://bench\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n\r\n", group)
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // RFC 6455 section 1.3
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != accept {
		t.Fatalf("the upgrade was answered with %s, %v", res.Status, res.Header)
	}
	answer := res.Header.Get("Sec-WebSocket-Extensions")
	if s.Compress != strings.Contains(answer, "server_no_context_takeover") {
		t.Fatalf("extensions %q, and Compress is %t", answer, s.Compress)
	}
	if c.dialect == contestant.Centrifuge {
		c.say(`{"id":1,"connect":{}}`)
		c.say(`{"id":2,"subscribe":{"channel":"` + group + `"}}`)
	}
	c.expect("ready")
	return c
}

// leave leaves the group, without waiting for the answer.
func (c *client) leave() {
	if c.dialect == contestant.Centrifuge {
		c.say(`{"id":3,"unsubscribe":{"channel":"` + c.group + `"}}`)
	} else {
		c.say("leave")
	}
}

func (c *client) say(text string) { c.send(0x1, []byte(text)) }

// send sends a masked frame.
func (c *client) send(op byte, payload []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(masked(op, payload)); err != nil {
		c.t.Fatal(err)
	}
}

func masked(op byte, payload []byte) []byte {
	key := []byte{1, 2, 3, 4}
	frame := append([]byte{0x80 | op, 0x80 | byte(len(payload))}, key...)
	for i, b := range payload {
		frame = append(frame, b^key[i%4])
	}
	return frame
}

// expect receives a message that has to be want.
func (c *client) expect(want string) {
	c.t.Helper()
	got, ok := c.receive()
	if !ok {
		c.t.Fatalf("closed with %d instead of %.60q", c.closed, want)
	}
	if got != want {
		c.t.Fatalf("got %.60q, %d bytes, instead of %.60q", got, len(got), want)
	}
}

// receive returns the next message: "ready", "left" or a broadcast. It is false at the
// end.
func (c *client) receive() (string, bool) {
	c.t.Helper()
	for {
		if len(c.replies) == 0 {
			p, ok := c.message()
			if !ok {
				return "", false
			}
			if c.dialect == contestant.Plain {
				return string(p), true
			}
			c.replies = bytes.Split(p, []byte("\n"))
		}
		p := c.replies[0]
		c.replies = c.replies[1:]
		if text := c.reply(p); text != "" {
			return text, true
		}
	}
}

// reply returns what a reply or push of centrifuge means, "" for nothing.
func (c *client) reply(p []byte) string {
	c.t.Helper()
	var r struct {
		ID    int
		Error json.RawMessage
		Push  struct {
			Channel string
			Pub     struct{ Data json.RawMessage }
		}
	}
	if err := json.Unmarshal(p, &r); err != nil || r.Error != nil {
		c.t.Fatalf("reply %q: %v", p, err)
	}
	switch {
	case r.ID == 2:
		return "ready"
	case r.ID == 3:
		return "left"
	case string(p) == "{}":
		c.say("{}") // a ping, and the pong
	case r.Push.Pub.Data != nil && r.Push.Channel != c.group:
		c.t.Fatalf("a member of %s got %q", c.group, p)
	}
	return string(r.Push.Pub.Data)
}

// message returns the next message, inflated. It is false at the end.
func (c *client) message() (p []byte, ok bool) {
	c.t.Helper()
	for {
		first, part, ok := c.frame()
		if !ok {
			return nil, false
		}
		switch op := first & 0x0f; op {
		case 0x8:
			c.closed = noCode
			if len(part) >= 2 {
				c.closed = int(binary.BigEndian.Uint16(part))
			}
			return nil, false
		case 0x9:
			c.send(0xa, part)
			continue
		case 0xa:
			continue
		case 0x1:
			c.rsv1 = first&0x40 != 0
			p = part
		case 0x0:
			p = append(p, part...)
		default:
			c.t.Fatalf("a frame begins with %#x", first)
		}
		if first&0x80 == 0 {
			continue
		}
		if !c.rsv1 {
			return p, true
		}
		tail := strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")
		p, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(p), tail)))
		if err != nil {
			c.t.Fatal("inflating: ", err)
		}
		return p, true
	}
}

// frame returns the next frame. It is false where the connection ends.
func (c *client) frame() (first byte, payload []byte, ok bool) {
	c.t.Helper()
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:2]); err != nil {
		return 0, nil, false
	}
	first, n := head[0], uint64(head[1])
	switch {
	case n > 127:
		c.t.Fatal("a server's frame has a mask")
	case n == 126:
		io.ReadFull(c.in, head[:2])
		n = uint64(binary.BigEndian.Uint16(head[:]))
	case n == 127:
		io.ReadFull(c.in, head[:])
		n = binary.BigEndian.Uint64(head[:])
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(c.in, payload); err != nil {
		return 0, nil, false
	}
	return first, payload, true
}

// close does the close handshake, in which no message may come any more.
func (c *client) close() {
	c.t.Helper()
	c.send(0x8, []byte{0x03, 0xe8})
	if p, ok := c.receive(); ok {
		c.t.Fatalf("got %.60q instead of the end", p)
	}
	if c.closed != 1000 {
		c.t.Fatalf("the close frame was answered with %d", c.closed)
	}
	if _, err := c.in.ReadByte(); err == nil {
		c.t.Fatal("something came after the close frame")
	}
}
