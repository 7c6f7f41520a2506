package wschannels_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

// First bytes of frames.
const (
	wireFin    = 0x80
	wireCont   = 0x0
	wireText   = 0x1
	wireBinary = 0x2
	wireClose  = 0x8
	wirePing   = 0x9
	wirePong   = 0xA
)

var wireKey = []byte{0x11, 0x22, 0x33, 0x44}

// wireFrame is a client's frame with the shortest length that fits.
func wireFrame(first byte, payload []byte) []byte {
	n := len(payload)
	switch {
	case n < 126:
		return wireOdd([]byte{first, 0x80 | byte(n)}, payload)
	case n <= 0xFFFF:
		return wireOdd(binary.BigEndian.AppendUint16([]byte{first, 0x80 | 126}, uint16(n)), payload)
	}
	return wireOdd(binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, uint64(n)), payload)
}

// wireOdd is header, which may be wrong, then the mask and the masked payload.
func wireOdd(header, payload []byte) []byte {
	b := append(slices.Clone(header), wireKey...)
	for i, c := range payload {
		b = append(b, c^wireKey[i%4])
	}
	return b
}

func wireString(s string) []byte { return wireFrame(wireFin|wireText, []byte(s)) }

// wireCloseBody is what a close frame holds.
func wireCloseBody(code websocket.StatusCode, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

// A wirePeer is a client that knows frames and no rules.
type wirePeer struct {
	net.Conn
	br *bufio.Reader
}

func (p *wirePeer) send(t *testing.T, b ...[]byte) {
	t.Helper()
	if _, err := p.Write(slices.Concat(b...)); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// next returns the server's next frame, of which it checks the form.
func (p *wirePeer) next() (op byte, payload []byte, err error) {
	first, payload, err := p.frame()
	if err == nil && first&0x40 != 0 {
		err = fmt.Errorf("frame %x: compressed", first)
	}
	return first & 0xF, payload, err
}

// frame is next for frames that may be compressed: it returns the first byte.
func (p *wirePeer) frame() (first byte, payload []byte, err error) {
	var h [10]byte
	if _, err := io.ReadFull(p.br, h[:2]); err != nil {
		return 0, nil, err
	}
	if h[0]&0xB0 != wireFin || h[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("frame header % x: fragmented, masked, or with reserved bits", h[:2])
	}
	n := uint64(h[1])
	switch n {
	case 126:
		_, err = io.ReadFull(p.br, h[2:4])
		n = uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		_, err = io.ReadFull(p.br, h[2:10])
		n = binary.BigEndian.Uint64(h[2:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(p.br, payload)
	return h[0], payload, err
}

// untilClose reads up to the close frame and returns its body, and the data frames
// that came before.
func (p *wirePeer) untilClose(t *testing.T) (body []byte, data []string) {
	t.Helper()
	for {
		op, payload, err := p.next()
		switch {
		case err != nil:
			t.Fatalf("waiting for a close frame: %v", err)
		case op == wireClose:
			return payload, data
		case op == wireText || op == wireBinary:
			data = append(data, string(payload))
		}
	}
}

// wantClose expects a close frame with code and then nothing.
func (p *wirePeer) wantClose(t *testing.T, code websocket.StatusCode) {
	t.Helper()
	body, _ := p.untilClose(t)
	if got := wireCode(body); got != code {
		t.Errorf("close frame: code %d (%q), want %d", got, body, code)
	}
}

// wantEOF expects that nothing comes but the end of the connection.
func (p *wirePeer) wantEOF(t *testing.T) {
	t.Helper()
	b, err := io.ReadAll(p.br)
	var timeout net.Error
	if len(b) > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("at the end of the connection: % x, %v; want its end", b, err)
	}
}

func wireCode(body []byte) websocket.StatusCode {
	if len(body) < 2 {
		return websocket.StatusNoStatusRcvd
	}
	return websocket.StatusCode(binary.BigEndian.Uint16(body))
}

// A wireLog keeps what a channel's events were told.
type wireLog struct {
	mu       sync.Mutex
	messages []string
	errs     []error
	ends     []error
	ended    chan struct{} // holds one value for each end
}

func newWireLog() *wireLog { return &wireLog{ended: make(chan struct{}, 1000)} }

func (l *wireLog) events() Events {
	return Events{
		OnMessage: func(_ context.Context, _ *Channel, m Message) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.messages = append(l.messages, m.Text())
			return nil
		},
		OnError: func(_ *Channel, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.errs = append(l.errs, err)
		},
		OnDisconnect: func(_ *Channel, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.ends = append(l.ends, err)
			l.ended <- struct{}{}
		},
	}
}

// end waits for one channel to end and returns how.
func (l *wireLog) end(t *testing.T) *CloseError {
	t.Helper()
	select {
	case <-l.ended:
	case <-time.After(boxPatience):
		t.Fatal("OnDisconnect was not called")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var end *CloseError
	if err := l.ends[len(l.ends)-1]; !errors.As(err, &end) {
		t.Fatalf("OnDisconnect got %v, want a *CloseError", err)
	}
	return end
}

// want checks everything that the events were told about one channel.
func (l *wireLog) want(t *testing.T, messages []string, errs int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.messages, messages) {
		t.Errorf("delivered %.100q, want %.100q", l.messages, messages)
	}
	if len(l.errs) != errs {
		t.Errorf("OnError: %v, want %d errors", l.errs, errs)
	}
	if len(l.ends) != 1 {
		t.Errorf("OnDisconnect: %d times, want once", len(l.ends))
	}
}

// wireWantEnd checks code and Remote of an end.
func wireWantEnd(t *testing.T, end *CloseError, code websocket.StatusCode, remote bool) {
	t.Helper()
	if end.Code != code || end.Remote != remote {
		t.Errorf("the end is %v (Remote %v), want code %d, Remote %v", end, end.Remote, code, remote)
	}
}

func wireBox(t *testing.T, opts *Options) *ChannelBox {
	t.Helper()
	box, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// wireServe starts a server on the loopback interface, and waits for box, if there
// is one, when the test ends.
func wireServe(t *testing.T, h http.Handler, box *ChannelBox) *httptest.Server {
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		wireShutdown(t, box)
	})
	return srv
}

// wireShutdown expects box to end cleanly within 20 s.
func wireShutdown(t *testing.T, box *ChannelBox) {
	t.Helper()
	if box == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := box.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// wireRequest is a handshake.
func wireRequest(headers ...string) []byte {
	lines := append([]string{
		"GET /chat HTTP/1.1", "Host: wire.test", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, headers...)
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// wireDial does the handshake over TCP.
func wireDial(t *testing.T, srv *httptest.Server, headers ...string) *wirePeer {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := wireUpgrade(t, conn)
	p.send(t, wireRequest(headers...))
	p.upgraded(t)
	return p
}

// wireUpgrade makes a peer of conn, on which no test waits for ever.
func wireUpgrade(t *testing.T, conn net.Conn) *wirePeer {
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(boxPatience))
	return &wirePeer{Conn: conn, br: bufio.NewReader(conn)}
}

// upgraded reads the answer to the handshake.
func (p *wirePeer) upgraded(t *testing.T) {
	t.Helper()
	resp, err := http.ReadResponse(p.br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v, %v", resp, err)
	}
}

// wirePipe connects a peer with h over a pipe without buffers, past net/http: for
// the exact time of a synctest bubble.
func wirePipe(t *testing.T, h http.Handler, headers ...string) *wirePeer {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	w := wireHijack(server)
	h.ServeHTTP(w, wireUpgradeRequest(t, headers...))
	if w.Code != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %d %s", w.Code, w.Body)
	}
	return &wirePeer{Conn: client, br: bufio.NewReader(client)}
}

// wirePipeAsync is wirePipe for a handler that holds on to its channel; done is closed
// when it returns.
func wirePipeAsync(t *testing.T, h http.Handler, done chan<- struct{}) *wirePeer {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	r := wireUpgradeRequest(t)
	go func() {
		defer close(done)
		h.ServeHTTP(wireHijack(server), r)
	}()
	return &wirePeer{Conn: client, br: bufio.NewReader(client)}
}

func wireUpgradeRequest(t testing.TB, headers ...string) *http.Request {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(wireRequest(headers...)))))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wireHijack is a response that conn can be hijacked from.
func wireHijack(conn net.Conn) *wireResponse {
	return &wireResponse{httptest.NewRecorder(), conn}
}

type wireResponse struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (w *wireResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// frames reads the server's frames on a goroutine, as a pipe without buffers
// needs; it ends with the connection. The channel is closed then.
func (p *wirePeer) frames() <-chan wireGot {
	ch := make(chan wireGot, 1000)
	go func() {
		defer close(ch)
		for {
			op, payload, err := p.next()
			if err != nil {
				return
			}
			ch <- wireGot{op, string(payload), time.Now()}
		}
	}()
	return ch
}

type wireGot struct {
	op      byte
	payload string
	at      time.Time
}
