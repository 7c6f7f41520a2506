package natsbroker

import (
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
)

// orderConfig is the stream that has all groups' order and history. A group has two
// subjects: "s" for batches that are saved, "u" for others. Together they are its order.
func (b *Broker) orderConfig() jetstream.StreamConfig {
	o := b.opts
	most := o.History.Bytes/wschannels.MessageCost + 1 // no history has as many messages, nor batches
	if o.History.Len > 0 {
		most = min(most, o.History.Len)
	}
	return jetstream.StreamConfig{
		Name:              o.Prefix + "-order",
		Subjects:          []string{o.Prefix + ".g.*.*"},
		MaxAge:            o.Retain,
		MaxMsgsPerSubject: int64(most),
		Storage:           storage(o.Storage),
		Replicas:          o.Replicas,
		Duplicates:        min(o.Retain, time.Minute),
		AllowDirect:       true,
		RePublish: &jetstream.RePublish{
			Source:      o.Prefix + ".g.*.*",
			Destination: o.Prefix + ".d.{{wildcard(1)}}",
		},
	}
}

func storage(s nats.StorageType) jetstream.StorageType {
	if s == nats.MemoryStorage {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

func (b *Broker) deliverySubject(token string) string { return b.opts.Prefix + ".d." + token }

// subject is where batches of the group go, "s" or "u", or "*" for both.
func (t *topic) subject(kind string) string {
	return t.shard.b.opts.Prefix + ".g." + t.token + "." + kind
}
