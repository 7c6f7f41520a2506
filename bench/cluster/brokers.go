package main

import (
	"fmt"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
	"github.com/wschannels/wschannels/redisbroker"
)

// An engineBroker is what both engines' brokers can do.
type engineBroker interface {
	wschannels.Broker
	wschannels.HistoryBroker
}

// newBroker opens a broker as an application would.
func newBroker(engine, url string, history wschannels.HistoryLimits) (engineBroker, error) {
	switch engine {
	case onRedis:
		return redisbroker.Open(url, &redisbroker.Options{History: history})
	case onNATS:
		return natsbroker.Open(url, &natsbroker.Options{History: history})
	}
	return nil, fmt.Errorf("there is no broker for %q", engine)
}
