package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

func newDesk(t *testing.T) (http.Handler, *wschannels.ChannelBox) {
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

// post sends a note and returns the status and the receipt.
func post(t *testing.T, h http.Handler, path, contentType, body string) (int, receipt) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var got receipt
	if w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
	}
	return w.Code, got
}

func notify(t *testing.T, h http.Handler, user, text string) receipt {
	t.Helper()
	code, got := post(t, h, "/notify/"+url.PathEscape(user), "application/json", fmt.Sprintf(`{"from":"Ben","text":%q}`, text))
	if code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	return got
}

// next returns the next message of conn that is of the type.
func next(t *testing.T, conn *websocket.Conn, typ string) (m struct {
	Type, From, Text, Channel string
}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for m.Type != typ {
		_, data, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
	}
	return m
}

func TestDeliveredNow(t *testing.T) {
	h, _ := newDesk(t)
	one := wschannelstest.Dial(t, h, "/ws?user=Ann")
	two := wschannelstest.Dial(t, h, "/ws?user=Ann")
	next(t, one, "welcome")
	next(t, two, "welcome")
	if got := notify(t, h, "Ann", "lunch?"); got.Delivered != 2 || got.Waiting != 0 {
		t.Errorf("got %+v, want both windows", got)
	}
	for _, conn := range []*websocket.Conn{one, two} {
		if m := next(t, conn, "notification"); m.From != "Ben" || m.Text != "lunch?" {
			t.Errorf("got %+v", m)
		}
	}
}

func TestKeptWhileAway(t *testing.T) {
	h, _ := newDesk(t)
	for i := range 3 {
		if got := notify(t, h, "Zoë", fmt.Sprint(i)); got.Delivered != 0 || got.Waiting != 1 {
			t.Errorf("note %d: got %+v, want it to wait", i, got)
		}
	}
	conn := wschannelstest.Dial(t, h, "/ws?user="+url.QueryEscape("Zoë"))
	for i := range 3 {
		if m := next(t, conn, "notification"); m.Text != fmt.Sprint(i) {
			t.Errorf("got %q, want %d", m.Text, i)
		}
	}
}

func TestSendToOneWindow(t *testing.T) {
	h, _ := newDesk(t)
	conn := wschannelstest.Dial(t, h, "/ws?user=Ann")
	path := "/send/" + next(t, conn, "welcome").Channel
	const form = "application/x-www-form-urlencoded"
	if code, got := post(t, h, path, form, "from=Ben&text=here"); code != http.StatusOK || got.Delivered != 1 {
		t.Errorf("got %d, %+v", code, got)
	}
	if m := next(t, conn, "notification"); m.Text != "here" {
		t.Errorf("got %+v", m)
	}
	if code, _ := post(t, h, "/send/6ba7b810-9dad-11d1-80b4-00c04fd430c8", form, "from=Ben&text=here"); code != http.StatusNotFound {
		t.Errorf("no such channel: %d, want 404", code)
	}
}

func TestRefusals(t *testing.T) {
	h, box := newDesk(t)
	const jsonType = "application/json"
	for _, tt := range []struct{ name, path, contentType, body string }{
		{"no JSON", "/notify/Ann", jsonType, "hello"},
		{"no sender", "/notify/Ann", jsonType, `{"text":"hello"}`},
		{"no text", "/notify/Ann", jsonType, `{"from":"Ben","text":" "}`},
		{"long text", "/notify/Ann", jsonType, `{"from":"Ben","text":"` + strings.Repeat("x", 501) + `"}`},
		{"long name", "/notify/" + strings.Repeat("x", 33), jsonType, `{"from":"Ben","text":"hello"}`},
		{"huge body", "/notify/Ann", "application/x-www-form-urlencoded", "from=Ben&text=" + strings.Repeat("x", 17<<10)},
		{"no channel", "/send/ann", jsonType, `{"from":"Ben","text":"hello"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code, _ := post(t, h, tt.path, tt.contentType, tt.body); code != http.StatusBadRequest {
				t.Errorf("status %d, want 400", code)
			}
		})
	}
	t.Run("another site", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "/notify/Ann", strings.NewReader("from=Ben&text=hello"))
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("status %d, want 403", w.Code)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		_, _, err := wschannelstest.Dial(t, h, "/ws").Read(t.Context())
		if code := websocket.CloseStatus(err); code != wschannels.StatusUnauthorized {
			t.Errorf("closed with %d, want 4001", code)
		}
	})
	if n := box.Stats().MailboxBytes; n != 0 {
		t.Errorf("%d bytes in mailboxes, want none", n)
	}
}

func TestPage(t *testing.T) {
	h, _ := newDesk(t)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if csp := w.Header().Get("Content-Security-Policy"); w.Code != http.StatusOK || !strings.Contains(csp, "'nonce-") {
		t.Errorf("%d with policy %q", w.Code, csp)
	}
}
