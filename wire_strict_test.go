package wschannels_test

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

const wireLimit = 1000

// wireBreaches are what no peer may send, and the code that it is told. Those with
// bare set are also found on a *websocket.Conn that was given to NewChannel.
var wireBreaches = []struct {
	name string
	send []byte
	code websocket.StatusCode
	bare bool
}{
	{"unmasked text", []byte{0x81, 0x02, 'h', 'i'}, 1002, true},
	{"unmasked ping", []byte{0x89, 0x00}, 1002, true},
	{"unmasked close", []byte{0x88, 0x02, 0x03, 0xE8}, 1002, true},
	{"RSV1 without compression", wireFrame(0xC1, []byte("hi")), 1002, true},
	{"RSV2", wireFrame(0xA1, []byte("hi")), 1002, true},
	{"RSV3", wireFrame(0x91, []byte("hi")), 1002, true},
	{"RSV1 on a ping", wireFrame(0xC9, nil), 1002, true},
	{"opcode 3", wireFrame(0x83, []byte("hi")), 1002, true},
	{"opcode 7", wireFrame(0x87, nil), 1002, true},
	{"opcode 11", wireFrame(0x8B, nil), 1002, true},
	{"opcode 15", wireFrame(0x8F, nil), 1002, true},
	{"length with the top bit set", wireOdd([]byte{0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 5}, []byte("hello")), 1002, true},
	{"all ones length", wireOdd([]byte{0x82, 0xFF, 255, 255, 255, 255, 255, 255, 255, 255}, nil), 1002, true},
	{"16-bit length of 125", wireOdd([]byte{0x82, 0xFE, 0, 125}, make([]byte, 125)), 1002, false},
	{"64-bit length of 65535", wireOdd([]byte{0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, nil), 1002, false},
	{"fragmented ping", wireFrame(wirePing, nil), 1002, true},
	{"fragmented pong", wireFrame(wirePong, nil), 1002, true},
	{"fragmented close", wireFrame(wireClose, nil), 1002, true},
	{"ping of 126 bytes", wireFrame(wireFin|wirePing, make([]byte, 126)), 1002, true},
	{"close of 126 bytes", wireFrame(wireFin|wireClose, wireCloseBody(1000, strings.Repeat("x", 124))), 1002, true},
	{"continuation of nothing", wireFrame(wireFin|wireCont, []byte("hi")), 1002, true},
	{"message inside a message", slices.Concat(wireFrame(wireText, []byte("a")), wireFrame(wireFin|wireText, []byte("b"))), 1002, true},
	{"close body of 1 byte", wireFrame(wireFin|wireClose, []byte{3}), 1002, true},
	{"close code 0", wireFrame(wireFin|wireClose, wireCloseBody(0, "")), 1002, true},
	{"close code 999", wireFrame(wireFin|wireClose, wireCloseBody(999, "")), 1002, true},
	{"close code 1004", wireFrame(wireFin|wireClose, wireCloseBody(1004, "")), 1002, true},
	{"close code 1005", wireFrame(wireFin|wireClose, wireCloseBody(1005, "")), 1002, true},
	{"close code 1006", wireFrame(wireFin|wireClose, wireCloseBody(1006, "")), 1002, true},
	{"close code 1015", wireFrame(wireFin|wireClose, wireCloseBody(1015, "")), 1002, true},
	{"close code 2999", wireFrame(wireFin|wireClose, wireCloseBody(2999, "")), 1002, true},
	{"close code 5000", wireFrame(wireFin|wireClose, wireCloseBody(5000, "")), 1002, true},
	{"close reason that is not UTF-8", wireFrame(wireFin|wireClose, wireCloseBody(1000, "\xff\xfe")), 1007, false},
	{"text that is not UTF-8", wireString("\xff\xfe\xfd"), 1007, true},
	{"text that ends inside a rune", wireString("caf\xc3"), 1007, true},
	{"a surrogate in text", wireString("\xed\xa0\x80"), 1007, true},
	{"fragmented text that is not UTF-8", slices.Concat(wireFrame(wireText, []byte("caf\xc3")), wireFrame(wireFin|wireCont, []byte("x"))), 1007, true},
	{"a size over the limit", wireFrame(wireFin|wireBinary, make([]byte, wireLimit+1)), 1009, true},
	{"a declared size over the limit", wireOdd([]byte{0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, nil), 1009, false},
	{"a sum of fragments over the limit", slices.Concat(wireFrame(wireBinary, make([]byte, wireLimit)), wireFrame(wireFin|wireCont, []byte{1})), 1009, true},
	{"a sum of declared sizes that overflows", slices.Concat(wireFrame(wireBinary, []byte{1}),
		wireOdd([]byte{0x80, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, nil)), 1009, false},
	{"too many empty fragments", slices.Concat(wireFrame(wireText, []byte("a")), bytes.Repeat(wireFrame(wireCont, nil), 101)), 1008, false},
	{"too many pings", bytes.Repeat(wireFrame(wireFin|wirePing, nil), 101), 1008, false},
	{"too many pongs", bytes.Repeat(wireFrame(wireFin|wirePong, nil), 101), 1008, false},
}

func TestBreachesOfProtocolAreToldAndDeliverNothing(t *testing.T) {
	for _, tt := range wireBreaches {
		t.Run(tt.name, func(t *testing.T) {
			log := newWireLog()
			box := wireBox(t, &Options{Channel: ChannelOptions{ReadLimit: wireLimit}, Events: log.events()})
			p := wireDial(t, wireServe(t, box, box))
			p.send(t, tt.send)
			p.wantClose(t, tt.code)
			p.Close()
			end := log.end(t)
			wireWantEnd(t, end, tt.code, false)
			log.want(t, nil, 1)
		})
	}
}

// In the bubble no time passes unless everybody waits, so "at once" is exact.
func TestBreachesOfProtocolAreToldAtOnce(t *testing.T) {
	for _, tt := range wireBreaches {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newWireLog()
				box := wireBox(t, &Options{Channel: ChannelOptions{ReadLimit: wireLimit}, Events: log.events()})
				p := wirePipe(t, box)
				frames := p.frames()
				start := time.Now()
				go p.Write(tt.send) // blocks for what the server does not read
				for f := range frames {
					if f.op != wireClose {
						continue
					}
					if code := wireCode([]byte(f.payload)); code != tt.code {
						t.Errorf("close frame: code %d, want %d", code, tt.code)
					}
					if d := f.at.Sub(start); d != 0 {
						t.Errorf("the close frame came after %v, want at once", d)
					}
					p.Close()
				}
				wireWantEnd(t, log.end(t), tt.code, false)
				log.want(t, nil, 1)
				wireShutdown(t, box)
			})
		})
	}
}

