package redisbroker

import (
	"context"
	"slices"
	"time"

	"github.com/redis/rueidis"
)

// keep has what is known of the groups that are subscribed to retained.
func (b *Broker) keep() {
	tick := time.NewTicker(b.opts.Retain / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.keepAll()
		case <-b.ctx.Done():
			return
		}
	}
}

// keepAll does that once. What fails is tried again before Retain is over.
func (b *Broker) keepAll() {
	ctx, cancel := context.WithTimeout(b.ctx, b.opts.Retain/4)
	defer cancel()
	for chunk := range slices.Chunk(b.subscribed(), batch) {
		cmds := make(rueidis.Commands, 0, 3*len(chunk))
		for _, channel := range chunk {
			for _, key := range b.keysOf(channel) {
				cmds = append(cmds, b.client.B().Pexpire().Key(key).Milliseconds(b.opts.keep().Milliseconds()).Build())
			}
		}
		b.client.DoMulti(ctx, cmds...)
	}
}

// keysOf are a group's keys. One with a TTL of its own keeps it.
func (b *Broker) keysOf(channel string) []string {
	keys := []string{channel, channel + "here"}
	if b.opts.History.TTL == 0 {
		keys = append(keys, channel+"log")
	}
	return keys
}

// subscribed returns the channels of groups that somebody here is subscribed to.
func (b *Broker) subscribed() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var channels []string
	for channel, t := range b.topics {
		if t.kind == ofGroup && t.link.state == up {
			channels = append(channels, channel)
		}
	}
	return channels
}
