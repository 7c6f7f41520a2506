package wschannels_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

func wireEcho(t *testing.T, opts *Options) *ChannelBox {
	t.Helper()
	opts.Events.OnMessage = func(ctx context.Context, c *Channel, m Message) error { return c.Send(ctx, m) }
	return wireBox(t, opts)
}

func TestOriginsAreThatOfTheHostUnlessOthersAreAllowed(t *testing.T) {
	for _, tt := range []struct {
		origin   string
		patterns []string
		want     int
	}{
		{"", nil, 101}, // no browser
		{"http://wire.test", nil, 101},
		{"https://wire.test", nil, 101},
		{"http://WIRE.test", nil, 101},
		{"http://evil.test", nil, 403},
		{"http://wire.test:8080", nil, 403},
		{"http://wire.test.evil.test", nil, 403},
		{"http://evilwire.test", nil, 403},
		{"null", nil, 403},
		{"https://app.example.com", []string{"*.example.com"}, 101},
		{"https://evilexample.com", []string{"*.example.com"}, 403},
		{"https://example.com.evil.test", []string{"*.example.com"}, 403},
		{"https://example.com", []string{"example.com"}, 101},
		{"https://evil.test", []string{"example.com"}, 403},
	} {
		log := newWireLog()
		box := wireBox(t, &Options{Accept: websocket.AcceptOptions{OriginPatterns: tt.patterns}, Events: log.events()})
		var headers []string
		if tt.origin != "" {
			headers = append(headers, "Origin: "+tt.origin)
		}
		client, server := net.Pipe()
		w := wireHijack(server)
		box.ServeHTTP(w, wireUpgradeRequest(t, headers...))
		if w.Code != tt.want {
			t.Errorf("Origin %q with patterns %q: %d, want %d", tt.origin, tt.patterns, w.Code, tt.want)
		}
		if n := len(box.Channels()); tt.want == 403 && n > 0 {
			t.Errorf("Origin %q: refused, and in the box", tt.origin)
		}
		client.Close()
		server.Close()
		wireShutdown(t, box)
	}
}

func TestRequestsThatAreNoHandshake(t *testing.T) {
	box := wireBox(t, nil)
	for _, tt := range []struct {
		name   string
		change func(r *http.Request)
		want   int
	}{
		{"plain GET", func(r *http.Request) { r.Header.Del("Upgrade"); r.Header.Del("Connection") }, 426},
		{"POST", func(r *http.Request) { r.Method = "POST" }, 405},
		{"version 12", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "12") }, 400},
		{"no key", func(r *http.Request) { r.Header.Del("Sec-WebSocket-Key") }, 400},
	} {
		r := wireUpgradeRequest(t)
		tt.change(r)
		w := wireHijack(nil)
		box.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, w.Code, tt.want)
		}
	}
	if s := box.Stats(); s.Channels != 0 || s.Accepted != 0 {
		t.Errorf("Stats: %+v, want no channel", s)
	}
}

// Middleware that hides the Hijacker is a common mistake: it must be seen as one.
func TestAResponseWriterWithoutHijackIs501(t *testing.T) {
	box := wireBox(t, nil)
	w := httptest.NewRecorder()
	box.ServeHTTP(w, wireUpgradeRequest(t))
	if w.Code != http.StatusNotImplemented {
		t.Errorf("status %d, want 501", w.Code)
	}
}

// One that can be unwrapped is fine.
func TestAWrappedResponseWriterIsUnwrapped(t *testing.T) {
	box := wireEcho(t, &Options{Channel: ChannelOptions{PayloadType: Text}})
	p := wireDial(t, wireServe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		box.ServeHTTP(struct{ wireUnwrapper }{wireUnwrapper{w}}, r)
	}), box))
	wireWantEcho(t, p)
}

type wireUnwrapper struct{ w http.ResponseWriter }

func (u wireUnwrapper) Header() http.Header         { return u.w.Header() }
func (u wireUnwrapper) Write(p []byte) (int, error) { return u.w.Write(p) }
func (u wireUnwrapper) WriteHeader(code int)        { u.w.WriteHeader(code) }
func (u wireUnwrapper) Unwrap() http.ResponseWriter { return u.w }

func wireWantEcho(t *testing.T, p *wirePeer) {
	t.Helper()
	p.send(t, wireString("hello"))
	if op, data, err := p.next(); err != nil || op != wireText || string(data) != "hello" {
		t.Errorf("echo: opcode %d, %q, %v", op, data, err)
	}
}

// A client need not wait for the answer to its handshake with what it has to say.
func TestFramesThatComeWithTheHandshakeAreNotLost(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, cut := range []int{0, 1, 7, 200} {
		log := newWireLog()
		box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}, Events: log.events()})
		srv := wireServe(t, box, box)
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		p := wireUpgrade(t, conn)
		frames := append(append(wireString("early"), wireString(long)...), wireFrame(wireFin|wireClose, wireCloseBody(1000, ""))...)
		p.send(t, wireRequest(), frames[:len(frames)-cut])
		p.upgraded(t)
		p.send(t, frames[len(frames)-cut:])
		p.wantClose(t, 1000)
		wireWantEnd(t, log.end(t), 1000, true)
		log.want(t, []string{"early", long}, 0)
	}
}

