package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels/wschannelstest"
)

const testToken = "open-sesame"

func newGuarded(t *testing.T) http.Handler {
	t.Helper()
	h, box, err := newServer(testToken, slog.New(slog.DiscardHandler))
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
	return h
}

// bearing gives every request of h the header.
func bearing(h http.Handler, key, value string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(key, value)
		h.ServeHTTP(w, r)
	})
}

// ask sends raw and returns the answer, or the code that the server closed with.
func ask(t *testing.T, conn *websocket.Conn, raw string) (string, websocket.StatusCode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_ = conn.Write(ctx, websocket.MessageText, []byte(raw)) // it may be closed: Read says why
	_, answer, err := conn.Read(ctx)
	return strings.TrimSpace(string(answer)), websocket.CloseStatus(err)
}

func TestToken(t *testing.T) {
	h := newGuarded(t)
	for _, tt := range []struct {
		name, key, value string
		want             websocket.StatusCode
	}{
		{"none", "X-Other", "", 4001},
		{"wrong", "Authorization", "Bearer open-sesamf", 4001},
		{"of a program", "Authorization", "Bearer " + testToken, -1},
		{"of a page", "Sec-WebSocket-Protocol", "token." + testToken, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := wschannelstest.Dial(t, bearing(h, tt.key, tt.value), "/ws")
			if answer, code := ask(t, conn, `{"item":"tea","count":2}`); code != tt.want {
				t.Errorf("got %s, code %d; want code %d", answer, code, tt.want)
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	h := bearing(newGuarded(t), "Authorization", "Bearer "+testToken)
	for i := range limit + 1 {
		want := websocket.StatusCode(-1)
		if i == limit {
			want = 4002
		}
		conn := wschannelstest.Dial(t, h, "/ws")
		if answer, code := ask(t, conn, `{"item":"tea","count":2}`); code != want {
			t.Errorf("connection %d: got %s, code %d; want code %d", i+1, answer, code, want)
		}
	}
}

func TestTooManyRequests(t *testing.T) {
	h := newGuarded(t)
	for i := range limit + 1 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/strict", nil))
		if limited := w.Code == http.StatusTooManyRequests; limited != (i == limit) {
			t.Errorf("request %d: %d", i+1, w.Code)
		} else if limited && w.Header().Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
}

func TestMessages(t *testing.T) {
	h := bearing(newGuarded(t), "Authorization", "Bearer "+testToken)
	conn := wschannelstest.Dial(t, h, "/ws")
	for _, tt := range []struct{ raw, error, details string }{
		{`{"item":"tea","count":2}`, "", ""},
		{`{"item":"tea","count":10}`, "Invalid message format", "count must be from 1 to 9"},
		{`{"item":"","count":1}`, "Invalid message format", "item must have 1 to 40 characters"},
		{`tea`, "Invalid message format", ""},
		{`{"item":"tea","count":3}`, "", ""},
		{`{"item":"tea","count":4}`, "Too many messages", "at most 5 in 10 seconds"},
	} {
		raw, code := ask(t, conn, tt.raw)
		if code != -1 {
			t.Fatalf("%s: closed with %d", tt.raw, code)
		}
		var got struct {
			OK             bool
			Error, Details string
		}
		if err := json.Unmarshal([]byte(raw), &got); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if got.OK != (tt.error == "") || got.Error != tt.error || !strings.Contains(got.Details, tt.details) {
			t.Errorf("%s: got %s, want error %q, details %q", tt.raw, raw, tt.error, tt.details)
		}
	}
}

func TestPage(t *testing.T) {
	w := httptest.NewRecorder()
	newGuarded(t).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if csp := w.Header().Get("Content-Security-Policy"); w.Code != http.StatusOK || !strings.Contains(csp, "'nonce-") {
		t.Errorf("%d with policy %q", w.Code, csp)
	}
	if strings.Contains(w.Body.String(), testToken) {
		t.Error("the page gives the token away")
	}
}
