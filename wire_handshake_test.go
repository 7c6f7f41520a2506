package wschannels_test

import (
	"bytes"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	. "github.com/wschannels/wschannels"
)

// wireHead is a handshake in which lines have been exchanged, by their beginning.
func wireHead(exchange ...string) string {
	head := string(wireRequest())
	for i := 0; i < len(exchange); i += 2 {
		before, rest, _ := strings.Cut(head, exchange[i])
		_, after, _ := strings.Cut(rest, "\r\n")
		head = before + exchange[i+1] + after
	}
	return head
}

// wireHandshakes are requests that make no channel, as they come over TCP, and the
// status of the answer; 0 for none.
func wireHandshakes() []struct {
	name, request string
	status        int
} {
	const key, version = "Sec-WebSocket-Key", "Sec-WebSocket-Version"
	with := func(line string) string { return string(wireRequest(line)) }
	long := strings.Repeat("x", 2<<20)
	return []struct {
		name, request string
		status        int
	}{
		{"POST", wireHead("GET ", "POST /chat HTTP/1.1\r\n"), 405},
		{"POST with a body", wireHead("GET ", "POST /chat HTTP/1.1\r\nContent-Length: 5\r\n") + "hello", 405},
		{"HEAD", wireHead("GET ", "HEAD /chat HTTP/1.1\r\n"), 405},
		{"CONNECT", wireHead("GET ", "CONNECT wire.test:80 HTTP/1.1\r\n"), 405},
		{"lower-case method", wireHead("GET ", "get /chat HTTP/1.1\r\n"), 405},
		{"HTTP/1.0", wireHead("GET ", "GET /chat HTTP/1.0\r\n"), 426},
		{"HTTP/0.9", "GET /chat\r\n\r\n", 400},
		{"HTTP/3.0", wireHead("GET ", "GET /chat HTTP/3.0\r\n"), 505},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 426},
		{"no Upgrade", wireHead("Upgrade: ", ""), 426},
		{"another Upgrade", wireHead("Upgrade: ", "Upgrade: h2c\r\n"), 426},
		{"no Connection", wireHead("Connection: ", ""), 426},
		{"another Connection", wireHead("Connection: ", "Connection: keep-alive\r\n"), 426},
		{"no version", wireHead(version, ""), 400},
		{"version 12", wireHead(version, version+": 12\r\n"), 400},
		{"version 013", wireHead(version, version+": 013\r\n"), 400},
		{"a list of versions", wireHead(version, version+": 13, 8\r\n"), 400},
		{"no key", wireHead(key, ""), 400},
		{"an empty key", wireHead(key, key+":\r\n"), 400},
		{"two keys", with(key + ": dGhlIHNhbXBsZSBub25jZQ=="), 400},
		{"two keys in one line", wireHead(key, key+": dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400},
		{"a key of 15 bytes", wireHead(key, key+": dGhlIHNhbXBsZSBub25j\r\n"), 400},
		{"a key of 17 bytes", wireHead(key, key+": dGhlIHNhbXBsZSBub25jZSE=\r\n"), 400},
		{"a key without padding", wireHead(key, key+": dGhlIHNhbXBsZSBub25jZQ\r\n"), 400},
		{"a key that is not base64", wireHead(key, key+": <script>alert(1)</script>\r\n"), 400},
		{"a key with ESC in it", wireHead(key, key+": \x1b[31m\r\n"), 400},
		{"a key of 64 KiB", wireHead(key, key+": "+long[:1<<16]+"\r\n"), 400},
		{"a foreign origin", with("Origin: http://evil.test"), 403},
		{"an origin that is no URL", with("Origin: ::::%"), 403},
		{"an origin that is not ASCII", with("Origin: ::::\xff\xfe%"), 400},
		{"a body", with("Content-Length: 11") + string(wireString("hello")), 400},
		{"a body that does not come", with("Content-Length: 1000000"), 400},
		{"a body in chunks", with("Transfer-Encoding: chunked") + "b\r\n" + string(wireString("hello")) + "\r\n0\r\n\r\n", 400},
		{"a body in chunks that do not come", with("Transfer-Encoding: chunked"), 400},
		{"a body that is to be asked for", with("Content-Length: 11\r\nExpect: 100-continue"), 400},
		{"two lengths of a body", with("Content-Length: 0\r\nContent-Length: 11"), 400},
		{"a length and chunks", with("Content-Length: 4\r\nTransfer-Encoding: chunked") + "0\r\n\r\n", 400},
		{"no Host", wireHead("Host: ", ""), 400},
		{"two Hosts", with("Host: evil.test"), 400},
		{"a header that is none", with("no colon"), 400},
		{"a header with a NUL", with("X: a\x00b"), 400},
		{"a header with a bare CR", with("X: a\rb"), 400},
		{"a name with a space", with("X Y: a"), 400},
		{"a target with a space", wireHead("GET ", "GET /chat /evil HTTP/1.1\r\n"), 400},
		{"a header of 2 MiB", with("X: " + long), 431},
		{"headers of 2 MiB", with(strings.Repeat("X: "+long[:1000]+"\r\n", 2<<10) + "Y: y"), 431},
		{"a target of 2 MiB", wireHead("GET ", "GET /"+long+" HTTP/1.1\r\n"), 431},
		{"frames", string(wireString("hello")) + "\r\n\r\n", 400},
		{"zeros", string(make([]byte, 1000)) + "\r\n\r\n", 400},
		{"a TLS greeting", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400},
		{"nothing", "", 0},
		{"half a request", string(wireRequest()[:50]), 0},
		{"a request without its end", string(wireRequest()[:len(wireRequest())-2]), 0},
	}
}

func TestAHandshakeThatIsNoneIsRefusedOverTCP(t *testing.T) {
	for i, tt := range wireHandshakes() {
		mode := wireModes[i%2]
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			events := newWireLog()
			box := wireMembers(t, &Options{Events: events.events()})
			var logged chanWriter
			srv := httptest.NewUnstartedServer(mode.handler(box, events))
			srv.Config.ErrorLog = log.New(&logged, "", 0)
			srv.Start()
			t.Cleanup(func() { srv.CloseClientConnections(); srv.Close(); wireShutdown(t, box) })
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			p := wireUpgrade(t, conn)
			_, _ = p.Write([]byte(tt.request)) // an error, where the answer came before the end
			if tt.status == 0 {
				p.fin(t)
			} else if resp, err := http.ReadResponse(p.br, nil); err != nil || resp.StatusCode != tt.status {
				t.Errorf("the answer is %v, %v; want %d", resp, err, tt.status)
			}
			p.Close()
			srv.Close() // waits for what still runs
			if s := box.Stats(); s.Channels != 0 || s.Accepted != 0 {
				t.Errorf("Stats: %+v, want no channel", s)
			}
			boxNothingLeft(t, box)
			if len(events.messages)+len(events.errs)+len(events.ends) > 0 {
				t.Errorf("events: %v, %v, %v; want none", events.messages, events.errs, events.ends)
			}
			if text := logged.String(); text != "" {
				t.Errorf("http.Server logged %q", text)
			}
		})
	}
}

