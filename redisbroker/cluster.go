package redisbroker

import (
	"github.com/redis/rueidis"
)

// A cluster is the links of a broker whose client is a cluster's.
type cluster struct{}

func (b *Broker) linkOf(channel string) *link { return b.link }

func (b *Broker) publishCommand() string {
	if b.shards != nil {
		return "SPUBLISH"
	}
	return "PUBLISH"
}

func (b *Broker) start() {
	b.link = newLink(b, func() (rueidis.Client, error) { return b.client, nil }, false, b.inbox+"probe")
	b.link.start()
}