// A peer that breaks a rule and then neither closes nor reads is rid of in bounded time.
func TestBreachByAPeerThatStaysEndsWithinCloseTimeout(t *testing.T) {
	for _, tt := range wireBreaches {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newWireLog()
				box := wireBox(t, &Options{Channel: ChannelOptions{ReadLimit: wireLimit, CloseTimeout: time.Second}, Events: log.events()})
				p := wirePipe(t, box)
				start := time.Now()
				go p.Write(tt.send)
				wireWantEnd(t, log.end(t), tt.code, false)
				if d := time.Since(start); d > time.Second {
					t.Errorf("it took %v, and CloseTimeout is 1 s", d)
				}
				log.want(t, nil, 1)
				wireShutdown(t, box)
			})
		})
	}
}

// wireBare serves channels that NewChannel makes of a *websocket.Conn; got is what
// they receive, and ends how they end.
func wireBare(t *testing.T, opts *ChannelOptions) (h http.Handler, got chan string, ends chan *CloseError) {
	got, ends = make(chan string, 100), make(chan *CloseError, 100)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		c, err := NewChannel(conn, opts)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close(1000, "") // waits for an end that is under way
		for {
			m, err := c.Receive(context.Background())
			if err != nil {
				ends <- err.(*CloseError)
				return
			}
			got <- m.Text()
		}
	}), got, ends
}

func TestBreachesOfProtocolOnABareConn(t *testing.T) {
	for _, tt := range wireBreaches {
		if !tt.bare {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			h, got, ends := wireBare(t, &ChannelOptions{ReadLimit: wireLimit, CloseTimeout: time.Second})
			p := wireDial(t, wireServe(t, h, nil))
			p.send(t, tt.send)
			p.wantClose(t, tt.code)
			p.Close()
			wireWantEnd(t, <-ends, tt.code, false)
			if len(got) > 0 {
				t.Errorf("delivered %q, want nothing", <-got)
			}
		})
	}
}

