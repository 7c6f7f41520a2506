package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// subprotocol is the one that the server speaks. A page offers it together with
// its token, as browsers let it set no other header of a WebSocket request, and
// the URL is no place for a secret.
const subprotocol = "guarded"

// Five connections, and five messages on each, in any ten seconds.
const (
	limit  = 5
	window = 10 * time.Second
)

// newServer returns the endpoints and the box that their channels live in.
func newServer(token string, logger *slog.Logger) (http.Handler, *wschannels.ChannelBox, error) {
	box, err := wschannels.New(&wschannels.Options{
		Accept: websocket.AcceptOptions{Subprotocols: []string{subprotocol}},
		Channel: wschannels.ChannelOptions{
			ReadLimit:     4 << 10,
			MessageLimit:  limit,
			MessageWindow: window,
			MaxLifetime:   time.Hour, // then the token is asked for again
		},
		Logger: logger,
	})
	if err != nil {
		return nil, nil, err
	}
	// Each endpoint has a limiter of its own, so that one shows what it does
	// while the other is still open.
	late, err := wschannels.NewRateLimiter(limit, window, nil)
	if err != nil {
		return nil, nil, err
	}
	early, err := wschannels.NewRateLimiter(limit, window, nil)
	if err != nil {
		return nil, nil, err
	}
	auth := wschannels.Auth(hasToken(token))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	// The limits come first: they bound the guessing of tokens, too. After the
	// upgrade a browser is told why (4002); before it, the server does less (429).
	mux.Handle("GET /ws", box.Handler(takeOrders, late.Middleware(), auth))
	mux.Handle("GET /strict", early.HTTP(box.Handler(takeOrders, auth)))
	return mux, box, nil
}

// hasToken returns a check that takes as long for a token that is nearly right
// as for one that is all wrong.
func hasToken(token string) func(context.Context, *wschannels.Channel) error {
	want := sha256.Sum256([]byte(token))
	return func(_ context.Context, c *wschannels.Channel) error {
		got := sha256.Sum256([]byte(tokenOf(c.Request())))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 0 {
			return errors.New("wrong token")
		}
		return nil
	}
}

// tokenOf reads a program's Authorization header or a page's "token." offer.
func tokenOf(r *http.Request) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	for offer := range strings.SplitSeq(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",") {
		if token, ok := strings.CutPrefix(strings.TrimSpace(offer), "token."); ok {
			return token
		}
	}
	return ""
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
