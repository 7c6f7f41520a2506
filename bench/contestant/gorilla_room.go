package contestant

import (
	"time"

	"github.com/gorilla/websocket"
)

// The times of the chat example.
const (
	chatWriteWait = 10 * time.Second
	chatPongWait  = 60 * time.Second
	chatPing      = chatPongWait * 9 / 10
)

// A chatRoom is one hub of the chat example: a goroutine that alone knows the clients.
type chatRoom[M any] struct {
	chat      *chat[M]
	clients   map[*chatClient[M]]bool // false: has left, but is connected
	join      chan *chatClient[M]
	leave     chan *chatClient[M]
	gone      chan *chatClient[M]
	broadcast chan M
}

// run is the room's goroutine.
func (r *chatRoom[M]) run() {
	for {
		select {
		case c := <-r.join:
			r.clients[c] = true
			r.chat.members.Add(1)
			r.offer(c, r.chat.ready)
		case c := <-r.leave:
			if r.clients[c] {
				r.clients[c] = false
				r.chat.members.Add(-1)
				r.offer(c, r.chat.left)
			}
		case c := <-r.gone:
			r.drop(c)
		case m := <-r.broadcast:
			for c, member := range r.clients {
				if member {
					r.offer(c, m)
				}
			}
		case <-r.chat.quit:
			return
		}
	}
}

// offer gives c a message, or closes c if its channel is full.
func (r *chatRoom[M]) offer(c *chatClient[M], m M) {
	select {
	case c.send <- m:
	default:
		r.chat.slow.Add(1)
		r.drop(c)
	}
}

// drop forgets c, and ends its writePump, if that has not been done.
func (r *chatRoom[M]) drop(c *chatClient[M]) {
	member, ok := r.clients[c]
	if !ok {
		return
	}
	if member {
		r.chat.members.Add(-1)
	}
	delete(r.clients, c)
	close(c.send)
}

// A chatClient stands between a connection and its room.
type chatClient[M any] struct {
	chat *chat[M]
	room *chatRoom[M]
	conn *websocket.Conn
	send chan M
}

// readPump reads until the connection ends.
func (c *chatClient[M]) readPump() {
	defer c.chat.conns.done()
	defer c.chat.conns.remove(c.conn)
	defer c.conn.Close()
	defer func() { c.room.gone <- c }()
	c.conn.SetReadLimit(512)
	alive := func(string) error { return c.conn.SetReadDeadline(time.Now().Add(chatPongWait)) }
	_ = alive("") // if it fails, so does reading
	c.conn.SetPongHandler(alive)
	for {
		_, p, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		if string(p) == "leave" {
			c.room.leave <- c
		}
	}
}

// writePump writes what the room sends, and pings, until one of them ends the other.
func (c *chatClient[M]) writePump() {
	defer c.chat.conns.done()
	defer c.conn.Close()
	ping := time.NewTicker(chatPing)
	defer ping.Stop()
	for {
		var err error
		select {
		case m, ok := <-c.send:
			_ = c.conn.SetWriteDeadline(time.Now().Add(chatWriteWait)) // remembered: it cannot fail
			if !ok {
				_ = c.conn.WriteMessage(websocket.CloseMessage, nil) // the last thing there is to do
				return
			}
			err = c.chat.write(c.conn, m)
		case <-ping.C:
			_ = c.conn.SetWriteDeadline(time.Now().Add(chatWriteWait))
			err = c.conn.WriteMessage(websocket.PingMessage, nil)
		}
		if err != nil {
			return
		}
	}
}
