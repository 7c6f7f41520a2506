package wschannels_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// Promise 7: strict input: no bytes from a peer panic; UTF-8, masks, lengths, types and
// floods are enforced; native fuzz targets run in CI.
func TestPromise7StrictInput(t *testing.T) {
	t.Run("enforced", testRulesAreEnforced)
	t.Run("enforced in time", testSlownessIsEnforced)
	t.Run("types", testTypesAreEnforced)
	t.Run("rate of messages", testMessageRateIsEnforced)
	t.Run("no bytes panic", testNoBytesPanic)
	t.Run("fuzz targets run in CI", testFuzzTargetsRunInCI)
}

// One way, at least, to break each rule, over TCP: the peer is told which, and nothing
// of what broke it is delivered. (All ways: TestBreachesOfProtocolAreToldAndDeliverNothing.)
func testRulesAreEnforced(t *testing.T) {
	const limit = 1000
	huge := []byte{0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	for _, tt := range []struct {
		rule, name string
		send       []byte
		code       websocket.StatusCode
	}{
		{"UTF-8", "in a message", wireString("caf\xe9"), 1007},
		{"UTF-8", "cut in a rune", wireString("caf\xc3"), 1007},
		{"UTF-8", "in fragments", slices.Concat(wireFrame(wireText, []byte("caf\xc3")), wireFrame(wireFin|wireCont, []byte("e"))), 1007},
		{"UTF-8", "in a close reason", wireFrame(wireFin|wireClose, wireCloseBody(1000, "\xff")), 1007},
		{"masks", "a message without", []byte{0x81, 0x02, 'h', 'i'}, 1002},
		{"masks", "a close frame without", []byte{0x88, 0x00}, 1002},
		{"lengths", "a message over the limit", wireString(strings.Repeat("x", limit+1)), 1009},
		{"lengths", "fragments over the limit", slices.Concat(wireFrame(wireText, make([]byte, limit)), wireFrame(wireFin|wireCont, []byte("x"))), 1009},
		{"lengths", "announced, over the limit", wireOdd(append([]byte{0x81, 0xFF}, huge...), nil), 1009},
		{"lengths", "a sum that overflows", slices.Concat(wireFrame(wireText, []byte("x")), wireOdd(append([]byte{0x80, 0xFF}, huge...), nil)), 1009},
		{"lengths", "the top bit", wireOdd([]byte{0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1}, []byte("x")), 1002},
		{"lengths", "longer than need be", wireOdd([]byte{0x81, 0xFE, 0, 1}, []byte("x")), 1002},
		{"lengths", "a ping of 126 bytes", wireFrame(wireFin|wirePing, make([]byte, 126)), 1002},
		{"lengths", "a close body of one byte", wireFrame(wireFin|wireClose, []byte{3}), 1002},
		{"types", "an opcode that is none", wireFrame(wireFin|0x3, []byte("x")), 1002},
		{"types", "a control frame that is none", wireFrame(wireFin|0xB, nil), 1002},
		{"types", "reserved bits", wireFrame(wireFin|0x40|wireText, []byte("x")), 1002},
		{"types", "a fragmented ping", wireFrame(wirePing, nil), 1002},
		{"types", "a continuation of nothing", wireFrame(wireFin|wireCont, []byte("x")), 1002},
		{"types", "a message in a message", slices.Concat(wireFrame(wireText, []byte("x")), wireString("y")), 1002},
		{"types", "a close code that nobody may send", wireFrame(wireFin|wireClose, wireCloseBody(1006, "")), 1002},
		{"floods", "pings", bytes.Repeat(wireFrame(wireFin|wirePing, nil), 101), 1008},
		{"floods", "pongs", bytes.Repeat(wireFrame(wireFin|wirePong, nil), 101), 1008},
		{"floods", "empty fragments", slices.Concat(wireFrame(wireText, nil), bytes.Repeat(wireFrame(wireCont, nil), 101)), 1008},
	} {
		t.Run(tt.rule+": "+tt.name, func(t *testing.T) {
			log := newWireLog()
			b := wireBox(t, &wschannels.Options{
				Channel: wschannels.ChannelOptions{PayloadType: wschannels.Text, ReadLimit: limit}, Events: log.events(),
			})
			p := promiseDial(t, wireServe(t, b, b))
			p.send(t, wireString("good"), tt.send)
			p.wantClose(t, tt.code)
			p.Close()
			wireWantEnd(t, log.end(t), tt.code, false)
			log.want(t, []string{"good"}, 1)
		})
	}
}

// A message that takes longer than ReadTimeout is a flood, too: of patience.
func testSlownessIsEnforced(t *testing.T) {
	wireTimed(t, wschannels.ChannelOptions{}, func(t *testing.T, p *wirePeer, frames <-chan wireGot, log *wireLog) {
		start := time.Now()
		var writer sync.WaitGroup
		defer writer.Wait()
		writer.Go(func() {
			for _, b := range wireString(strings.Repeat("x", 100)) {
				if _, err := p.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		wireWantCloseAt(t, frames, 1008, start.Add(30*time.Second))
		p.Close()
		wireWantEnd(t, log.end(t), 1008, false)
		log.want(t, nil, 1)
	})
}

// A frame that is no payload of the channel's type is an error, which is counted, and
// no message. The channel goes on.
func testTypesAreEnforced(t *testing.T) {
	for _, tt := range []struct {
		typ       wschannels.PayloadType
		bad, good []byte
		want      string
	}{
		{wschannels.JSON, wireString(`{"no":JSON}`), wireString(`{"a":1}`), `{"a":1}`},
		{wschannels.JSON, wireString(`1 2`), wireFrame(wireFin|wireBinary, []byte("3")), "3"},
		{wschannels.JSON, wireFrame(wireFin|wireBinary, []byte("\"\xff\"")), wireString("4"), "4"},
		{wschannels.Text, wireFrame(wireFin|wireBinary, []byte("x")), wireString("y"), "y"},
		{wschannels.Bytes, wireString("x"), wireFrame(wireFin|wireBinary, []byte("\xff")), "\xff"},
	} {
		log := newWireLog()
		b := wireBox(t, &wschannels.Options{Channel: wschannels.ChannelOptions{PayloadType: tt.typ}, Events: log.events()})
		p := promiseDial(t, wireServe(t, b, b))
		p.send(t, tt.bad, tt.good, wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
		p.wantClose(t, 1000)
		log.end(t)
		log.want(t, []string{tt.want}, 1)
		if s := b.Stats(); s.Invalid != 1 || s.Received != 2 {
			t.Errorf("%v, %q: %+v, want 1 invalid of 2", tt.typ, tt.bad, s)
		}
	}
}

// MessageLimit in any MessageWindow: one past it is counted, and no message.
func testMessageRateIsEnforced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newWireLog()
		b := wireBox(t, &wschannels.Options{
			Channel: wschannels.ChannelOptions{PayloadType: wschannels.Text, MessageLimit: 3}, Events: log.events(),
		})
		p := wirePipe(t, b)
		p.frames()
		p.send(t, wireString("1"), wireString("2"))
		time.Sleep(30 * time.Second)
		p.send(t, wireString("3"), wireString("one past it"))
		time.Sleep(30 * time.Second)
		p.send(t, wireString("4"), wireString("5"), wireString("one past it"), wireFrame(wireFin|wireClose, nil))
		log.end(t)
		log.want(t, boxNumbers(1, 5), 2)
		if s := b.Stats(); s.RateLimited != 2 {
			t.Errorf("%+v, want 2 limited", s)
		}
		wireShutdown(t, b)
	})
}

// Connections that send noise, frames of noise, and good frames with bytes changed. A
// panic outside the application's code would end this process; inside it would count.
func testNoBytesPanic(t *testing.T) {
	seeds := uint64(1000)
	if testing.Short() || boxRace {
		seeds = 300
	}
	modes := []websocket.CompressionMode{websocket.CompressionDisabled, websocket.CompressionNoContextTakeover, websocket.CompressionContextTakeover}
	synctest.Test(t, func(t *testing.T) {
		for seed := range seeds {
			rnd := rand.New(rand.NewPCG(seed, 7))
			var b *wschannels.ChannelBox
			b = wireBox(t, &wschannels.Options{
				Channel: wschannels.ChannelOptions{PayloadType: wschannels.PayloadType(rnd.IntN(3)), ReadLimit: 1000},
				Accept:  websocket.AcceptOptions{CompressionMode: modes[seed%3]},
				Events: wschannels.Events{
					OnConnect: promiseJoins(&b),
					OnMessage: func(ctx context.Context, c *wschannels.Channel, m wschannels.Message) error {
						var v any
						_ = m.Decode(&v)
						_, err := b.GroupSend(ctx, "g", m, boxSave)
						return err
					},
				},
			})
			p := wirePipe(t, b, "Sec-WebSocket-Extensions: permessage-deflate")
			go func() { // a client that does not check what it gets; ends with the connection
				for {
					if _, _, err := p.frame(); err != nil {
						return
					}
				}
			}()
			go func() {
				p.Write(promiseNoise(t, rnd))
				p.Close()
			}()
			synctest.Wait()
			wireShutdown(t, b)
			if s := b.Stats(); s.Panics > 0 || s.Accepted != 1 || s.Disconnected != 1 {
				t.Fatalf("seed %d: %+v; want one channel that has come and gone, and no panic", seed, s)
			}
		}
	})
}

func promiseNoise(t *testing.T, rnd *rand.Rand) []byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	var sent []byte
	for range 1 + rnd.IntN(5) {
		switch payload := noise(rnd.IntN(1 << rnd.IntN(11))); rnd.IntN(6) {
		case 0:
			sent = append(sent, payload...)
		case 1:
			sent = append(sent, wireFrame(byte(rnd.Uint32()), payload)...)
		case 2:
			sent = append(sent, wireFrame(wireFin|0x40|wireBinary, payload)...)
		case 3:
			sent = append(sent, wireFrame(wireFin|0x40|wireText, wireDeflate(t, []byte(`{"text":"hello hello hello"}`)))...)
		default:
			sent = append(sent, wireFrame(byte(wireFin|rnd.IntN(3)), []byte(`{"text":"hello"}`))...)
		}
	}
	for range rnd.IntN(3) {
		if i := rnd.IntN(len(sent) + 1); i < len(sent) {
			sent[i] ^= 1 << rnd.IntN(8)
		}
	}
	return sent
}

// What must pass before a change lands fuzzes every target of every package.
func testFuzzTargetsRunInCI(t *testing.T) {
	for file, steps := range map[string][]string{
		".ci/run":      {`(?m)^scripts/fuzz "\$fuzz_time"$`},
		"scripts/fuzz": {`grep -rl --include='\*_test\.go' '\^func Fuzz' \.`, `go test -list '\^Fuzz'`, `go test .*-fuzz "\^\$target\\\$"`},
	} {
		for _, step := range steps {
			if !regexp.MustCompile(step).MatchString(promiseRead(t, filepath.FromSlash(file))) {
				t.Errorf("%s has no %s", file, step)
			}
		}
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := 0
	for _, file := range files {
		targets += strings.Count(promiseRead(t, file), "\nfunc Fuzz")
	}
	if targets < 5 {
		t.Errorf("%d fuzz targets: frames, the inspector, inflation, queues and decoding have one each", targets)
	}
}
