package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
	"github.com/wschannels/wschannels/natsbroker/embed"
	"github.com/wschannels/wschannels/redisbroker"
)

// openBroker returns a broker on the engine at url. It does not wait for the engine.
func openBroker(url string) (wschannels.Broker, error) {
	switch scheme, _, _ := strings.Cut(url, "://"); scheme {
	case "redis", "rediss":
		return redisbroker.Open(url, &redisbroker.Options{History: history})
	case "nats", "tls":
		return natsbroker.Open(url, &natsbroker.Options{History: history})
	}
	return nil, errors.New("-broker takes a URL that begins with redis://, rediss://, nats:// or tls://")
}

// embed starts an engine in this process, for the nodes of this machine. What it stores
// goes with it.
func (c *cluster) embed() (stop func() error, err error) {
	dir, err := os.MkdirTemp("", "wschannels-cluster-")
	if err != nil {
		return nil, err
	}
	server, err := embed.Start(&embed.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	c.broker = server.URL()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		return errors.Join(server.Close(ctx), os.RemoveAll(dir))
	}, nil
}
