package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// statusBadRequest closes a channel whose name or room will not do; trying
// again does not help. Codes from 4000 on belong to the application.
const statusBadRequest websocket.StatusCode = 4400

// rooms runs the channels of the chat. A room is a group of the box.
type rooms struct {
	box    *wschannels.ChannelBox
	logger *slog.Logger

	// listing makes counting heads and telling the room one step, so that the
	// list that arrives last is the newest.
	listing sync.Mutex
}

type nameKey struct{} // of the channel value that holds a person's name

func nameOf(c *wschannels.Channel) string { name, _ := c.Value(nameKey{}).(string); return name }

// admit is the door: it knows who comes before the channel is in the box.
func admit(next wschannels.Handler) wschannels.Handler {
	return func(ctx context.Context, c *wschannels.Channel) error {
		name := c.Request().URL.Query().Get("name")
		if err := cmp.Or(validRoom(c.Request().PathValue("room")), validName(name)); err != nil {
			return &wschannels.CloseError{Code: statusBadRequest, Reason: err.Error()}
		}
		c.Set(nameKey{}, name)
		return next(ctx, c)
	}
}

// serve is one person in one room, from the first message to the last.
func (s *rooms) serve(ctx context.Context, c *wschannels.Channel) error {
	room := c.Request().PathValue("room")
	joined, err := s.box.Join(ctx, c, room, missed(c.Request()))
	if err != nil {
		return err
	}
	defer s.leave(c, room) // runs however the connection ended

	err = c.Send(ctx, welcome{
		Type: "welcome", You: c.ID(),
		Epoch: joined.Position.Epoch, Seq: joined.Position.Seq, Recovered: joined.Recovered,
	})
	if err != nil {
		return err
	}
	s.announce(room)
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

// missed asks for what the page has not seen: all that came after its place,
// or the last lines for a new page.
func missed(r *http.Request) *wschannels.JoinOptions {
	query := r.URL.Query()
	seq, err := strconv.ParseUint(query.Get("seq"), 10, 64)
	if err != nil {
		return &wschannels.JoinOptions{ReplayLast: 100}
	}
	return &wschannels.JoinOptions{ReplayAfter: &wschannels.Position{Epoch: query.Get("epoch"), Seq: seq}}
}

// say tells the whole room, the speaker included: that is how a page knows that
// its line has arrived.
func (s *rooms) say(ctx context.Context, c *wschannels.Channel, room string, in inbound) error {
	l := line{Type: "line", ID: in.ID, From: c.ID(), Name: nameOf(c), Text: in.Text, At: time.Now().UTC()}
	ctx = context.WithoutCancel(ctx) // also the last words of who has just left
	_, err := s.box.GroupSend(ctx, room, l, &wschannels.SendOptions{SaveHistory: true})
	return err
}

func (s *rooms) typing(ctx context.Context, c *wschannels.Channel, room string, on bool) error {
	t := typing{Type: "typing", From: c.ID(), Typing: on}
	_, err := s.box.GroupSend(ctx, room, t, &wschannels.SendOptions{Except: []uuid.UUID{c.ID()}})
	return err
}

// leave takes c out of the room before it tells the others who is left. The
// channel's context has ended by then, so neither uses it.
func (s *rooms) leave(c *wschannels.Channel, room string) {
	if _, err := s.box.Leave(context.Background(), c, room); err != nil && !errors.Is(err, wschannels.ErrClosed) {
		s.logger.Warn("leave", "room", room, "err", err)
	}
	s.announce(room)
}

// announce tells the room who is here. The list is whole every time, so a page
// that missed one is right again with the next.
func (s *rooms) announce(room string) {
	s.listing.Lock()
	defer s.listing.Unlock()
	list := here{Type: "here"}
	for _, c := range s.box.Members(room) {
		list.People = append(list.People, person{ID: c.ID(), Name: nameOf(c)})
	}
	if len(list.People) == 0 {
		return // nobody to tell
	}
	slices.SortFunc(list.People, func(a, b person) int { return cmp.Compare(a.Name, b.Name) })
	_, err := s.box.GroupSend(context.Background(), room, list, nil)
	if err != nil && !errors.Is(err, wschannels.ErrClosed) { // closed: the program is shutting down
		s.logger.Warn("announce", "room", room, "err", err)
	}
}
