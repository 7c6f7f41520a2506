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
		Type, ID, Name, Text string
		Typing, Recovered    bool
		People               []person
		Error, Details       string
		Retry                int
	}
}

// names are those of who is here.
func (m message) names() string {
	var names []string
	for _, p := range m.Data.People {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}

// visitor is one page.
type visitor struct {
	t    *testing.T
	conn *websocket.Conn
}

// visit opens a page's socket in the lobby. A query may say where it left off.
func visit(t *testing.T, h http.Handler, name, query string) visitor {
	t.Helper()
	return visitor{t, wschannelstest.Dial(t, h, "/ws/lobby?name="+url.QueryEscape(name)+query)}
}

func (v visitor) send(m inbound) {
	v.t.Helper()
	if err := wsjson.Write(v.t.Context(), v.conn, m); err != nil {
		v.t.Fatal(err)
	}
}

func (v visitor) say(id, text string) { v.t.Helper(); v.send(inbound{Type: "say", ID: id, Text: text}) }

func (v visitor) next() message {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 10*time.Second)
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

func (v visitor) untilHere(names string) message {
	v.t.Helper()
	return v.until(func(m message) bool { return m.Data.Type == "here" && m.names() == names })
}

func newChat(t *testing.T) (http.Handler, *wschannels.ChannelBox) {
	t.Helper()
	h, box, err := newServer(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := box.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return h, box
}
