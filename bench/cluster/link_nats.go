package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A natsLink is nats.go: messages without a place in an order, which nobody keeps. Its
// publishing waits for the server to have them, by Flush.
type natsLink struct {
	nc  *nats.Conn
	got *seen
}

var errNotSaved = errors.New("core NATS does not save")

func openNATS(url string, got *seen) (link, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	return &natsLink{nc, got}, nil
}

func (n *natsLink) join(group string) error {
	_, err := n.nc.Subscribe(subject(group), func(*nats.Msg) { n.got.messages.Add(1) })
	return errors.Join(err, n.nc.Flush())
}

func (n *natsLink) publish(group string, save bool) error {
	if save {
		return errNotSaved
	}
	return errors.Join(n.nc.Publish(subject(group), []byte(payload)), n.nc.Flush())
}

// A streamLink publishes into a stream, which puts all in one order and keeps it, and waits
// for the stream's answer. Whether a message is to be saved makes no difference to it.
type streamLink struct {
	natsLink
	js jetstream.JetStream
}

func openJetStream(url string, got *seen) (link, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: "bench", Subjects: []string{subject(">")}, MaxMsgsPerSubject: int64(limits.Len),
	})
	return &streamLink{natsLink{nc, got}, js}, err
}

func (s *streamLink) publish(group string, _ bool) error {
	_, err := s.js.Publish(context.Background(), subject(group), []byte(payload))
	return err
}

func subject(group string) string { return "bench." + group }
