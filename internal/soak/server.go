package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// A server is the box and what is known about it from outside.
type server struct {
	cfg    *config
	box    *wschannels.ChannelBox
	http   *http.Server
	addr   string
	ledger ledger
	faults faults
	pause  time.Duration // the longest in which the process did nothing
	users  []user

	clients atomic.Pointer[[]*client]     // of this round
	issued  [publishers]map[string]uint64 // notes, by group; each is its publisher's
}

// A user is who a client is. Messages to it are numbered, in order.
type user struct {
	name   string
	shared bool       // by some clients
	mu     sync.Mutex // held while a message is sent: numbers are in the order of sending
	issued atomic.Uint64
}

// A visit is one connection, as both ends see it. It tells the client what the server
// is about to do to it, which the network may be unable to.
type visit struct {
	id      string
	channel atomic.Pointer[wschannels.Channel]
	closed  atomic.Bool // with statusAsked
	cut     atomic.Bool // without a close frame
	gone    atomic.Bool // its last event has been fired

	gapless bool // the client expects to see every message of its groups
}

const (
	statusAsked websocket.StatusCode = 4500 // the server felt like it
	statusQuit  websocket.StatusCode = 4501 // the client asked for it
)

type visitKey struct{}

func newServer(cfg *config) (*server, error) {
	s := &server{cfg: cfg, users: make([]user, cfg.conns)}
	for i := range s.users {
		s.users[i].name = fmt.Sprint("user", i)
		if s.users[i].shared = i%50 == 0; s.users[i].shared {
			s.users[i].name = fmt.Sprint("shared", i%150)
		}
	}
	for p := range s.issued {
		s.issued[p] = make(map[string]uint64)
	}
	s.faults.since = time.Now()
	var err error
	s.box, err = wschannels.New(&wschannels.Options{
		Accept:     websocket.AcceptOptions{CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 256},
		Events:     s.events(),
		History:    wschannels.HistoryLimits{Len: historyLen, TTL: 6 * cfg.beat},
		MailboxTTL: cfg.mail, MailboxBytes: mailboxBytes, MaxMailboxes: int(cfg.mailboxes()),
		HistoryTotalBytes: int(cfg.historyBytes()),
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, k := range cfg.kinds() {
		var h wschannels.Handler
		if k.handler {
			h = s.handle
		}
		mux.Handle("/"+k.name, s.box.HandlerWith(&k.opts, h, wschannels.Auth(s.authenticate)))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.addr = listener.Addr().String()
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	go s.http.Serve(shortBuffers{listener}) // until stop
	return s, nil
}

// stop ends the server, once nobody is connected.
func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(s.http.Shutdown(ctx), s.box.Shutdown(ctx))
}

// shortBuffers gives connections little room in the kernel, so that a client that does
// not read is soon noticed.
type shortBuffers struct{ net.Listener }

func (l shortBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		_ = conn.(*net.TCPConn).SetWriteBuffer(kernelBuffer)
	}
	return conn, err
}

const kernelBuffer = 8 << 10

// authenticate refuses who says so, and learns who the others are.
func (s *server) authenticate(_ context.Context, c *wschannels.Channel) error {
	q := c.Request().URL.Query()
	if q.Get("refuse") != "" {
		s.ledger.refused.Add(1)
		return errors.New("as you wish")
	}
	n, err := strconv.Atoi(q.Get("client"))
	if err != nil {
		return err
	}
	v := (*s.clients.Load())[n].current.Load()
	if v == nil || v.id != q.Get("visit") {
		v = new(visit) // who connected has gone already
	}
	c.Set(visitKey{}, v)
	return c.SetUser(s.users[n].name)
}

func (s *server) events() wschannels.Events {
	return wschannels.Events{
		OnConnect: func(_ context.Context, c *wschannels.Channel) error {
			s.ledger.connects.Add(1)
			c.Value(visitKey{}).(*visit).channel.Store(c)
			return nil
		},
		OnDisconnect: func(c *wschannels.Channel, _ error) {
			s.ledger.disconnects.Add(1)
			v := c.Value(visitKey{}).(*visit)
			v.channel.Store(nil)
			v.gone.Store(true)
		},
		OnMessage: s.request,
		OnError: func(_ *wschannels.Channel, err error) {
			var p *wschannels.PanicError
			if errors.As(err, &p) && p.Value != any(asked) {
				s.faults.add("a panic: %v\n%s", p.Value, p.Stack)
			}
		},
	}
}

const asked = "as you wish"

// wait returns after d, or when ctx has ended: then it returns false.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
