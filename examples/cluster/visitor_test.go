package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// message is anything that a page may receive.
type message struct {
	Group string
	Epoch string
	Seq   uint64
	Data  struct {
		Type, ID, Name, Node, Text string
		Epoch                      string
		Typing, Recovered          bool
		People                     []person
		Error, Details             string
		Retry                      int
	}
}

// here says who is here, of a welcome: "Ann@a Ben@b".
func (m message) here() string {
	var people []string
	for _, p := range m.Data.People {
		people = append(people, p.Name+"@"+p.Node)
	}
	return strings.Join(people, " ")
}

// visitor is one page.
type visitor struct {
	t    *testing.T
	conn *websocket.Conn
}

// visit opens a page's socket in the lobby, as a node serves it. A query may say where it
// left off.
func visit(t *testing.T, node http.Handler, name, query string) visitor {
	t.Helper()
	return visitor{t, wschannelstest.Dial(t, node, "/ws/lobby?name="+url.QueryEscape(name)+query)}
}

func (v visitor) say(id, text string) {
	v.t.Helper()
	if err := wsjson.Write(v.t.Context(), v.conn, inbound{Type: "say", ID: id, Text: text}); err != nil {
		v.t.Fatal(err)
	}
}

func (v visitor) next() message {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), time.Minute)
	defer cancel()
	var m message
	_, data, err := v.conn.Read(ctx)
	if err != nil {
		v.t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		v.t.Fatalf("%s: %v", data, err)
	}
	return m
}

// until returns the first message that ok accepts.
func (v visitor) until(ok func(message) bool) message {
	v.t.Helper()
	for {
		if m := v.next(); ok(m) {
			return m
		}
	}
}

func (v visitor) untilType(typ string) message {
	v.t.Helper()
	return v.until(func(m message) bool { return m.Data.Type == typ })
}

// untilCame waits to hear that somebody is here, on this node.
func (v visitor) untilCame(name, node string) {
	v.t.Helper()
	v.until(func(m message) bool {
		if m.Data.Type == "left" {
			v.t.Errorf("%s has left, while %s was to be on node %s", m.Data.Name, name, node)
		}
		return m.Data.Type == "came" && m.Data.Name == name && m.Data.Node == node
	})
}

// newNode returns what one node serves, on an engine that others may share.
func newNode(t *testing.T, name string, broker wschannels.Broker) (http.Handler, *wschannels.ChannelBox) {
	t.Helper()
	h, box, err := newServer(name, broker, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		if err := box.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return h, box
}

// newNodes returns two nodes, a and b, on one engine.
func newNodes(t *testing.T) (a, b http.Handler) {
	t.Helper()
	engine := newEngine(t)
	a, _ = newNode(t, "a", engine)
	b, _ = newNode(t, "b", engine)
	return a, b
}

func newEngine(t *testing.T) *wschannels.MemoryBroker {
	t.Helper()
	engine, err := wschannels.NewMemoryBroker(&wschannels.MemoryBrokerOptions{History: history})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}
