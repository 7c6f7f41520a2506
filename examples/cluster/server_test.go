package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

func TestLinesReachEverybodyOnEveryNode(t *testing.T) {
	a, b := newNodes(t)
	ann, ben := visit(t, a, "Ann", ""), visit(t, b, "Ben", "")
	ann.untilType("welcome")
	ben.untilType("welcome")
	ann.say("1", "<b>hello</b>")
	var places []uint64
	for _, v := range []visitor{ann, ben} {
		m := v.untilType("line")
		if d := m.Data; d.Name != "Ann" || d.Node != "a" || d.ID != "1" || d.Text != "<b>hello</b>" || m.Group != "lobby" || m.Epoch == "" {
			t.Errorf("got %+v", m)
		}
		places = append(places, m.Seq)
	}
	if places[0] == 0 || places[0] != places[1] {
		t.Errorf("the line has the places %v", places)
	}
}

func TestAPageComesBackOnAnotherNode(t *testing.T) {
	a, b := newNodes(t)
	ann, ben := visit(t, a, "Ann", ""), visit(t, b, "Ben", "")
	ann.untilType("welcome")
	ben.say("0", "the last that Ann sees")
	seen := ann.untilType("line")
	for i := range 5 {
		ben.say(fmt.Sprint(i+1), "meanwhile")
	}
	ben.until(func(m message) bool { return m.Data.ID == "5" })

	got := ""
	back := visit(t, b, "Ann", fmt.Sprintf("&epoch=%s&seq=%d", url.QueryEscape(seen.Epoch), seen.Seq))
	m := back.until(func(m message) bool {
		if m.Data.Type == "line" {
			got += m.Data.ID
		}
		return m.Data.Type == "welcome"
	})
	if got != "12345" || !m.Data.Recovered || m.Data.Node != "b" {
		t.Errorf("replayed %q, recovered %v on node %q; want 12345, true, b", got, m.Data.Recovered, m.Data.Node)
	}
}

func TestWhoIsHereAndOnWhichNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNodes(t)
		ann := visit(t, a, "Ann", "")
		if m := ann.untilType("welcome"); m.here() != "Ann@a" {
			t.Errorf("Ann sees %s", m.here())
		}
		time.Sleep(time.Second)
		ben := visit(t, b, "Ben", "")
		if m := ben.untilType("welcome"); m.here() != "Ann@a Ben@b" {
			t.Errorf("Ben sees %s", m.here())
		}
		ann.untilCame("Ben", "b")

		gone := time.Now()
		_ = ben.conn.CloseNow()
		if m := ann.untilType("left"); m.Data.Name != "Ben" {
			t.Errorf("%s has left", m.Data.Name)
		}
		if d := time.Since(gone); d < time.Second || d > 10*time.Second {
			t.Errorf("Ann hears of it after %v", d)
		}
	})
}

func TestWhoMovesToAnotherNodeWasNeverAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNodes(t)
		ben := visit(t, b, "Ben", "")
		ben.untilType("welcome")
		ann := visit(t, a, "Ann", "")
		ben.untilCame("Ann", "a")
		_ = ann.conn.CloseNow()
		time.Sleep(time.Second)
		ann = visit(t, b, "Ann", "")
		ben.untilCame("Ann", "b")
		time.Sleep(12 * time.Second) // past the grace, and before a ping that nobody answers
		ann.say("1", "still here")
		ben.until(func(m message) bool {
			if m.Data.Type == "left" {
				t.Errorf("Ben was told that %s has left", m.Data.Name)
			}
			return m.Data.Type == "line"
		})
	})
}

func TestTwoWindowsAreOnePerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNodes(t)
		ben := visit(t, b, "Ben", "")
		ben.untilType("welcome")
		time.Sleep(time.Second)
		visit(t, a, "Ann", "").untilType("welcome")
		time.Sleep(time.Second)
		second := visit(t, b, "Ann", "")
		if m := second.untilType("welcome"); m.here() != "Ben@b Ann@b" {
			t.Errorf("Ann sees %s", m.here())
		}
		ben.untilCame("Ann", "b")
		_ = second.conn.CloseNow()
		ben.untilCame("Ann", "a") // where the first still is
	})
}

// away is an engine that cannot be reached.
type away struct {
	wschannels.Broker
	wschannels.PresenceBroker
}

