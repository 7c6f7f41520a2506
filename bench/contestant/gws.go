package contestant

import (
	"compress/flate"
	"net/http"
	"time"

	"github.com/lxzan/gws"
)

var gwsBroadcaster = Contestant{
	Name:   "gws",
	Module: "github.com/lxzan/gws",
	Setup: "As under Best Practice and Broadcast in its README: ParallelEnabled, Recovery, ReadLoop on a " +
		"goroutine of its own, and a Broadcaster for each message, which frames and compresses it once. gws " +
		"has no groups: we keep a list of connections a group. Its deadlines, which clients push back with " +
		"pings of their own, are left out, as the clients here send none; so nothing bounds a member's queue " +
		"or ends a member that does not read. Text is not checked for UTF-8, which is its default. " +
		"Compression is at level 1 with no threshold; gws uses klauspost/compress, a faster flate than the " +
		"standard library's.",
	New: newGWS,
}

// gwsHub is the hub, and the handler of what happens on its connections.
type gwsHub struct {
	gws.BuiltinEventHandler
	upgrader *gws.Upgrader
	groups   groups[*gws.Conn]
	conns    conns[*gws.Conn]
}

func newGWS(cfg Config) Hub {
	h := new(gwsHub)
	h.upgrader = gws.NewUpgrader(h, &gws.ServerOption{
		ParallelEnabled: true,
		Recovery:        gws.Recovery,
		PermessageDeflate: gws.PermessageDeflate{
			Enabled:   cfg.Compress,
			Level:     flate.BestSpeed,
			Threshold: 1,
		},
		Authorize: func(r *http.Request, session gws.SessionStorage) bool {
			session.Store("group", r.URL.Query().Get("group"))
			return true
		},
	})
	return h
}

func (h *gwsHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	socket, err := h.upgrader.Upgrade(w, r)
	if err != nil {
		return
	}
	if !h.conns.add(socket, 1) {
		_ = socket.WriteClose(1001, nil)
		return
	}
	go func() {
		defer h.conns.done()
		defer h.conns.remove(socket)
		socket.ReadLoop()
	}()
}

func gwsGroup(socket *gws.Conn) string {
	group, _ := socket.Session().Load("group")
	name, _ := group.(string)
	return name
}

// OnOpen lets a connection in.
func (h *gwsHub) OnOpen(socket *gws.Conn) {
	h.groups.add(gwsGroup(socket), socket)
	socket.WriteAsync(gws.OpcodeText, []byte("ready"), nil)
}

// OnMessage takes it out of its group. "left" has to stay behind the broadcasts that
// wait for it, and so goes through the same queue.
func (h *gwsHub) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	if string(message.Bytes()) == "leave" {
		h.groups.remove(gwsGroup(socket), socket)
		socket.WriteAsync(gws.OpcodeText, []byte("left"), nil)
	}
}

// OnClose is told when it has closed.
func (h *gwsHub) OnClose(socket *gws.Conn, _ error) { h.groups.remove(gwsGroup(socket), socket) }

func (h *gwsHub) Broadcast(group string, payload []byte) {
	b := gws.NewBroadcaster(gws.OpcodeText, payload)
	defer b.Close()
	h.groups.each(group, func(socket *gws.Conn) bool {
		_ = b.Broadcast(socket) // OnClose is told of what goes wrong
		return true
	})
}

func (h *gwsHub) Members() int { return h.groups.len() }

func (h *gwsHub) Counts() map[string]int64 { return nil }

func (h *gwsHub) Close() {
	h.conns.close(func(socket *gws.Conn) {
		// The close frame waits for the write before it, which may be stuck.
		_ = socket.NetConn().SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_ = socket.WriteClose(1001, nil)
	})
}
