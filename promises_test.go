package wschannels_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// The README's table names exactly the tests of the promises, in order, each with the
// file that it is in.
func TestREADMENamesTheTestOfEachPromise(t *testing.T) {
	var tests, named []string
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, m := range regexp.MustCompile(`(?m)^func (TestPromise\w+)\(`).FindAllStringSubmatch(promiseRead(t, file), -1) {
			tests = append(tests, m[1]+" in "+file)
		}
	}
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\|.*\\[`(\\w+)`\\]\\((\\w+\\.go)\\) \\|$")
	for i, m := range row.FindAllStringSubmatch(promiseRead(t, "README.md"), -1) {
		if m[1] != fmt.Sprint(i+1) || !regexp.MustCompile(`^TestPromise`+m[1]+`[A-Z]`).MatchString(m[2]) {
			t.Errorf("row %d of the table is promise %s, and its test %s", i+1, m[1], m[2])
		}
		named = append(named, m[2]+" in "+m[3])
	}
	slices.Sort(tests)
	slices.Sort(named)
	if len(tests) != 10 || !slices.Equal(named, tests) {
		t.Errorf("the README names\n%q, but there are\n%q", named, tests)
	}
}

func promiseRead(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// promiseDial connects a client over TCP that no test waits for longer than
// boxPatience.
func promiseDial(t *testing.T, srv *httptest.Server, headers ...string) *wirePeer {
	t.Helper()
	p := wireDial(t, srv, headers...)
	p.SetDeadline(time.Now().Add(boxPatience))
	return p
}

// promiseHostile is what a peer may do that its server cannot tell from a bad network.
// Each goes on until the server has had enough.
var promiseHostile = []struct {
	name  string
	reads bool
	sends []byte
}{
	{"never reads", false, nil},
	{"never answers a close frame", true, nil},
	{"stops in the middle of a frame", true, wireOdd([]byte{0x81, 0x85}, []byte("he"))},
	{"stops in the middle of a message", true, wireFrame(wireText, []byte("he"))},
	{"stops in its close frame", true, wireOdd([]byte{0x88, 0x82}, []byte{3})},
	{"talks and never reads", false, slices.Repeat(wireString("1"), 50)},
	{"wants pongs and never reads them", false, slices.Repeat(wireFrame(wireFin|wirePing, make([]byte, 125)), 90)},
	{"breaks the protocol and stays", false, []byte("GET / HTTP/1.1\r\n\r\n")},
	{"closes and stays", false, wireFrame(wireFin|wireClose, wireCloseBody(1000, ""))},
}

// A promiseClient reads in the background what a server sends to a healthy client, and
// answers a close frame.
type promiseClient struct {
	*wirePeer
	done chan struct{} // closed when the connection has ended

	mu     sync.Mutex // guards what follows
	data   []string
	closes []websocket.StatusCode // of all close frames, in order
	at     time.Time              // of the last frame
	odd    error                  // what came that is no frame, or after the close frame
}

// promiseHealthy starts to read.
func promiseHealthy(p *wirePeer) *promiseClient {
	c := &promiseClient{wirePeer: p, done: make(chan struct{})}
	go func() { // ends with the connection
		defer close(c.done)
		for {
			op, payload, err := p.next()
			if err != nil {
				return
			}
			c.got(op, payload)
			if op == wireClose {
				p.Write(wireFrame(wireFin|wireClose, payload))
			}
		}
	}()
	return c
}

func (c *promiseClient) got(op byte, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = time.Now()
	if len(c.closes) > 0 {
		c.odd = fmt.Errorf("opcode %d after a close frame", op)
	}
	switch op {
	case wireText, wireBinary:
		c.data = append(c.data, string(payload))
	case wireClose:
		c.closes = append(c.closes, wireCode(payload))
	}
}

// wants fails unless the client got exactly this data, and then one close frame.
func (c *promiseClient) wants(t *testing.T, data []string, code websocket.StatusCode) {
	t.Helper()
	<-c.done // its deadline ends it, if nothing else does
	c.mu.Lock()
	defer c.mu.Unlock()
	boxWant(t, "a healthy client", c.data, data)
	if !slices.Equal(c.closes, []websocket.StatusCode{code}) || c.odd != nil {
		t.Errorf("a healthy client got close frames with %d, %v; want one, with %d", c.closes, c.odd, code)
	}
}
