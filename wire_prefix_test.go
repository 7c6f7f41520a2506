package wschannels_test

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

// wireWhole are messages and closes that a peer may send, to be cut short.
func wireWhole(t *testing.T) []wireCut {
	packed := wireDeflate(t, bytes.Repeat([]byte("hello "), 20))
	return []wireCut{
		{name: "text", frames: wireString("hello")},
		{name: "empty text", frames: wireString("")},
		{name: "binary", frames: wireFrame(wireFin|wireBinary, []byte{0, 1, 2, 3})},
		{name: "16-bit length", frames: wireFrame(wireFin|wireText, bytes.Repeat([]byte("x"), 130))},
		{name: "64-bit length", frames: wireFrame(wireFin|wireBinary, make([]byte, 70_000)), step: 23_003},
		{name: "fragments", frames: slices.Concat(wireFrame(wireText, []byte("he")), wireFrame(wireCont, nil), wireFrame(wireFin|wireCont, []byte("llo")))},
		{name: "a rune in fragments", frames: wirePieces("é🙂", nil)},
		{name: "pings inside", frames: wirePieces("hey", wireFrame(wireFin|wirePing, []byte("p"))), pings: true},
		{name: "compressed", frames: wireFrame(0xC1, packed)},
		{name: "compressed fragments", frames: slices.Concat(wireFrame(0x41, packed[:4]), wireFrame(wireCont, packed[4:]), wireFrame(wireFin|wireCont, nil))},
		{name: "close", frames: wireFrame(wireFin|wireClose, wireCloseBody(1000, "bye"))},
		{name: "empty close", frames: wireFrame(wireFin|wireClose, nil)},
		{name: "close inside a message", frames: slices.Concat(wireFrame(wireText, []byte("he")), wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))},
	}
}

type wireCut struct {
	name   string
	frames []byte
	pings  bool
	step   int // between two prefixes, where the payload is long. 0: every one
}

// prefixes are the lengths at which the frames are cut, never behind the last byte that
// makes them whole.
func (w wireCut) prefixes() (lengths []int) {
	for n := 0; n < len(w.frames); n++ {
		if w.step > 1 && n > 20 {
			n += w.step
		}
		lengths = append(lengths, min(n, len(w.frames)-1))
	}
	return lengths
}

// Whatever a peer has sent of a message when it is gone, nothing of it is delivered, and
// it is no breach: OnError is not called.
func TestEveryPrefixOfAMessageIsNotDelivered(t *testing.T) {
	for _, mode := range wireModes {
		for _, tt := range wireWhole(t) {
			t.Run(mode.name+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				log := newWireLog()
				box := wireMembers(t, &Options{
					Channel: ChannelOptions{PayloadType: Text, ReadLimit: 100_000},
					Accept:  websocket.AcceptOptions{CompressionMode: websocket.CompressionNoContextTakeover},
					Events:  log.events(),
				})
				srv := wireServe(t, mode.handler(box, log), box)
				ends := 0
				for _, n := range tt.prefixes() {
					for _, end := range []func(*wirePeer, *testing.T){(*wirePeer).fin, (*wirePeer).reset} {
						p := wireDial(t, srv, wireOfferDeflate)
						p.send(t, tt.frames[:n])
						end(p, t)
						if end := log.end(t); end.Code != 1006 || !end.Remote {
							t.Errorf("%d bytes: the end is %v, want 1006 by the peer", n, end)
						}
						ends++
					}
				}
				log.wantLost(t, ends, tt.pings)
				boxNothingLeft(t, box)
			})
		}
	}
}

// The same through TLS, where the end of the connection beneath is no close_notify.
func TestAPrefixOfAMessageOverTLSIsNotDelivered(t *testing.T) {
	frames := slices.Concat(wireFrame(wireText, []byte("he")), wireFrame(wireFin|wireCont, []byte("llo")))
	for n := range frames {
		log := newWireLog()
		box := wireMembers(t, &Options{Channel: ChannelOptions{PayloadType: Text}, Events: log.events()})
		p := wireDialingTLS(t, box, box)
		p.send(t, frames[:n])
		p.Conn.(interface{ NetConn() net.Conn }).NetConn().Close()
		wireWantEnd(t, log.end(t), 1006, true)
		log.want(t, nil, 0)
		boxNothingLeft(t, box)
	}
}

// fin sends the peer's FIN and waits for the server's.
func (p *wirePeer) fin(t *testing.T) {
	t.Helper()
	_ = p.Conn.(*net.TCPConn).CloseWrite()
	p.untilEnd(t)
}

// reset ends the connection with an RST.
func (p *wirePeer) reset(*testing.T) {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	p.Close()
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

// wantLost expects that n channels ended, each once, and delivered nothing. With pongs
// set, a connection may have been reset while one was written: that is an error, too.
func (l *wireLog) wantLost(t *testing.T, n int, pongs bool) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.messages) > 0 || len(l.ends) != n {
		t.Errorf("delivered %q, %d ends; want none, %d", l.messages, len(l.ends), n)
	}
	for _, err := range l.errs {
		if !pongs || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("OnError: %v", err)
		}
	}
	if len(l.errs) > n/2 {
		t.Errorf("OnError: %d errors of %d channels, of which half was not reset", len(l.errs), n)
	}
}
