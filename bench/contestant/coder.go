package contestant

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

var coderChat = Contestant{
	Name:   "coder",
	Module: "github.com/coder/websocket",
	Setup: "The shape of its chat example: a subscriber has a channel of messages and a goroutine that writes " +
		"them, each with a timeout of 5 seconds; publishing does not wait, and closes a subscriber whose " +
		"channel is full. The channel's 16 messages are raised to the window, except in the slow-member " +
		"scenario. The example's limit of the publishing rate is left out, and its CloseRead is a goroutine " +
		"of ours that reads, as it has to see the client leave. Compression is CompressionNoContextTakeover " +
		"with no threshold, once for each member.",
	New: newCoder,
}

type coderHub struct {
	accept websocket.AcceptOptions
	buffer int
	groups groups[*subscriber]
	conns  conns[*websocket.Conn]
	slow   atomic.Int64
}

// A subscriber is a connection and what it has yet to be sent.
type subscriber struct {
	conn     *websocket.Conn
	messages chan []byte
}

func newCoder(cfg Config) Hub {
	h := &coderHub{buffer: cfg.buffer(16)}
	if cfg.Compress {
		h.accept.CompressionMode = websocket.CompressionNoContextTakeover
		h.accept.CompressionThreshold = 1
	}
	return h
}

func (h *coderHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &h.accept)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	if !h.conns.add(conn, 2) {
		return
	}
	defer h.conns.done()
	defer h.conns.remove(conn)
	s := &subscriber{conn: conn, messages: make(chan []byte, h.buffer)}
	group := r.URL.Query().Get("group")
	h.groups.add(group, s)
	defer h.groups.remove(group, s)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer h.conns.done()
		defer cancel()
		h.read(ctx, group, s)
	}()
	s.write(ctx)
}

// read reads until the connection ends.
func (h *coderHub) read(ctx context.Context, group string, s *subscriber) {
	for {
		_, p, err := s.conn.Read(ctx)
		if err != nil {
			return
		}
		if string(p) != "leave" {
			continue
		}
		h.groups.remove(group, s)
		select {
		case s.messages <- []byte("left"):
		case <-ctx.Done():
		}
	}
}

// write writes until the connection ends.
func (s *subscriber) write(ctx context.Context) {
	err := s.writeOne(ctx, []byte("ready"))
	for err == nil {
		select {
		case m := <-s.messages:
			err = s.writeOne(ctx, m)
		case <-ctx.Done():
			return
		}
	}
}

func (s *subscriber) writeOne(ctx context.Context, m []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, m)
}

func (h *coderHub) Broadcast(group string, payload []byte) {
	h.groups.each(group, func(s *subscriber) bool {
		select {
		case s.messages <- payload:
			return true
		default:
			h.slow.Add(1)
			// Close waits for the client. The subscriber's own goroutines are not done yet,
			// as it was a member, so one more can be waited for.
			h.conns.wg.Go(func() {
				_ = s.conn.Close(websocket.StatusPolicyViolation, "connection too slow to keep up with messages")
			})
			return false
		}
	})
}

func (h *coderHub) Members() int { return h.groups.len() }

func (h *coderHub) Counts() map[string]int64 {
	return map[string]int64{"slow_closed": h.slow.Load()}
}

func (h *coderHub) Close() {
	h.conns.close(func(conn *websocket.Conn) { _ = conn.CloseNow() })
}
