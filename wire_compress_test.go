package wschannels_test

import (
	"bytes"
	"compress/flate"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

// wireBomb is n MiB of zeros, compressed.
func wireBomb(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	w.Write(zeros)
	w.Flush()
	first := b.Len()
	w.Write(zeros)
	w.Flush()
	next := slices.Clone(b.Bytes()[first:]) // one more MiB after any number of them
	for range n - 2 {
		b.Write(next)
	}
	return b.Bytes()
}

func wireCompressedBox(t *testing.T, mode websocket.CompressionMode, log *wireLog) *ChannelBox {
	return wireBox(t, &Options{
		Channel: ChannelOptions{PayloadType: Text},
		Accept:  websocket.AcceptOptions{CompressionMode: mode},
		Events:  log.events(),
	})
}

func TestCompressedMessagesAreLimitedByWhatTheyInflateTo(t *testing.T) {
	const limit = 64 << 10
	for _, tt := range []struct {
		size int
		code websocket.StatusCode
	}{{limit, 1000}, {limit + 1, 1009}} {
		log := newWireLog()
		box := wireCompressedBox(t, websocket.CompressionNoContextTakeover, log)
		p := wireDial(t, wireServe(t, box, box), wireOfferDeflate)
		p.send(t, wireFrame(0xC1, wireDeflate(t, make([]byte, tt.size))), wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
		p.wantClose(t, tt.code)
		p.Close()
		if end := log.end(t); end.Code != tt.code {
			t.Errorf("%d bytes: the end is %v, want %d", tt.size, end, tt.code)
		}
	}
}

func TestCompressedAndPlainMessagesMix(t *testing.T) {
	text := strings.Repeat("hello ", 20)
	packed := wireDeflate(t, []byte(text))
	plain, compressed := wireString("plain"), wireFrame(0xC1, packed)
	fragments := slices.Concat(wireFrame(0x41, packed[:3]), wireFrame(wireFin|wirePing, nil), wireFrame(wireFin|wireCont, packed[3:]))
	log := newWireLog()
	box := wireCompressedBox(t, websocket.CompressionNoContextTakeover, log)
	p := wireDial(t, wireServe(t, box, box), wireOfferDeflate)
	p.send(t, plain, compressed, plain, plain, compressed, compressed, fragments, plain,
		wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
	p.wantClose(t, 1000)
	log.end(t)
	log.want(t, []string{"plain", text, "plain", "plain", text, text, text, "plain"}, 0)
}

// With context takeover, a message refers to those before it.
func TestCompressionWithContextTakeover(t *testing.T) {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	var sent [][]byte
	var want []string
	for i := range 40 {
		text := strings.Repeat(string(rune('a'+i%26)), 1+i*97) + "the same in every message"
		b.Reset()
		w.Write([]byte(text))
		w.Flush()
		sent = append(sent, wireFrame(0xC1, bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))))
		want = append(want, text)
	}
	log := newWireLog()
	box := wireCompressedBox(t, websocket.CompressionContextTakeover, log)
	p := wireDial(t, wireServe(t, box, box), "Sec-WebSocket-Extensions: permessage-deflate")
	p.send(t, sent...)
	p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
	p.wantClose(t, 1000)
	log.end(t)
	log.want(t, want, 0)
}

func TestBadCompressedDataClosesAndIsNotDelivered(t *testing.T) {
	for _, data := range [][]byte{{0xFF, 0xFF, 0xFF, 0xFF}, {0x00, 0x05, 0x00, 0x00, 0x00}} {
		log := newWireLog()
		box := wireCompressedBox(t, websocket.CompressionNoContextTakeover, log)
		p := wireDial(t, wireServe(t, box, box), wireOfferDeflate)
		p.send(t, wireFrame(0xC1, data))
		body, _ := p.untilClose(t)
		if code := wireCode(body); code != 1002 && code != 1007 {
			t.Errorf("close code %d, want 1002 or 1007", code)
		}
		p.Close()
		if end := log.end(t); end.Remote {
			t.Errorf("the end is %v, by the peer; want it to be ours", end)
		}
		log.want(t, nil, 1)
	}
}

// A client of the library that speaks permessage-deflate, both ways.
func TestACompressingClientIsUnderstood(t *testing.T) {
	for _, mode := range []websocket.CompressionMode{websocket.CompressionContextTakeover, websocket.CompressionNoContextTakeover} {
		box := wireBox(t, &Options{
			Channel: ChannelOptions{PayloadType: Text},
			Accept:  websocket.AcceptOptions{CompressionMode: mode, CompressionThreshold: 1},
			Events: Events{OnMessage: func(ctx context.Context, c *Channel, m Message) error {
				return c.Send(ctx, m)
			}},
		})
		srv := wireServe(t, box, box)
		c, _, err := websocket.Dial(t.Context(), srv.URL, &websocket.DialOptions{CompressionMode: mode, CompressionThreshold: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		for i := range 50 {
			text := strings.Repeat("compress me ", i*20)
			if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(t.Context()); err != nil || string(got) != text {
				t.Fatalf("message %d came back as %.40q, %v", i, got, err)
			}
		}
	}
}
