package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// A brokerLink is a Broker with a Subscriber that counts.
type brokerLink struct {
	engineBroker
	counter *counter
}

func openBroker(s linkStart, got *seen) (link, error) {
	b, err := newBroker(s.Engine, s.URL, limits)
	if err != nil {
		return nil, err
	}
	return &brokerLink{b, &counter{got: got}}, nil
}

func (b *brokerLink) join(group string) error {
	return b.Subscribe(context.Background(), group, b.counter)
}

func (b *brokerLink) publish(group string, save bool) error {
	return b.Publish(context.Background(), &wschannels.Publication{
		Message: wschannels.Message{
			ID: uuid.New(), Group: group, Created: time.Now(), Type: wschannels.Text, Data: []byte(payload),
		},
		Save: save,
	})
}

// A counter is a Subscriber that only counts.
type counter struct{ got *seen }

func (c *counter) Deliver(*wschannels.Publication)         { c.got.messages.Add(1) }
func (c *counter) Interrupted(string)                      { c.got.interrupted.Add(1) }
func (c *counter) Appear(string, wschannels.PresenceEntry) {}
func (c *counter) Failed(err error)                        { c.got.fail(err) }

// A boxLink is a ChannelBox with members that count.
type boxLink struct {
	*wschannels.ChannelBox
	members []*wschannels.Channel
	next    atomic.Int64
}

func openBox(s linkStart, got *seen) (link, error) {
	broker, err := newBroker(s.Engine, s.URL, limits)
	if err != nil {
		return nil, err
	}
	b := new(boxLink)
	b.ChannelBox, err = wschannels.New(&wschannels.Options{
		Broker: watched{broker, got}, MaxGroupsPerChannel: s.MaxGroups,
		Events: wschannels.Events{OnError: func(_ *wschannels.Channel, err error) { got.fail(err) }},
	})
	if err != nil {
		return nil, err
	}
	for range s.Members {
		c, err := wschannels.NewChannel(&sink{messages: &got.messages}, &wschannels.ChannelOptions{
			PayloadType: wschannels.Text, QueueBytes: 64 << 20, Heartbeat: -1,
		})
		if err == nil {
			err = b.Add(c)
		}
		if err != nil {
			return nil, err
		}
		b.members = append(b.members, c)
	}
	return b, nil
}

func (b *boxLink) join(group string) error {
	member := b.members[int(b.next.Add(1)-1)%len(b.members)]
	_, err := b.Join(context.Background(), member, group, nil)
	return err
}

func (b *boxLink) publish(group string, save bool) error {
	r, err := b.GroupSend(context.Background(), group, payload, &wschannels.SendOptions{SaveHistory: save})
	if err == nil && r.Saved != save {
		err = fmt.Errorf("saved: %t", r.Saved)
	}
	return err
}

// watched is a broker that counts what it interrupts.
type watched struct {
	engineBroker
	got *seen
}

func (w watched) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	return w.engineBroker.Subscribe(ctx, group, watcher{s, w.got})
}

func (w watched) Unsubscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	return w.engineBroker.Unsubscribe(ctx, group, watcher{s, w.got})
}

type watcher struct {
	wschannels.Subscriber
	got *seen
}

func (w watcher) Interrupted(group string) {
	w.Subscriber.Interrupted(group)
	w.got.interrupted.Add(1)
}

// A sink is a member's connection, to a peer that reads at once and says nothing.
type sink struct{ messages *atomic.Int64 }

func (s *sink) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	<-ctx.Done()
	return 0, nil, ctx.Err()
}

func (s *sink) Write(context.Context, websocket.MessageType, []byte) error {
	s.messages.Add(1)
	return nil
}

func (s *sink) Ping(context.Context) error               { return nil }
func (s *sink) Close(websocket.StatusCode, string) error { return nil }
func (s *sink) CloseNow() error                          { return nil }
