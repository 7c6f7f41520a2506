package main

import (
	"crypto/rand"
	_ "embed"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/wschannels/wschannels"
)

// history is what a room remembers. A replay fits in a channel's queue (1 MiB): a slow
// page does not wait to join.
var history = wschannels.HistoryLimits{Bytes: 256 << 10, Len: 1000}

// newServer returns the chat as the node serves it, and the box that its channels live in.
func newServer(node string, broker wschannels.Broker, logger *slog.Logger) (http.Handler, *wschannels.ChannelBox, error) {
	chat := &rooms{node: node, logger: logger}
	box, err := wschannels.New(&wschannels.Options{
		// What makes many boxes one:
		Broker:   broker,
		Node:     node,
		Presence: &wschannels.PresenceOptions{},
		Events:   wschannels.Events{OnPresence: chat.presence},

		// While the broker is away, a node goes on by itself, and sends wait no longer than:
		LocalFallback: true,
		BrokerTimeout: 2 * time.Second,

		Channel: wschannels.ChannelOptions{
			Envelope:         true, // pages learn each line's place, to come back to it
			ReadLimit:        16 << 10,
			MessageLimit:     60,
			MessageWindow:    10 * time.Second,
			Heartbeat:        15 * time.Second, // who vanished silently leaves the list
			HeartbeatTimeout: 10 * time.Second,
		},
		MaxChannels: 10_000,
		Logger:      logger,
	})
	if err != nil {
		return nil, nil, err
	}
	chat.box = box

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", http.RedirectHandler("/lobby", http.StatusFound))
	mux.HandleFunc("GET /{room}", servePage)
	mux.Handle("GET /ws/{room}", box.Handler(chat.serve, admit))
	return mux, box, nil
}

//go:embed page.html
var page string

// servePage sends the page, which may run its own script and talk to its own
// server, and nothing else.
func servePage(w http.ResponseWriter, r *http.Request) {
	if err := validRoom(r.PathValue("room")); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	nonce := rand.Text()
	w.Header().Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; "+
		"script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+"'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store") // a nonce is for one view
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = strings.NewReplacer("NONCE", nonce).WriteString(w, page) // an error means that the browser left
}
