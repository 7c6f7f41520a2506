package wschannels_test

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

// wireDeflate is permessage-deflate (RFC 7692 section 7.2.1) without what the
// receiver knows.
func wireDeflate(t testing.TB, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}

const wireOfferDeflate = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover"

// Whatever a peer has sent of a message when it is gone, nothing of it is delivered.
func TestAMessageCutShortIsNotDelivered(t *testing.T) {
	long := wireFrame(wireFin|wireText, bytes.Repeat([]byte("x"), 200))
	frames := []struct {
		name  string
		frame []byte
		step  int
	}{
		{"text", wireString("hello"), 1},
		{"16-bit length", long, 13},
		{"64-bit length", wireFrame(wireFin|wireBinary, make([]byte, 70_000)), 9001},
		{"fragments", slices.Concat(wireFrame(wireText, []byte("he")), wireFrame(wireCont, nil), wireFrame(wireFin|wireCont, []byte("llo"))), 1},
		{"ping inside", slices.Concat(wireFrame(wireText, []byte("he")), wireFrame(wireFin|wirePing, []byte("p")), wireFrame(wireFin|wireCont, []byte("llo"))), 1},
		{"compressed", wireFrame(0xC1, wireDeflate(t, []byte("hello hello hello hello"))), 1},
		{"compressed fragments", slices.Concat(wireFrame(0x41, wireDeflate(t, []byte("hello hello hello"))), wireFrame(wireFin|wireCont, nil)), 1},
		{"close", wireFrame(wireFin|wireClose, wireCloseBody(1000, "bye")), 1},
	}
	log := newWireLog()
	box := wireBox(t, &Options{
		Channel: ChannelOptions{PayloadType: Text, ReadLimit: 100_000},
		Accept:  websocket.AcceptOptions{CompressionMode: websocket.CompressionNoContextTakeover},
		Events:  log.events(),
	})
	srv := wireServe(t, box, box)
	ends, resets := 0, 0
	for _, tt := range frames {
		for n := 0; n < len(tt.frame); n += tt.step {
			for _, reset := range []bool{false, true} {
				p := wireDial(t, srv, wireOfferDeflate)
				p.send(t, tt.frame[:n])
				if reset {
					resets++
					_ = p.Conn.(*net.TCPConn).SetLinger(0)
					p.Close()
				} else {
					_ = p.Conn.(*net.TCPConn).CloseWrite()
					p.untilEnd(t)
				}
				end := log.end(t)
				if end.Code != 1006 || !end.Remote {
					t.Errorf("%s: %d bytes, reset %v: the end is %v, want 1006 by the peer", tt.name, n, reset, end)
				}
				ends++
			}
		}
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if len(log.messages) > 0 || len(log.ends) != ends {
		t.Errorf("delivered %q, %d ends; want none, %d", log.messages, len(log.ends), ends)
	}
	for _, err := range log.errs {
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) { // a pong that failed
			t.Errorf("OnError: %v", err)
		}
	}
	if len(log.errs) > resets/2 {
		t.Errorf("OnError: %d errors: a connection that was lost is none", len(log.errs))
	}
}

// untilEnd expects the end of the connection, after pongs at most.
func (p *wirePeer) untilEnd(t *testing.T) {
	t.Helper()
	for {
		op, payload, err := p.next()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			t.Fatal("the connection was not closed")
		case err != nil:
			return
		case op != wirePong:
			t.Errorf("got a frame with opcode %d, %q; want nothing but the end", op, payload)
		}
	}
}

// Section 4 of what bites underneath: the library passes these two as whole messages.
func TestFINBehindAHeaderOrAFirstFragmentIsNoMessage(t *testing.T) {
	for _, sent := range [][]byte{
		wireOdd([]byte{0x81, 0x85}, nil),
		wireOdd([]byte{0x81, 0x85}, []byte("hel")),
		wireFrame(wireText, []byte("hello")),
		wireFrame(wireText, nil),
	} {
		log := newWireLog()
		box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}, Events: log.events()})
		p := wireDial(t, wireServe(t, box, box))
		p.send(t, sent)
		_ = p.Conn.(*net.TCPConn).CloseWrite()
		p.wantEOF(t)
		end := log.end(t)
		wireWantEnd(t, end, 1006, true)
		if !errors.Is(end, io.ErrUnexpectedEOF) {
			t.Errorf("%v does not match io.ErrUnexpectedEOF", end)
		}
		log.want(t, nil, 0)
	}
}

func TestALostConnectionIs1006AndAnEmptyCloseFrame1005(t *testing.T) {
	t.Run("FIN", func(t *testing.T) {
		log := newWireLog()
		box := wireBox(t, &Options{Events: log.events()})
		p := wireDial(t, wireServe(t, box, box))
		p.send(t, wireString(`"hello"`))
		p.Close()
		wireWantEnd(t, log.end(t), 1006, true)
		log.want(t, []string{`"hello"`}, 0)
	})
	t.Run("empty close", func(t *testing.T) {
		log := newWireLog()
		box := wireBox(t, &Options{Events: log.events()})
		p := wireDial(t, wireServe(t, box, box))
		p.send(t, wireFrame(wireFin|wireClose, nil))
		if body, _ := p.untilClose(t); len(body) != 0 {
			t.Errorf("an empty close frame was answered with %q, want an empty one", body)
		}
		p.wantEOF(t)
		wireWantEnd(t, log.end(t), 1005, true)
		log.want(t, nil, 0)
	})
	for name, tt := range map[string]struct {
		send []byte
		code websocket.StatusCode
	}{
		"FIN on a bare conn":         {nil, 1006},
		"empty close on a bare conn": {wireFrame(wireFin|wireClose, nil), 1005},
	} {
		t.Run(name, func(t *testing.T) {
			h, _, ends := wireBare(t, nil)
			p := wireDial(t, wireServe(t, h, nil))
			p.send(t, tt.send)
			_ = p.Conn.(*net.TCPConn).CloseWrite()
			wireWantEnd(t, <-ends, tt.code, true)
		})
	}
}

// What was queued for a peer that breaks the rules is still its own.
func TestWhatIsQueuedGoesOutBeforeTheCloseFrameOfABreach(t *testing.T) {
	box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}})
	h := box.Handler(func(ctx context.Context, c *Channel) error {
		for range 3 {
			if err := c.Send(ctx, "queued"); err != nil {
				return err
			}
		}
		_, err := c.Receive(ctx)
		return err
	})
	p := wireDial(t, wireServe(t, h, box))
	p.send(t, []byte{0x81, 0x00})
	body, data := p.untilClose(t)
	if want := []string{"queued", "queued", "queued"}; wireCode(body) != 1002 || !slices.Equal(data, want) {
		t.Errorf("got %q, then close %d; want %q, then 1002", data, wireCode(body), want)
	}
}
