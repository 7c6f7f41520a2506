package wschannels_test

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

const wireDeflates = 0x40 // in the first byte of a frame: RSV1

// text returns the next message, and whether and as what it was compressed.
func (p *wirePeer) text(t *testing.T) (text string, packed []byte) {
	t.Helper()
	first, payload, err := p.frame()
	if err != nil || first&0xF > wireBinary {
		t.Fatalf("frame %x, %v; want a message", first, err)
	}
	if first&wireDeflates == 0 {
		return string(payload), nil
	}
	// A last block that ends the stream follows what the sender left out.
	r := flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")))
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("% x does not inflate: %v", payload, err)
	}
	return string(b), payload
}

// wireRooms is a server whose channels join the group g; the path says what they are.
func wireRooms(t *testing.T, opts *Options) (*ChannelBox, func(path string, headers ...string) *wirePeer) {
	opts.Accept.CompressionMode = websocket.CompressionNoContextTakeover
	box := wireBox(t, opts)
	kinds := map[string]ChannelOptions{
		"json": {}, "text": {PayloadType: Text}, "bytes": {PayloadType: Bytes},
		"json-envelope": {Envelope: true}, "text-envelope": {PayloadType: Text, Envelope: true},
	}
	mux := http.NewServeMux()
	for name, o := range kinds {
		o.QueueBytes = opts.Channel.QueueBytes
		mux.Handle("/"+name, box.HandlerWith(&o, func(ctx context.Context, c *Channel) error {
			if err := c.SetUser("u"); err != nil {
				return err
			}
			if _, err := box.Join(ctx, c, "g", &JoinOptions{ReplayLast: 100}); err != nil {
				return err
			}
			_, err := c.Receive(ctx)
			return err
		}))
	}
	srv := wireServe(t, mux, box)
	return box, func(path string, headers ...string) *wirePeer {
		t.Helper()
		n := len(box.Members("g"))
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		p := wireUpgrade(t, conn)
		p.send(t, bytes.Replace(wireRequest(headers...), []byte("/chat"), []byte("/"+path), 1))
		p.upgraded(t)
		for len(box.Members("g")) == n {
			runtime.Gosched()
		}
		return p
	}
}

func wireLong(i int) string {
	return fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("long enough, ", 60))
}

func TestAGroupMessageIsCompressedForThoseWhoAgreedToIt(t *testing.T) {
	box, join := wireRooms(t, &Options{})
	a, b := join("json", wireOfferDeflate), join("json", wireOfferDeflate)
	takeover := join("json", "Sec-WebSocket-Extensions: permessage-deflate")
	plain := join("json")
	for i := range 20 {
		want := wireLong(i)
		if res, err := box.GroupSend(t.Context(), "g", json.RawMessage(want), nil); err != nil || res.Queued != 4 {
			t.Fatal(res, err)
		}
		first, packed := a.text(t)
		if first != want || packed == nil || len(packed) > len(want)/2 {
			t.Fatalf("message %d: %.60q as %d bytes of %d", i, first, len(packed), len(want))
		}
		for _, p := range []*wirePeer{b, takeover} { // each without the context of those before
			if got, again := p.text(t); got != want || !bytes.Equal(packed, again) {
				t.Fatalf("message %d: another member got %.60q, compressed in another way", i, got)
			}
		}
		if got, packed := plain.text(t); got != want || packed != nil {
			t.Fatalf("message %d, not compressed: %.60q, % x", i, got, packed)
		}
	}
}

func TestEveryShapeIsCompressed(t *testing.T) {
	box, join := wireRooms(t, &Options{})
	for _, kind := range []string{"json", "text", "bytes", "json-envelope", "text-envelope"} {
		compressed, plain := join(kind, wireOfferDeflate), join(kind)
		for i, send := range []func(payload string) error{
			func(s string) error { _, err := box.GroupSend(t.Context(), "g", json.RawMessage(s), nil); return err },
			func(s string) error { _, err := box.SendToUser(t.Context(), "u", json.RawMessage(s)); return err },
		} {
			if err := send(wireLong(i)); err != nil {
				t.Fatal(err)
			}
			want, packed := plain.text(t)
			if packed != nil {
				t.Fatalf("%s: compressed without being asked for", kind)
			}
			got, packed := compressed.text(t)
			if packed == nil || got != want {
				t.Errorf("%s, send %d: %.200q in %d bytes, want %.200q", kind, i, got, len(packed), want)
			}
		}
		for _, p := range []*wirePeer{compressed, plain} {
			p.send(t, wireFrame(wireFin|wireClose, nil))
			p.untilClose(t)
		}
		for len(box.Members("g")) > 0 {
			runtime.Gosched()
		}
	}
}