// The timeouts of http.Server are those of HTTP, and end with the upgrade.
func TestTheServersTimeoutsDoNotLeak(t *testing.T) {
	const timeout = 50 * time.Millisecond
	box := wireEcho(t, &Options{Channel: ChannelOptions{PayloadType: Text}})
	srv := httptest.NewUnstartedServer(box)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout, srv.Config.IdleTimeout = timeout, timeout, timeout
	srv.Start()
	t.Cleanup(func() { srv.Close(); wireShutdown(t, box) })
	p := wireDial(t, srv)
	wireWantEcho(t, p)
	<-time.After(3 * timeout) // net/http's clock is the real one
	wireWantEcho(t, p)
	p.Close()
}

func TestOverTLS(t *testing.T) {
	log := newWireLog()
	opts := &Options{
		Channel: ChannelOptions{PayloadType: Bytes, ReadLimit: 2 << 20, QueueBytes: 4 << 20},
		Events:  Events{OnDisconnect: log.events().OnDisconnect},
	}
	box := wireEcho(t, opts)
	p := wireDialingTLS(t, box, box)
	for _, size := range []int{0, 1, 125, 126, 0xFFFF, 0x10000, 1 << 20} {
		want := bytes.Repeat([]byte{7}, size)
		p.send(t, wireFrame(wireFin|wireBinary, want))
		if _, got, err := p.next(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came back as %d, %v", size, len(got), err)
		}
	}
	p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
	p.wantClose(t, 1000)
	wireWantEnd(t, log.end(t), 1000, true)
}

// Every length of a header, both ways, in one go and in fragments.
func TestMessagesOfEverySizeComeBackWhole(t *testing.T) {
	box := wireEcho(t, &Options{Channel: ChannelOptions{PayloadType: Bytes, ReadLimit: 1 << 20, QueueBytes: 1 << 20}})
	p := wireDial(t, wireServe(t, box, box))
	for _, size := range []int{0, 1, 125, 126, 127, 255, 256, 257, 4095, 4096, 4097, 0x4000, 0x4001, 0xFFFF, 0x10000, 1 << 20} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i * 31 >> 3)
		}
		cut := size / 3
		go p.Write(append(append(wireFrame(wireFin|wireBinary, want),
			wireFrame(wireBinary, want[:cut])...), wireFrame(wireFin|wireCont, want[cut:])...))
		for range 2 {
			if op, got, err := p.next(); err != nil || op != wireBinary || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes came back as %d, opcode %d, %v", size, len(got), op, err)
			}
		}
	}
}

func TestSubprotocol(t *testing.T) {
	box := wireBox(t, &Options{Accept: websocket.AcceptOptions{Subprotocols: []string{"v2", "v1"}}})
	for offer, want := range map[string]string{"v1": "v1", "v0, v1, v2": "v2", "v9": ""} {
		got := make(chan string, 1)
		p := wireDial(t, wireServe(t, box.Handler(func(ctx context.Context, c *Channel) error {
			got <- c.Subprotocol()
			return nil
		}), nil), "Sec-WebSocket-Protocol: "+offer)
		if s := <-got; s != want {
			t.Errorf("offered %q: Subprotocol() = %q, want %q", offer, s, want)
		}
		p.wantClose(t, 1000)
		p.Close()
	}
	wireShutdown(t, box)
}

// http.Server.Shutdown neither closes nor waits for WebSockets; the box does both.
func TestShutdownOfTheServerLeavesChannelsToTheBox(t *testing.T) {
	box := wireEcho(t, &Options{Channel: ChannelOptions{PayloadType: Text}})
	srv := wireServe(t, box, nil)
	p := wireDial(t, srv)
	if err := srv.Config.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	wireWantEcho(t, p)
	go func() {
		for {
			op, body, err := p.next()
			if err != nil {
				return
			}
			if op == wireClose {
				p.Write(wireFrame(wireFin|wireClose, body))
			}
		}
	}()
	wireShutdown(t, box)
}

// Channel.Conn of an accepted channel is a Conn like any other.
func TestConnOfAnAcceptedChannel(t *testing.T) {
	box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text}})
	result := make(chan error, 1)
	p := wireDial(t, wireServe(t, box.Handler(func(ctx context.Context, c *Channel) error {
		conn := c.Conn()
		result <- func() error {
			typ, data, err := conn.Read(ctx)
			if err != nil {
				return err
			}
			if err := conn.Write(ctx, typ, data); err != nil {
				return err
			}
			if err := conn.Write(ctx, websocket.MessageBinary, []byte{1, 2}); err != nil {
				return err
			}
			var pings [3]chan error // at the same time
			for i := range pings {
				pings[i] = make(chan error, 1)
				go func() { pings[i] <- conn.Ping(ctx) }()
			}
			for _, ping := range pings {
				if err := <-ping; err != nil {
					return err
				}
			}
			return conn.Close(4000, "done")
		}()
		return nil
	}), box))
	p.send(t, wireString("hello"))
	want := []struct {
		op   byte
		data string
	}{{wireText, "hello"}, {wireBinary, "\x01\x02"}}
	for _, w := range want {
		if op, data, err := p.next(); err != nil || op != w.op || string(data) != w.data {
			t.Errorf("got opcode %d, %q, %v; want %d, %q", op, data, err, w.op, w.data)
		}
	}
	for {
		op, data, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		if op == wirePing {
			p.send(t, wireFrame(wireFin|wirePong, data))
			continue
		}
		if op != wireClose || wireCode(data) != 4000 {
			t.Errorf("got opcode %d, %q; want a close frame with 4000", op, data)
		}
		break
	}
	p.send(t, wireFrame(wireFin|wireClose, wireCloseBody(4000, "")))
	if err := <-result; err != nil {
		t.Errorf("through Conn: %v", err)
	}
	if _, err := io.ReadAll(p.br); err != nil {
		t.Errorf("after the close: %v, want EOF", err)
	}
}
