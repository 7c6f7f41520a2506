package contestant

import (
	"errors"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/olahol/melody"
)

var melodyRooms = Contestant{
	Name:   "melody",
	Module: "github.com/olahol/melody",
	Setup: "melody.New with its defaults, pings included; MessageBufferSize is raised from 256 where the window " +
		"is longer. melody has no rooms. Its way to reach some sessions is BroadcastFilter, which asks every " +
		"session of the server for each message; we keep a list of sessions a group instead and call " +
		"Session.Write for each, as BroadcastMultiple does, which is much faster with many groups, and does " +
		"not stop at a session that has just closed. What does not fit a buffer is dropped: melody tells an " +
		"error handler, and we count. Compression is the upgrader's EnableCompression, at gorilla's default " +
		"level 1, once for each member.",
	New: newMelody,
}

type melodyHub struct {
	melody        *melody.Melody
	groups        groups[*melody.Session]
	conns         conns[*melody.Session]
	dropped, slow atomic.Int64
}

func newMelody(cfg Config) Hub {
	h := &melodyHub{melody: melody.New()}
	h.melody.Config.MessageBufferSize = cfg.buffer(h.melody.Config.MessageBufferSize)
	h.melody.Upgrader.EnableCompression = cfg.Compress
	h.melody.HandleConnect(func(s *melody.Session) {
		if !h.conns.add(s, 1) {
			_ = s.Close() // fails if it has been closed
			return
		}
		h.groups.add(melodyGroup(s), s)
		_ = s.Write([]byte("ready")) // errors go to the handler below
	})
	h.melody.HandleDisconnect(func(s *melody.Session) {
		h.groups.remove(melodyGroup(s), s)
		if h.conns.remove(s) {
			h.conns.done()
		}
	})
	h.melody.HandleMessage(func(s *melody.Session, p []byte) {
		if string(p) == "leave" {
			h.groups.remove(melodyGroup(s), s)
			_ = s.Write([]byte("left"))
		}
	})
	h.melody.HandleError(func(_ *melody.Session, err error) {
		var op *net.OpError
		switch {
		case errors.Is(err, melody.ErrMessageBufferFull):
			h.dropped.Add(1)
		case errors.As(err, &op) && op.Op == "write" && op.Timeout():
			h.slow.Add(1)
		}
	})
	return h
}

func melodyGroup(s *melody.Session) string { return s.Request.URL.Query().Get("group") }

func (h *melodyHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = h.melody.HandleRequest(w, r) // on an error the upgrader has answered
}

func (h *melodyHub) Broadcast(group string, payload []byte) {
	h.groups.each(group, func(s *melody.Session) bool {
		_ = s.Write(payload) // fails for a session that is about to leave the group
		return true
	})
}

func (h *melodyHub) Members() int { return h.groups.len() }

func (h *melodyHub) Counts() map[string]int64 {
	return map[string]int64{"slow_closed": h.slow.Load(), "dropped": h.dropped.Load()}
}

// Close ends melody itself last: a session that ends at the same moment as melody may
// wait for it for ever.
func (h *melodyHub) Close() {
	h.conns.close(func(s *melody.Session) { _ = s.Close() })
	_ = h.melody.Close()
}
