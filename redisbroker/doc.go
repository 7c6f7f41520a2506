// Package redisbroker is a [wschannels.Broker] on Redis 7: boxes in several processes, on
// several machines, share their groups, with one order and one bounded history for each.
// It needs redis-server 7.0 or later, alone, with replicas and Sentinel, or as a cluster.
//
//	broker, err := redisbroker.Open("redis://localhost:6379", nil)
//	if err != nil {
//		return err
//	}
//	defer broker.Close(context.Background()) // after the box
//	box, err := wschannels.New(&wschannels.Options{Broker: broker})
//
// [New] takes a configured client instead, for all that a URL does not say.
//
// # How it works
//
// A message is published by one Lua script, which gives it its place, saves it and publishes
// it: all of that happens, or nothing. A group's place and history outlive its last use by
// Options.Retain. One connection, beside the client's own, hears what is published to the
// groups that are subscribed to; it is probed, and replaced when it ends or carries nothing.
// In a cluster there is one to each master, and groups are shard channels.
//
// While the engine is away, calls fail at once. No call that changes something is tried
// again, by the broker or by the client: a message is not published twice.
//
// # What Redis does not promise
//
// A Redis that is started again, or becomes master, may have lost what came last, even where it
// has kept the rest. So all its groups start anew then, in another epoch, and nobody takes new
// messages for old ones, or is told that nothing is missing. Options.Durable says that Redis loses
// nothing.
//
// With maxmemory, a policy other than noeviction may let go of a group's order, which then
// starts anew. Where Redis is out of memory, Publish fails, and has published nothing.
package redisbroker
