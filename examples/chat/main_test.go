package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels/wschannelstest"
)

func TestLinesReachEverybody(t *testing.T) {
	h, _ := newChat(t)
	ann := visit(t, h, "Ann", "")
	ann.untilType("welcome")
	ben := visit(t, h, "Ben", "")
	ann.untilHere("Ann Ben")
	ben.untilHere("Ann Ben")

	ann.say("1", "<b>hello</b>")
	for _, v := range []visitor{ann, ben} {
		m := v.untilType("line")
		if d := m.Data; d.Name != "Ann" || d.ID != "1" || d.Text != "<b>hello</b>" || m.Group != "lobby" || m.Seq == 0 || m.Epoch == "" {
			t.Errorf("got %+v", m)
		}
	}
}

func TestTypingReachesTheOthers(t *testing.T) {
	h, _ := newChat(t)
	ann := visit(t, h, "Ann", "")
	ann.untilHere("Ann") // one after the other, so that nothing of her arrival follows his
	ben := visit(t, h, "Ben", "")
	ann.untilHere("Ann Ben")
	ben.untilHere("Ann Ben")
	ann.send(inbound{Type: "typing", Typing: true})
	if m := ben.untilType("typing"); !m.Data.Typing {
		t.Errorf("Ben got %+v, want typing", m)
	}
	ann.say("1", "done")
	if m := ann.next(); m.Data.Type != "line" {
		t.Errorf("Ann got %+v, want only her own line", m)
	}
}

func TestWhoIsHereAfterAnAbruptEnd(t *testing.T) {
	h, _ := newChat(t)
	ann, ben := visit(t, h, "Ann", ""), visit(t, h, "Ben", "")
	ann.untilHere("Ann Ben")
	if err := ben.conn.CloseNow(); err != nil {
		t.Fatal(err)
	}
	ann.untilHere("Ann")
}

func TestReplay(t *testing.T) {
	h, box := newChat(t)
	ann := visit(t, h, "Ann", "")
	lines := map[string]message{}
	for i := range 5 {
		id := fmt.Sprint(i)
		ann.send(inbound{Type: "typing", Typing: true})
		ann.say(id, "line "+id)
		lines[id] = ann.untilType("line")
	}
	third := lines["2"]
	at := fmt.Sprintf("&epoch=%s&seq=%d", url.QueryEscape(third.Epoch), third.Seq)

	for _, tt := range []struct {
		name, query string
		recovered   bool
		want        string
	}{
		{"a new page", "", false, "01234"},
		{"a page that was away", at, true, "34"},
		{"a place in another epoch", "&epoch=other&seq=3", false, "01234"},
		{"a place in the future", fmt.Sprintf("&epoch=%s&seq=1000", url.QueryEscape(third.Epoch)), false, "01234"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			m := visit(t, h, "Ben", tt.query).until(func(m message) bool {
				if m.Data.Type == "line" {
					got += m.Data.ID
				}
				return m.Data.Type == "welcome"
			})
			if got != tt.want || m.Data.Recovered != tt.recovered {
				t.Errorf("replayed %s, recovered %v; want %s, %v", got, m.Data.Recovered, tt.want, tt.recovered)
			}
		})
	}

	t.Run("after the history was flushed", func(t *testing.T) {
		if err := box.FlushHistory(t.Context(), "lobby"); err != nil {
			t.Fatal(err)
		}
		if m := visit(t, h, "Ben", at).untilType("welcome"); m.Data.Recovered {
			t.Error("recovered, want not")
		}
	})
}

func TestInvalidMessages(t *testing.T) {
	h, _ := newChat(t)
	ann := visit(t, h, "Ann", "")
	ann.untilHere("Ann")
	for _, raw := range []string{
		`not json`, `[]`, `{"type":"shout"}`, `{"type":"say","text":"no id"}`, `{"type":"say","id":"1","text":" "}`,
		`{"type":"say","id":"1","text":"` + strings.Repeat("x", 2001) + `"}`,
	} {
		if err := ann.conn.Write(t.Context(), websocket.MessageText, []byte(raw)); err != nil {
			t.Fatal(err)
		}
		if m := ann.next(); m.Data.Error != "Invalid message format" || m.Data.Details == "" {
			t.Errorf("%.40s: got %+v", raw, m)
		}
	}
	ann.say("1", strings.Repeat("é", 2000))
	ann.untilType("line") // still served
}

func TestTooManyMessages(t *testing.T) {
	h, _ := newChat(t)
	ann := visit(t, h, "Ann", "")
	ann.untilHere("Ann")
	for i := range 61 {
		ann.say(fmt.Sprint(i), "again")
	}
	m := ann.until(func(m message) bool { return m.Data.Error != "" || m.Data.ID == "60" })
	if m.Data.Retry == 0 {
		t.Errorf("got %+v, want to be told to wait", m)
	}
}

func TestWhoMayNotComeIn(t *testing.T) {
	h, box := newChat(t)
	for _, path := range []string{
		"/ws/lobby", "/ws/lobby?name=+Ann", "/ws/lobby?name=A%00nn", "/ws/lobby?name=" + strings.Repeat("x", 33),
		"/ws/" + strings.Repeat("x", 49) + "?name=Ann",
	} {
		_, _, err := wschannelstest.Dial(t, h, path).Read(t.Context())
		if code := websocket.CloseStatus(err); code != statusBadRequest {
			t.Errorf("%.40s: closed with %d, want %d", path, code, statusBadRequest)
		}
	}
	if n := len(box.Channels()); n != 0 {
		t.Errorf("%d channels in the box, want 0", n)
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	h, box := newChat(t)
	ann := visit(t, h, "Ann", "")
	ann.untilHere("Ann")
	closed := make(chan error)
	go func() { // the client must read to answer the close
		for {
			if _, _, err := ann.conn.Read(t.Context()); err != nil {
				closed <- err
				return
			}
		}
	}()
	if err := box.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-closed; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("closed with %v, want 1001", err)
	}
}

func TestPage(t *testing.T) {
	h, _ := newChat(t)
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := get("/"); w.Code != http.StatusFound || w.Header().Get("Location") != "/lobby" {
		t.Errorf("/: %d to %q, want 302 to /lobby", w.Code, w.Header().Get("Location"))
	}
	if w := get("/" + strings.Repeat("x", 49)); w.Code != http.StatusNotFound {
		t.Errorf("a long room: %d, want 404", w.Code)
	}
	var nonces []string
	for range 2 {
		w := get("/lobby")
		_, rest, _ := strings.Cut(w.Header().Get("Content-Security-Policy"), "script-src 'nonce-")
		nonce, _, _ := strings.Cut(rest, "'")
		if nonce == "" || strings.Count(w.Body.String(), nonce) != 2 || strings.Contains(w.Body.String(), "NONCE") {
			t.Errorf("nonce %q is not that of the style and the script", nonce)
		}
		nonces = append(nonces, nonce)
	}
	if slices.Equal(nonces[:1], nonces[1:]) {
		t.Error("two views have the same nonce")
	}
}
