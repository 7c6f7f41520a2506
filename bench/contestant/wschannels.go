package contestant

import (
	"context"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
)

const wschannelsModule = "github.com/wschannels/wschannels"

var inEventMode = Contestant{
	Name:   "wschannels",
	Module: wschannelsModule,
	Setup: "A ChannelBox of Text channels in event mode: OnConnect joins the group, OnMessage leaves it, a " +
		"broadcast is GroupSend with a string. Everything else is the default, heartbeats and the checks of " +
		"what comes in included; QueueBytes is raised from 1 MiB where the window needs more. The slow-member " +
		"scenario has the default QueueBytes and policy: who falls behind is closed with 4004. Where messages " +
		"are compressed, Options.Accept.CompressionMode is CompressionNoContextTakeover.",
	New: func(cfg Config) Hub { return NewBox(cfg, wschannels.Options{}, nil) },
}

var withHandler = Contestant{
	Name:   "wschannels-handler",
	Module: wschannelsModule,
	Setup: "The same with a Handler that ranges over Messages instead of event mode, which costs a second " +
		"goroutine a connection. It is in the scenario of idle connections only, which is where that shows.",
	New:  newBoxWithHandler,
	Only: "idle",
}

type boxHub struct {
	box  *wschannels.ChannelBox
	send *wschannels.SendOptions
	http.Handler
}

// NewBox returns the hub of a box in event mode, whose broadcasts are sent with send. opts
// may have a Broker; Channel, Events and compression are for NewBox to set.
func NewBox(cfg Config, opts wschannels.Options, send *wschannels.SendOptions) Hub {
	h := &boxHub{send: send}
	opts.Events = wschannels.Events{OnConnect: h.join, OnMessage: h.receive}
	h.open(cfg, opts)
	h.Handler = h.box.Handler(nil)
	return h
}

func newBoxWithHandler(cfg Config) Hub {
	h := new(boxHub)
	h.open(cfg, wschannels.Options{})
	h.Handler = h.box.Handler(h.serve)
	return h
}

func (h *boxHub) open(cfg Config, opts wschannels.Options) {
	opts.Channel = wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: cfg.queueBytes(1<<20, 0)}
	if cfg.Compress {
		opts.Accept.CompressionMode = websocket.CompressionNoContextTakeover
	}
	box, err := wschannels.New(&opts)
	if err != nil {
		panic(err) // the options are ours
	}
	h.box = box
}

// join is what is done with a new channel.
func (h *boxHub) join(ctx context.Context, c *wschannels.Channel) error {
	if _, err := h.box.Join(ctx, c, c.Request().URL.Query().Get("group"), nil); err != nil {
		return err
	}
	return c.Send(ctx, "ready")
}

// receive is what is done with a message.
func (h *boxHub) receive(ctx context.Context, c *wschannels.Channel, m wschannels.Message) error {
	if m.Text() != "leave" {
		return nil
	}
	for _, group := range c.Groups() {
		if _, err := h.box.Leave(ctx, c, group); err != nil {
			return err
		}
	}
	return c.Send(ctx, "left")
}

// serve is the Handler.
func (h *boxHub) serve(ctx context.Context, c *wschannels.Channel) error {
	if err := h.join(ctx, c); err != nil {
		return err
	}
	for m, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		if err := h.receive(ctx, c, m); err != nil {
			return err
		}
	}
	return nil
}

func (h *boxHub) Broadcast(group string, payload []byte) {
	// Without a Broker it fails after Close only; with one, the client misses the message.
	_, _ = h.box.GroupSend(context.Background(), group, string(payload), h.send)
}

func (h *boxHub) Members() int {
	n := 0
	for _, members := range h.box.Groups() {
		n += members
	}
	return n
}

func (h *boxHub) Counts() map[string]int64 {
	s := h.box.Stats()
	return map[string]int64{"slow_closed": int64(s.SlowClosed), "dropped": int64(s.Dropped)}
}

func (h *boxHub) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = h.box.Shutdown(ctx) // who is left at the end of ctx has been closed by force
}
