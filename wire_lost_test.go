package wschannels_test

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"io"
	"net"
	"slices"
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
	queued := make(chan struct{})
	h := box.Handler(func(ctx context.Context, c *Channel) error {
		for range 3 {
			if err := c.Send(ctx, "queued"); err != nil {
				return err
			}
		}
		close(queued)
		_, err := c.Receive(ctx)
		return err
	})
	p := wireDial(t, wireServe(t, h, box))
	<-queued
	p.send(t, []byte{0x81, 0x00})
	body, data := p.untilClose(t)
	if want := []string{"queued", "queued", "queued"}; wireCode(body) != 1002 || !slices.Equal(data, want) {
		t.Errorf("got %q, then close %d; want %q, then 1002", data, wireCode(body), want)
	}
}
