package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// statusBadRequest closes a channel whose name or room will not do; trying
// again does not help. Codes from 4000 on belong to the application.
const statusBadRequest websocket.StatusCode = 4400

// rooms runs the channels of the chat that this node has. A room is a group of the box,
// and as such on all nodes.
type rooms struct {
	box    *wschannels.ChannelBox
	node   string
	pages  pages
	logger *slog.Logger
}

// admit is the door: it knows who comes before the channel is in the box. Here everybody
// is who they say; a real program asks its session.
func admit(next wschannels.Handler) wschannels.Handler {
	return func(ctx context.Context, c *wschannels.Channel) error {
		name := c.Request().URL.Query().Get("name")
		if err := cmp.Or(validRoom(c.Request().PathValue("room")), validName(name)); err != nil {
			return &wschannels.CloseError{Code: statusBadRequest, Reason: err.Error()}
		}
		if err := c.SetUser(name); err != nil {
			return err
		}
		return next(ctx, c)
	}
}

// serve is one window in one room, from the first message to the last.
func (s *rooms) serve(ctx context.Context, c *wschannels.Channel) error {
	room := c.Request().PathValue("room")
	defer s.leave(c, room) // runs however the connection ended

	// First what changes, then what there is: so no change is missed in between.
	if err := s.pages.add(c, room); err != nil {
		return err
	}
	joined, err := s.box.Join(ctx, c, room, missed(c.Request()))
	if err != nil {
		return err
	}
	err = c.Send(ctx, welcome{
		Type: "welcome", Node: s.node,
		Epoch: joined.Position.Epoch, Seq: joined.Position.Seq, Recovered: joined.Recovered,
		People: s.people(ctx, room),
	})
	if err != nil {
		return err
	}
	if err := s.moved(ctx, room, person{c.User(), s.node}); err != nil {
		return err
	}
	for {
		in, err := wschannels.Receive[inbound](ctx, c)
		var invalid *wschannels.PayloadError
		switch {
		case errors.As(err, &invalid):
			err = c.Send(ctx, invalid) // {"error":"Invalid message format","details":…}
		case errors.Is(err, wschannels.ErrRateLimited):
			err = c.Send(ctx, problem{Error: "Too many messages", Details: "The rest goes out in a moment.", Retry: 3})
		case err == nil && in.Type == "typing":
			err = s.typing(ctx, c, room, in.Typing)
		case err == nil:
			err = s.say(ctx, c, room, in)
		}
		if err != nil {
			return err
		}
	}
}

// missed asks for what the page has not seen, on whichever node it was: all that came
// after its place, or the last lines for a new page.
func missed(r *http.Request) *wschannels.JoinOptions {
	query := r.URL.Query()
	seq, err := strconv.ParseUint(query.Get("seq"), 10, 64)
	if err != nil {
		return &wschannels.JoinOptions{ReplayLast: 100}
	}
	return &wschannels.JoinOptions{ReplayAfter: &wschannels.Position{Epoch: query.Get("epoch"), Seq: seq}}
}

// say tells the whole room, the speaker included: that is how a page knows that its line
// has arrived. While the broker is away, that is the room on this node alone: pages see
// it by the place that the line then lacks.
func (s *rooms) say(ctx context.Context, c *wschannels.Channel, room string, in inbound) error {
	l := line{Type: "line", ID: in.ID, Name: c.User(), Node: s.node, Text: in.Text, At: time.Now().UTC()}
	ctx = context.WithoutCancel(ctx) // also the last words of who has just left
	_, err := s.box.GroupSend(ctx, room, l, &wschannels.SendOptions{SaveHistory: true})
	return err
}

func (s *rooms) typing(ctx context.Context, c *wschannels.Channel, room string, on bool) error {
	t := typing{Type: "typing", Name: c.User(), Typing: on}
	_, err := s.box.GroupSend(ctx, room, t, &wschannels.SendOptions{Except: []uuid.UUID{c.ID()}})
	return err
}

// leave takes c out of the room. The channel's context has ended by then.
func (s *rooms) leave(c *wschannels.Channel, room string) {
	s.pages.remove(c, room)
	ctx := context.Background()
	if _, err := s.box.Leave(ctx, c, room); err != nil && !errors.Is(err, wschannels.ErrClosed) {
		s.logger.Warn("leave", "room", room, "err", err)
	}
	s.stays(ctx, c, room)
}
