package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/rueidis"
)

// A redisLink is rueidis as redisbroker opens it: one connection for commands, which puts
// those together that are waiting, and one for subscriptions.
type redisLink struct {
	client    rueidis.Client
	subscribe rueidis.DedicatedClient
}

func openRedis(url string, got *seen) (link, error) {
	opts, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	opts.DisableCache = true
	opts.ForceSingleClient = true
	client, err := rueidis.NewClient(opts)
	if err != nil {
		return nil, err
	}
	r := &redisLink{client: client}
	r.subscribe, _ = client.Dedicate()
	r.subscribe.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(rueidis.PubSubMessage) { got.messages.Add(1) }})
	return r, nil
}

func (r *redisLink) join(group string) error {
	return r.subscribe.Do(context.Background(), r.subscribe.B().Subscribe().Channel(group).Build()).Error()
}

func (r *redisLink) publish(group string, save bool) error {
	ctx, b := context.Background(), r.client.B()
	publish := b.Publish().Channel(group).Message(payload).Build()
	if !save {
		return r.client.Do(ctx, publish).Error()
	}
	add := b.Xadd().Key("log:"+group).Maxlen().Exact().Threshold(strconv.Itoa(limits.Len)).
		Id("*").FieldValue().FieldValue("p", payload).Build()
	both := r.client.DoMulti(ctx, add, publish)
	return errors.Join(both[0].Error(), both[1].Error())
}