// What comes behind a handshake is frames, whatever it looks like: no second request.
func TestARequestBehindAHandshakeIsABreach(t *testing.T) {
	box := wireBox(t, nil)
	requests := make(chan string, 10)
	p := wireDialRaw(t, wireServe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.URL.Path
		box.ServeHTTP(w, r)
	}), box))
	p.send(t, wireRequest(), bytes.Replace(wireRequest(), []byte("/chat"), []byte("/evil"), 1))
	p.upgraded(t)
	p.wantClose(t, 1002)
	p.wantEOF(t)
	p.Close()
	if got := <-requests; got != "/chat" || len(requests) > 0 {
		t.Errorf("the server got %s and %d more requests, want /chat alone", got, len(requests))
	}
}

// An offer of compression that is odd is declined or understood, and nothing else.
func TestOddExtensionsAreNoHarm(t *testing.T) {
	box := wireEcho(t, &Options{Channel: ChannelOptions{PayloadType: Text}})
	srv := wireServe(t, box, box)
	for _, offer := range []string{
		"permessage-deflate", wireOfferDeflate[len("Sec-WebSocket-Extensions: "):], "permessage-deflate; ; ;", ";;;,,,", "x-unknown; a=b",
		`permessage-deflate; server_max_window_bits="99"`, "permessage-deflate; \x80\xff", strings.Repeat("permessage-deflate, ", 10_000),
	} {
		p := wireDialRaw(t, srv)
		p.send(t, wireRequest("Sec-WebSocket-Extensions: "+offer))
		resp, err := http.ReadResponse(p.br, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header["Sec-Websocket-Extensions"] != nil {
			t.Fatalf("%.60q: %v, %v; want 101 without an extension", offer, resp, err)
		}
		wireWantEcho(t, p)
		p.send(t, wireFrame(0xC1, wireDeflate(t, []byte("not agreed on"))))
		p.wantClose(t, 1002)
		p.Close()
	}
}

func wireDialRaw(t *testing.T, srv *httptest.Server) *wirePeer {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return wireUpgrade(t, conn)
}
