package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// newServer returns the notification desk and the box that its channels live in.
func newServer(logger *slog.Logger) (http.Handler, *wschannels.ChannelBox, error) {
	box, err := wschannels.New(&wschannels.Options{
		Channel: wschannels.ChannelOptions{ReadLimit: 1 << 10, Heartbeat: 15 * time.Second, HeartbeatTimeout: 10 * time.Second},
		Events:  wschannels.Events{OnConnect: greet},

		// What waits for one person, and for how long.
		MailboxBytes: 64 << 10,
		MailboxTTL:   24 * time.Hour,
		MaxChannels:  10_000,
		Logger:       logger,
	})
	if err != nil {
		return nil, nil, err
	}
	desk := &desk{box: box}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	mux.Handle("GET /ws", box.Handler(nil, wschannels.Auth(identify))) // nil: nothing but events
	mux.HandleFunc("POST /notify/{user}", desk.notifyUser)
	mux.HandleFunc("POST /send/{channel}", desk.notifyChannel)
	return http.NewCrossOriginProtection().Handler(mux), box, nil
}

// identify says whose channel c is, and so gets it what waits for them. Here
// everybody is who they say; a real program asks its session.
func identify(_ context.Context, c *wschannels.Channel) error {
	user := c.Request().URL.Query().Get("user")
	if err := validUser(user); err != nil {
		return err
	}
	return c.SetUser(user)
}

// welcome tells a page which channel it is.
type welcome struct {
	Type    string    `json:"type"` // "welcome"
	User    string    `json:"user"`
	Channel uuid.UUID `json:"channel"`
}

func greet(ctx context.Context, c *wschannels.Channel) error {
	return c.Send(ctx, welcome{Type: "welcome", User: c.User(), Channel: c.ID()})
}

//go:embed page.html
var page string

// servePage sends the page, which may run its own script and talk to its own
// server, and nothing else.
func servePage(w http.ResponseWriter, _ *http.Request) {
	nonce := rand.Text()
	w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; "+
		"script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+"'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store") // a nonce is for one view
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = strings.NewReplacer("NONCE", nonce).WriteString(w, page) // an error means that the browser left
}
