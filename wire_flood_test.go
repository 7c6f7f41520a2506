package wschannels_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

// A wireRelay is a box whose channels are all in one group and pass to it what they
// receive, with two peers that behave, among others that do not.
type wireRelay struct {
	box  *ChannelBox
	log  *wireLog
	good [2]*wirePeer
	sent []string
}

// newWireRelay returns a relay, and how to dial it. In a bubble bubble is set.
func newWireRelay(t *testing.T, mode wireMode, opts ChannelOptions, bubble bool) (*wireRelay, func(headers ...string) *wirePeer) {
	t.Helper()
	r := &wireRelay{log: newWireLog()}
	opts.PayloadType = Text
	events := r.log.events()
	note := events.OnMessage
	events.OnMessage = func(ctx context.Context, c *Channel, m Message) error {
		_ = note(ctx, c, m)
		_, err := r.box.GroupSend(context.WithoutCancel(ctx), "g", m.Text(), nil)
		return err
	}
	r.box = wireMembers(t, &Options{
		Channel: opts, Events: events, Accept: websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover},
	})
	var h http.Handler = r.box
	if mode.name != wireModes[0].name {
		h = r.box.Handler(func(ctx context.Context, c *Channel) error {
			for m, err := range c.Messages(ctx) {
				if err != nil {
					return err
				}
				if err := events.OnMessage(ctx, c, m); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var dial func(headers ...string) *wirePeer
	if bubble {
		dial = func(headers ...string) *wirePeer {
			defer synctest.Wait() // until it is a member
			return wirePipe(t, h, headers...)
		}
	} else {
		srv := wireServe(t, h, r.box)
		dial = func(headers ...string) *wirePeer {
			before := len(r.box.Members("g"))
			defer boxEventually(t, "the peer is a member", func() bool { return len(r.box.Members("g")) > before })
			return wireDial(t, srv, headers...)
		}
	}
	for i := range r.good {
		r.good[i] = dial()
	}
	return r, dial
}

// exchange sends one message and expects it at both peers that behave.
func (r *wireRelay) exchange(t *testing.T, text string) {
	t.Helper()
	r.good[len(r.sent)%2].send(t, wireString(text))
	r.expect(t, text)
}

func (r *wireRelay) expect(t *testing.T, text string) {
	t.Helper()
	r.sent = append(r.sent, text)
	for i, p := range r.good {
		if op, got, err := p.next(); err != nil || op != wireText || string(got) != text {
			t.Fatalf("peer %d got opcode %d, %.40q, %v; want %.40q", i, op, got, err, text)
		}
	}
}

// Floods, each of which is to end with code. None is read by the peer before it is sent.
func wireFloods(t *testing.T) []wireFlood {
	bomb := wireBomb(t, 100)
	if len(bomb) > 2<<16 {
		t.Fatalf("the bomb has %d bytes: it would be refused for these", len(bomb))
	}
	var pieces []byte
	for chunk := range slices.Chunk(bomb, 1000) {
		pieces = append(pieces, wireFrame(wireCont, chunk)...)
	}
	const takeover = "Sec-WebSocket-Extensions: permessage-deflate"
	million := func(frame []byte) ([]byte, int) { return bytes.Repeat(frame, 1000), 1000 }
	empty, _ := million(wireFrame(wireCont, nil))
	single, _ := million(wireFrame(wireCont, []byte("x")))
	pings, _ := million(wireFrame(wireFin|wirePing, nil))
	pongs, _ := million(wireFrame(wireFin|wirePong, nil))
	full, _ := million(wireFrame(wireFin|wirePing, make([]byte, 125)))
	return []wireFlood{
		{name: "1,000,000 empty fragments", first: wireFrame(wireText, []byte("a")), again: empty, times: 1000, code: 1008},
		{name: "1,000,000 empty fragments of a compressed message", headers: takeover, first: wireFrame(0x41, nil), again: empty, times: 1000, code: 1008},
		{name: "1,000,000 fragments of a byte", first: wireFrame(wireText, nil), again: single, times: 1000, code: 1009},
		{name: "1,000,000 pings", again: pings, times: 1000, code: 1008},
		{name: "100,000 pings of 125 bytes", again: full, times: 100, code: 1008},
		{name: "1,000,000 pongs", again: pongs, times: 1000, code: 1008},
		{name: "1,000,000 pings inside a message", first: wireFrame(wireText, []byte("a")), again: pings, times: 1000, code: 1008},
		{name: "32 MiB in one frame", first: wireOdd([]byte{0x82, 0xFF, 0, 0, 0, 0, 2, 0, 0, 0}, nil), again: make([]byte, 1<<20), times: 32, code: 1009},
		{name: "32 MiB after a breach", first: []byte{0x81, 0x00}, again: bytes.Repeat([]byte{0x81, 0x00}, 1<<19), times: 32, code: 1002},
		{name: "a bomb", headers: wireOfferDeflate, again: wireFrame(0xC2, bomb), times: 1, code: 1009},
		{name: "a bomb of text", headers: wireOfferDeflate, again: wireFrame(0xC1, bomb), times: 1, code: 1009},
		{name: "a bomb in fragments", headers: wireOfferDeflate, first: wireFrame(0x42, nil), again: append(pieces, wireFrame(wireFin|wireCont, nil)...), times: 1, code: 1009},
		{name: "a bomb with context takeover", headers: takeover, first: wireFrame(0xC1, wireDeflate(t, []byte("legal"))), legal: "legal", again: wireFrame(0xC2, bomb), times: 1, code: 1009},
		{name: "a bomb in fragments with context takeover", headers: takeover, first: slices.Concat(wireFrame(0xC1, wireDeflate(t, []byte("legal"))), wireFrame(0x42, nil)),
			legal: "legal", again: append(pieces, wireFrame(wireFin|wireCont, nil)...), times: 1, code: 1009},
		{name: "bombs without compression", again: wireFrame(0xC2, bomb), times: 100, code: 1002},
	}
}

type wireFlood struct {
	name, headers string
	first         []byte
	legal         string // what first delivers, if anything
	again         []byte // that many times
	times         int
	code          websocket.StatusCode
}

// No t.Parallel: what is allocated is what this test makes.
func TestAFloodEndsWithItsCodeAndCostsNoMemoryAndNobodyElseTime(t *testing.T) {
	for i, tt := range wireFloods(t) {
		mode := wireModes[i%2]
		t.Run(tt.name+", "+mode.name, func(t *testing.T) {
			r, dial := newWireRelay(t, mode, ChannelOptions{CloseTimeout: boxPatience}, false)
			r.exchange(t, "before")
			var headers []string
			if tt.headers != "" {
				headers = append(headers, tt.headers)
			}
			p := dial(headers...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var writer sync.WaitGroup
			writer.Go(func() {
				_, err := p.Write(tt.first)
				for i := 0; i < tt.times && err == nil; i++ {
					_, err = p.Write(tt.again)
				}
			})
			if tt.legal != "" {
				r.expect(t, tt.legal)
			}
			for i := range 50 {
				r.exchange(t, fmt.Sprint("during ", i))
			}
			writer.Wait()
			wireUntilCloseOf(t, p, tt.code)
			p.wantEOF(t)
			p.Close()
			wireWantEnd(t, r.log.end(t), tt.code, false)
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
				t.Errorf("%d KiB were allocated", n>>10)
			}
			r.exchange(t, "after")
			r.log.want(t, r.sent, 1)
		})
	}
}

// wireUntilCloseOf is wantClose for a peer to which messages may come compressed.
func wireUntilCloseOf(t *testing.T, p *wirePeer, code websocket.StatusCode) {
	t.Helper()
	for {
		first, payload, err := p.frame()
		if err != nil {
			t.Fatalf("waiting for a close frame: %v", err)
		}
		if first == wireFin|wireClose {
			if got := wireCode(payload); got != code {
				t.Errorf("close frame: code %d (%q), want %d", got, payload, code)
			}
			return
		}
	}
}

// A peer that floods and reads nothing is gone all the same, and with it its memory.
func TestAPingFloodCostsNoMemory(t *testing.T) {
	r, dial := newWireRelay(t, wireModes[0], ChannelOptions{CloseTimeout: 200 * time.Millisecond}, false)
	p := dial()
	flood := bytes.Repeat(wireFrame(wireFin|wirePing, make([]byte, 125)), 1000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var writer sync.WaitGroup
	writer.Go(func() {
		for err := error(nil); err == nil; {
			_, err = p.Write(flood) // until the server has had enough; nothing is read
		}
	})
	for i := range 50 {
		r.exchange(t, fmt.Sprint("during ", i))
	}
	writer.Wait()
	wireWantEnd(t, r.log.end(t), 1008, false)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d MiB were allocated", n>>20)
	}
	r.log.want(t, r.sent, 1)
}

// A member that reads nothing is closed once its queue is full, and those that read get
// every message. Over TCP, where the kernel takes megabytes first.
func TestAMemberThatNeverReadsIsClosedAndDelaysNobody(t *testing.T) {
	for _, mode := range wireModes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			r, dial := newWireRelay(t, mode, ChannelOptions{CloseTimeout: 200 * time.Millisecond, WriteTimeout: boxPatience}, false)
			p := dial()
			text := strings.Repeat("x", 60_000)
			for i := 0; len(r.box.Members("g")) > 2; i++ {
				if i > 5000 {
					t.Fatal("300 MB were sent to a peer that never reads, and it is a member still")
				}
				r.exchange(t, fmt.Sprint(i, text))
			}
			r.exchange(t, "after")
			wireWantEnd(t, r.log.end(t), StatusSlowConsumer, false)
			p.Close()
			r.log.want(t, r.sent, 0)
		})
	}
}

