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
	New: func(cfg Config) Hub { return newBox(cfg, false) },
}

var withHandler = Contestant{
	Name:   "wschannels-handler",
	Module: wschannelsModule,
	Setup: "The same with a Handler that ranges over Messages instead of event mode, which costs a second " +
		"goroutine a connection. It is in the scenario of idle connections only, which is where that shows.",
	New:  func(cfg Config) Hub { return newBox(cfg, true) },
	Only: "idle",
}

type boxHub struct {
	box *wschannels.ChannelBox
	http.Handler
}

func newBox(cfg Config, handler bool) Hub {
	h := new(boxHub)
	opts := wschannels.Options{
		Channel: wschannels.ChannelOptions{
			PayloadType: wschannels.Text,
			QueueBytes:  cfg.queueBytes(1<<20, 0),
		},
	}
	if cfg.Compress {
		opts.Accept.CompressionMode = websocket.CompressionNoContextTakeover
	}
	if !handler {
		opts.Events = wschannels.Events{OnConnect: h.join, OnMessage: h.receive}
	}
	box, err := wschannels.New(&opts)
	if err != nil {
		panic(err) // the options are ours
	}
	h.box = box
	if handler {
		h.Handler = box.Handler(h.serve)
	} else {
		h.Handler = box.Handler(nil)
	}
	return h
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
	_, _ = h.box.GroupSend(context.Background(), group, string(payload), nil) // fails after Close only
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
