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

// wireModes are the two ways to receive.
var wireModes = []wireMode{
	{"event mode", func(box *ChannelBox, _ *wireLog) http.Handler { return box }},
	{"handler", func(box *ChannelBox, log *wireLog) http.Handler { return box.Handler(log.receive) }},
}

type wireMode struct {
	name    string
	handler func(*ChannelBox, *wireLog) http.Handler
}

// receive is a handler that keeps what it receives.
func (l *wireLog) receive(ctx context.Context, c *Channel) error {
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.messages = append(l.messages, m.Text())
		l.mu.Unlock()
	}
}

// wireMembers is a box of which every channel joins the group "g".
func wireMembers(t *testing.T, opts *Options) (box *ChannelBox) {
	opts.Events.OnConnect = func(ctx context.Context, c *Channel) error {
		_, err := box.Join(ctx, c, "g", nil)
		return err
	}
	return wireBox(t, opts)
}

func TestBreachesOfProtocolAreToldAndDeliverNothing(t *testing.T) {
	for _, mode := range wireModes {
		for _, tt := range wireBreaches {
			t.Run(mode.name+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				wireWantBreach(t, mode, tt, wireDialing)
			})
		}
	}
}

func TestBreachesOfProtocolAreToldOverTLS(t *testing.T) {
	for i, tt := range wireBreaches {
		if i%10 != 0 { // below TLS all is the same
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wireWantBreach(t, wireModes[i/10%2], tt, wireDialingTLS)
		})
	}
}

// wireWantBreach commits a breach and checks all that follows, on both sides. The peer
// keeps its own side open until it has seen the server's end.
func wireWantBreach(t *testing.T, mode wireMode, tt wireBreach, dial func(*testing.T, http.Handler, *ChannelBox) *wirePeer) {
	log := newWireLog()
	box := wireMembers(t, &Options{
		Channel: ChannelOptions{PayloadType: Text, ReadLimit: wireLimit, CloseTimeout: time.Hour}, Events: log.events(),
	})
	p := dial(t, mode.handler(box, log), box)
	p.send(t, tt.send)
	p.wantClose(t, tt.code)
	p.wantEOF(t)
	p.Close()
	end := log.end(t)
	wireWantEnd(t, end, tt.code, false)
	log.want(t, nil, 1)
	if log.errs[0] != error(end) {
		t.Errorf("OnError got %v, want the end", log.errs[0])
	}
	boxNothingLeft(t, box)
}

func wireDialing(t *testing.T, h http.Handler, box *ChannelBox) *wirePeer {
	return wireDial(t, wireServe(t, h, box))
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

// wireEdges are the first and the last rune of each length, those around the surrogates,
// and two that are no characters.
const wireEdges = "\x00\x7f\u0080\u07ff\u0800\ud7ff\ue000\ufffe\uffff\U00010000\U0010ffff"

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
		{"the edges of what UTF-8 can say", wireString(wireEdges), []string{wireEdges}},
		{"the same in one-byte fragments, with pings between", wirePieces(wireEdges, wireFrame(wireFin|wirePing, nil)), []string{wireEdges}},
		{"a ping of 125 bytes", wireFrame(wireFin|wirePing, make([]byte, 125)), nil},
		{"a pong of 125 bytes", wireFrame(wireFin|wirePong, make([]byte, 125)), nil},
		{"125, 126 and 127 bytes", slices.Concat(wireString(full[:125]), wireString(full[:126]), wireString(full[:127])), []string{full[:125], full[:126], full[:127]}},
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
	for _, code := range []websocket.StatusCode{
		1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
	} {
		for _, reason := range []string{"", "bye", strings.Repeat("é", 61) + "x"} { // 123 bytes
			log := newWireLog()
			box := wireMembers(t, &Options{Events: log.events()})
			p := wireDial(t, wireServe(t, box, box))
			p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(code, reason)))
			p.wantClose(t, code)
			p.wantEOF(t)
			end := log.end(t)
			wireWantEnd(t, end, code, true)
			if end.Reason != reason {
				t.Errorf("code %d: reason %q, want %q", code, end.Reason, reason)
			}
			log.want(t, nil, 0)
			boxNothingLeft(t, box)
		}
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