func (away) Publish(context.Context, *wschannels.Publication) error { return wschannels.ErrUnavailable }

func (away) Subscribe(context.Context, string, wschannels.Subscriber) error {
	return wschannels.ErrUnavailable
}

func (away) Position(context.Context, string) (wschannels.Position, error) {
	return wschannels.Position{}, wschannels.ErrUnavailable
}

func (away) Renew(context.Context, string, time.Duration) ([]string, error) {
	return nil, wschannels.ErrUnavailable
}

func (away) SetPresence(context.Context, string, ...wschannels.PresenceEntry) error {
	return wschannels.ErrUnavailable
}

func (away) Presence(context.Context, string) ([]wschannels.PresenceEntry, error) {
	return nil, wschannels.ErrUnavailable
}

func TestWithoutTheEngineANodeGoesOnByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newNode(t, "a", away{Broker: newEngine(t)})
		ann := visit(t, a, "Ann", "")
		if m := ann.untilType("welcome"); m.Data.Epoch != "" || m.here() != "Ann@a" {
			t.Errorf("Ann is welcomed with %+v", m)
		}
		ben := visit(t, a, "Ben", "")
		ben.untilType("welcome")
		ann.untilCame("Ben", "a")
		ben.say("1", "is anybody there?")
		if m := ann.untilType("line"); m.Seq != 0 || m.Epoch != "" || m.Group != "lobby" {
			t.Errorf("got %+v, want a line without a place", m)
		}
	})
}

func TestInvalidMessages(t *testing.T) {
	a, _ := newNode(t, "a", newEngine(t))
	ann := visit(t, a, "Ann", "")
	ann.untilType("welcome")
	for _, raw := range []string{
		`not json`, `[]`, `{"type":"shout"}`, `{"type":"say","text":"no id"}`, `{"type":"say","id":"1","text":" "}`,
		`{"type":"say","id":"1","text":"` + strings.Repeat("x", 2001) + `"}`,
	} {
		if err := ann.conn.Write(t.Context(), websocket.MessageText, []byte(raw)); err != nil {
			t.Fatal(err)
		}
		m := ann.until(func(m message) bool { return m.Data.Type != "came" })
		if m.Data.Error != "Invalid message format" || m.Data.Details == "" {
			t.Errorf("%.40s: got %+v", raw, m)
		}
	}
	ann.say("1", strings.Repeat("é", 2000))
	ann.untilType("line") // still served
}

func TestWhoMayNotComeIn(t *testing.T) {
	a, box := newNode(t, "a", newEngine(t))
	for _, path := range []string{
		"/ws/lobby", "/ws/lobby?name=+Ann", "/ws/lobby?name=A%00nn", "/ws/lobby?name=" + strings.Repeat("x", 33),
		"/ws/" + strings.Repeat("x", 49) + "?name=Ann",
	} {
		_, _, err := wschannelstest.Dial(t, a, path).Read(t.Context())
		if code := websocket.CloseStatus(err); code != statusBadRequest {
			t.Errorf("%.40s: closed with %d, want %d", path, code, statusBadRequest)
		}
	}
	if n := len(box.Channels()); n != 0 {
		t.Errorf("%d channels in the box, want 0", n)
	}
}

func TestPage(t *testing.T) {
	a, _ := newNode(t, "a", newEngine(t))
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := get("/"); w.Code != http.StatusFound || w.Header().Get("Location") != "/lobby" {
		t.Errorf("/: %d to %q, want 302 to /lobby", w.Code, w.Header().Get("Location"))
	}
	if w := get("/" + strings.Repeat("x", 49)); w.Code != http.StatusNotFound {
		t.Errorf("a long room: %d, want 404", w.Code)
	}
	w := get("/lobby")
	_, rest, _ := strings.Cut(w.Header().Get("Content-Security-Policy"), "script-src 'nonce-")
	nonce, _, _ := strings.Cut(rest, "'")
	if nonce == "" || strings.Count(w.Body.String(), nonce) != 2 || strings.Contains(w.Body.String(), "NONCE") {
		t.Errorf("nonce %q is not that of the style and the script", nonce)
	}
	if strings.Contains(get("/lobby").Body.String(), nonce) {
		t.Error("two views have the same nonce")
	}
}