func TestReplayAndDirectSendsAreCompressed(t *testing.T) {
	box, join := wireRooms(t, &Options{})
	for i := range 3 {
		if _, err := box.GroupSend(t.Context(), "g", json.RawMessage(wireLong(i)), &SendOptions{SaveHistory: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"json", "json-envelope"} {
		p := join(kind, wireOfferDeflate)
		for i := range 3 {
			if got, packed := p.text(t); packed == nil || !strings.Contains(got, wireLong(i)) {
				t.Errorf("%s: replayed %d: %.80q, compressed % x", kind, i, got, packed)
			}
		}
		for _, c := range box.Members("g") {
			if err := c.Send(t.Context(), json.RawMessage(wireLong(9))); err != nil {
				t.Fatal(err)
			}
		}
		if got, packed := p.text(t); packed == nil || !strings.Contains(got, wireLong(9)) {
			t.Errorf("%s: %.80q, compressed % x", kind, got, packed)
		}
		p.Close()
		for len(box.Members("g")) > 0 {
			runtime.Gosched()
		}
	}
}

func TestWhatIsShortOrRandomIsNotCompressed(t *testing.T) {
	random := make([]byte, 5000)
	_, _ = rand.Read(random)
	for _, tt := range []struct {
		threshold  int
		payload    string
		compressed bool
	}{
		{0, strings.Repeat("a", 511), false},
		{0, strings.Repeat("a", 512), true},
		{100, strings.Repeat("a", 99), false},
		{100, strings.Repeat("a", 100), true},
		{-1, strings.Repeat("a", 511), false},
		{0, string(random), false},
	} {
		opts := &Options{Accept: websocket.AcceptOptions{CompressionThreshold: tt.threshold}}
		box, join := wireRooms(t, opts)
		p := join("bytes", wireOfferDeflate)
		if _, err := box.GroupSend(t.Context(), "g", []byte(tt.payload), nil); err != nil {
			t.Fatal(err)
		}
		if err := box.Members("g")[0].Send(t.Context(), []byte(tt.payload)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, packed := p.text(t); got != tt.payload || (packed != nil) != tt.compressed {
				t.Errorf("threshold %d, %d bytes: got %d, compressed %v", tt.threshold, len(tt.payload), len(got), packed != nil)
			}
		}
	}
}

// What waits and what was sent is counted as what it holds, however it travels: limits
// mean the same for every peer.
func TestLimitsCountWhatIsCompressedAsIfItWereNot(t *testing.T) {
	box, join := wireRooms(t, &Options{Channel: ChannelOptions{QueueBytes: 5000}})
	p := join("text", wireOfferDeflate)
	c := box.Members("g")[0]
	if err := c.SendText(t.Context(), strings.Repeat("a", 5001)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("5,001 bytes that compress well: %v, want ErrTooLarge", err)
	}
	if err := c.SendText(t.Context(), strings.Repeat("a", 5000)); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, packed := p.text(t); len(got) != 5000 || packed == nil {
		t.Errorf("%d bytes, compressed %v", len(got), packed != nil)
	}
	if s := box.Stats(); s.BytesSent != 5000 || s.Sent != 1 {
		t.Errorf("%d bytes sent in %d messages, want 5,000 in 1", s.BytesSent, s.Sent)
	}
}

// A message of another box is compressed, too.
func TestMessagesOfOtherNodesAreCompressed(t *testing.T) {
	broker, err := NewMemoryBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, join := wireRooms(t, &Options{Broker: broker})
	there := wireBox(t, &Options{Broker: broker})
	defer wireShutdown(t, there)
	p := join("json", wireOfferDeflate)
	if _, err := there.GroupSend(t.Context(), "g", json.RawMessage(wireLong(1)), nil); err != nil {
		t.Fatal(err)
	}
	if got, packed := p.text(t); got != wireLong(1) || packed == nil {
		t.Errorf("%.80q, compressed % x", got, packed)
	}
}