func TestWhatIsLegalIsDelivered(t *testing.T) {
	full := strings.Repeat("x", wireLimit)
	for _, tt := range []struct {
		name string
		send []byte
		want []string
	}{
		{"empty", wireString(""), []string{""}},
		{"text", wireString("hällo, wörld 🙂"), []string{"hällo, wörld 🙂"}},
		{"a rune across fragments", slices.Concat(wireFrame(wireText, []byte("caf\xc3")), wireFrame(wireFin|wireCont, []byte("\xa9"))), []string{"café"}},
		{"exactly the limit", wireString(full), []string{full}},
		{"fragments of exactly the limit", slices.Concat(wireFrame(wireText, []byte(full[1:])), wireFrame(wireFin|wireCont, []byte("x"))), []string{full}},
		{"the limit, twice", bytes.Repeat(wireString(full), 2), []string{full, full}},
		{"a ping between fragments", slices.Concat(wireFrame(wireText, []byte("a")), wireFrame(wireFin|wirePing, []byte("p")), wireFrame(wireFin|wireCont, []byte("b"))), []string{"ab"}},
		{"100 empty fragments", slices.Concat(wireFrame(wireText, nil), bytes.Repeat(wireFrame(wireCont, nil), 99), wireFrame(wireFin|wireCont, []byte("z"))), []string{"z"}},
		{"99 pings and a close", bytes.Repeat(wireFrame(wireFin|wirePing, nil), 99), nil},
		{"a pong that nobody asked for", wireFrame(wireFin|wirePong, []byte("x")), nil},
		{"many in one packet", bytes.Repeat(wireString("m"), 50), slices.Repeat([]string{"m"}, 50)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := newWireLog()
			box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text, ReadLimit: wireLimit}, Events: log.events()})
			p := wireDial(t, wireServe(t, box, box))
			p.send(t, tt.send, wireFrame(wireFin|wireClose, wireCloseBody(1000, "bye")))
			p.wantClose(t, 1000)
			p.wantEOF(t)
			end := log.end(t)
			wireWantEnd(t, end, 1000, true)
			if end.Reason != "bye" {
				t.Errorf("reason %q, want \"bye\"", end.Reason)
			}
			log.want(t, tt.want, 0)
		})
	}
}

func TestCloseCodesOfThePeerAreReportedAndAnswered(t *testing.T) {
	for _, code := range []websocket.StatusCode{1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999} {
		log := newWireLog()
		box := wireBox(t, &Options{Events: log.events()})
		p := wireDial(t, wireServe(t, box, box))
		p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(code, "")))
		p.wantClose(t, code)
		p.wantEOF(t)
		wireWantEnd(t, log.end(t), code, true)
		log.want(t, nil, 0)
	}
}

// What follows a close frame is no part of the conversation (RFC 6455 section 5.5.1).
func TestBytesAfterTheCloseFrameAreIgnored(t *testing.T) {
	for _, rest := range [][]byte{wireString("late"), {0x81, 0x00}, {0xFF, 0xFF}, bytes.Repeat([]byte{0}, 5000)} {
		log := newWireLog()
		box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}, Events: log.events()})
		p := wireDial(t, wireServe(t, box, box))
		p.send(t, wireString("in time"), wireFrame(wireFin|wireClose, wireCloseBody(4321, "")), rest)
		p.wantClose(t, 4321)
		p.Close()
		wireWantEnd(t, log.end(t), 4321, true)
		log.want(t, []string{"in time"}, 0)
	}
}

// Every message before a breach was legal, and is delivered.
func TestMessagesBeforeABreachAreDelivered(t *testing.T) {
	log := newWireLog()
	box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}, Events: log.events()})
	p := wireDial(t, wireServe(t, box, box))
	p.send(t, wireString("one"), wireString("two"), []byte{0x81, 0x00})
	p.wantClose(t, 1002)
	p.Close()
	wireWantEnd(t, log.end(t), 1002, false)
	log.want(t, []string{"one", "two"}, 1)
}