// One byte a second, for as long as it is let: whoever else there is waits for nothing,
// not even for the bubble's time to pass.
func TestOneByteASecondDelaysNobody(t *testing.T) {
	for _, mode := range wireModes {
		t.Run(mode.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, dial := newWireRelay(t, mode, ChannelOptions{ReadTimeout: 10 * time.Second, CloseTimeout: 2 * time.Second}, true)
				p := dial()
				p.frames()
				var drip sync.WaitGroup
				drip.Go(func() {
					_, err := p.Write([]byte{0x81, 0xFE, 0x03, 0xE8})
					for err == nil {
						time.Sleep(time.Second)
						_, err = p.Write([]byte{'x'})
					}
				})
				start := time.Now()
				for i := 0; len(r.box.Members("g")) > 2; i++ {
					sent := time.Now()
					r.exchange(t, fmt.Sprint("during ", i))
					if d := time.Since(sent); d != 0 {
						t.Errorf("a message took %v, want no time", d)
					}
					time.Sleep(500 * time.Millisecond)
				}
				wireWantEnd(t, r.log.end(t), 1008, false)
				if d := time.Since(start); d > 13*time.Second {
					t.Errorf("the peer was gone after %v, want ReadTimeout and CloseTimeout, 12 s", d)
				}
				drip.Wait()
				r.log.want(t, r.sent, 1)
				for _, g := range r.good {
					g.Close()
				}
				wireShutdown(t, r.box)
			})
		})
	}
}

// A peer that stalls, wherever in a message, over TCP.
func TestAPeerThatStallsInsideAMessageEndsAtReadTimeout(t *testing.T) {
	for _, tt := range wireWhole(t) {
		for _, n := range []int{1, 2, len(tt.frames) / 2, len(tt.frames) - 1} {
			mode := wireModes[n%2]
			t.Run(fmt.Sprintf("%s, %d bytes, %s", tt.name, n, mode.name), func(t *testing.T) {
				t.Parallel()
				log := newWireLog()
				box := wireMembers(t, &Options{
					Channel: ChannelOptions{PayloadType: Text, ReadLimit: 100_000, ReadTimeout: 100 * time.Millisecond, CloseTimeout: time.Hour},
					Accept:  websocket.AcceptOptions{CompressionMode: websocket.CompressionNoContextTakeover},
					Events:  log.events(),
				})
				p := wireDial(t, wireServe(t, mode.handler(box, log), box), wireOfferDeflate)
				p.send(t, tt.frames[:n])
				p.wantClose(t, 1008)
				p.wantEOF(t)
				p.Close()
				wireWantEnd(t, log.end(t), 1008, false)
				log.want(t, nil, 1)
				boxNothingLeft(t, box)
			})
		}
	}
}
