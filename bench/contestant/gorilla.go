package contestant

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/gorilla/websocket"
)

const gorillaModule = "github.com/gorilla/websocket"

var gorillaChat = Contestant{
	Name:   "gorilla",
	Module: gorillaModule,
	Setup: "The shape of its chat example, one hub a group: a hub goroutine, two pump goroutines and a send " +
		"channel for each client, buffers of 1,024 bytes, pings, and a client whose channel is full is " +
		"closed. The channel's 256 messages are raised where the window is longer. The example joins waiting " +
		"messages with newlines into one frame; here a message has to be a frame, so it is one WriteMessage " +
		"for each. Compression is EnableCompression at the default level 1, once for each member.",
	New: func(cfg Config) Hub {
		return newChat(cfg,
			func(payload []byte) []byte { return payload },
			func(conn *websocket.Conn, m []byte) error { return conn.WriteMessage(websocket.TextMessage, m) })
	},
}

var gorillaPrepared = Contestant{
	Name:   "gorilla-prepared",
	Module: gorillaModule,
	Setup: "The same with a PreparedMessage for each broadcast, which its documentation recommends for sending " +
		"one message to many connections: the frame is built, and compressed, once.",
	New: func(cfg Config) Hub {
		return newChat(cfg,
			func(payload []byte) *websocket.PreparedMessage {
				m, _ := websocket.NewPreparedMessage(websocket.TextMessage, payload) // writes to memory: nothing can fail
				return m
			},
			(*websocket.Conn).WritePreparedMessage)
	},
}

// chat is the server. M is what a message is on its way to the clients.
type chat[M any] struct {
	upgrader    websocket.Upgrader
	buffer      int
	prepare     func(payload []byte) M
	write       func(*websocket.Conn, M) error
	ready, left M

	conns         conns[*websocket.Conn]
	members, slow atomic.Int64

	mu    sync.Mutex // guards rooms
	rooms map[string]*chatRoom[M]
	quit  chan struct{} // closed when no connections are left
	once  sync.Once     // closes quit
	wg    sync.WaitGroup
}

func newChat[M any](cfg Config, prepare func([]byte) M, write func(*websocket.Conn, M) error) Hub {
	return &chat[M]{
		upgrader: websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024, EnableCompression: cfg.Compress},
		buffer:   cfg.buffer(256),
		prepare:  prepare,
		write:    write,
		ready:    prepare([]byte("ready")),
		left:     prepare([]byte("left")),
		rooms:    make(map[string]*chatRoom[M]),
		quit:     make(chan struct{}),
	}
}

func (h *chat[M]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := h.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	if !h.conns.add(conn, 2) {
		_ = conn.Close()
		return
	}
	c := &chatClient[M]{chat: h, room: h.room(r.URL.Query().Get("group")), conn: conn, send: make(chan M, h.buffer)}
	c.room.join <- c
	go c.writePump()
	go c.readPump()
}

// room returns the room of that name. It lives until the server ends, as the example's
// hub does.
func (h *chat[M]) room(name string) *chatRoom[M] {
	h.mu.Lock()
	defer h.mu.Unlock()
	room := h.rooms[name]
	if room == nil {
		room = &chatRoom[M]{
			chat:      h,
			clients:   make(map[*chatClient[M]]bool),
			join:      make(chan *chatClient[M]),
			leave:     make(chan *chatClient[M]),
			gone:      make(chan *chatClient[M]),
			broadcast: make(chan M),
		}
		h.rooms[name] = room
		h.wg.Go(room.run)
	}
	return room
}

func (h *chat[M]) Broadcast(group string, payload []byte) {
	select {
	case h.room(group).broadcast <- h.prepare(payload):
	case <-h.quit:
	}
}

func (h *chat[M]) Members() int { return int(h.members.Load()) }

func (h *chat[M]) Counts() map[string]int64 {
	return map[string]int64{"slow_closed": h.slow.Load()}
}

func (h *chat[M]) Close() {
	h.conns.close(func(conn *websocket.Conn) { _ = conn.Close() })
	h.once.Do(func() { close(h.quit) })
	h.wg.Wait()
}
