// Package wschannels is the hub that a WebSocket server needs: rooms with ordered
// broadcasts, history with gapless replay, messages to one client or one user,
// middleware, events, expiry and heartbeats. It is built on
// [github.com/coder/websocket] and embedded in an ordinary net/http server; any
// WebSocket client can speak to it.
//
// A whole server, in which everybody who connects to /ws/{room} gets the last fifty
// lines of that room and then every new one:
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"net/http"
//
//		"github.com/wschannels/wschannels"
//	)
//
//	func main() {
//		box, err := wschannels.New(nil)
//		if err != nil {
//			log.Fatal(err)
//		}
//		http.Handle("/ws/{room}", box.Handler(func(ctx context.Context, c *wschannels.Channel) error {
//			room := c.Request().PathValue("room")
//			if _, err := box.Join(ctx, c, room, &wschannels.JoinOptions{ReplayLast: 50}); err != nil {
//				return err
//			}
//			for msg, err := range c.Messages(ctx) {
//				if err != nil {
//					return err
//				}
//				// ctx ends when the sender has left, perhaps right behind this message.
//				anyway := context.WithoutCancel(ctx)
//				if _, err := box.GroupSend(anyway, room, msg, &wschannels.SendOptions{SaveHistory: true}); err != nil {
//					return err
//				}
//			}
//			return nil
//		}))
//		log.Fatal(http.ListenAndServe("localhost:8080", nil))
//	}
//
// # Parts
//
// A [Channel] is one connection with a payload type, an identity and a bounded queue.
// A [ChannelBox] accepts channels, knows them by ID ([Registry]) and by user, and has
// the groups ([Group]) and their [History]. A [Handler] runs a channel, inside
// [Middleware]; without one, [Events] get its messages. A [Broker] carries group
// messages between boxes; without one, everything stays in the process. [Presence] is
// who is in a group, in all of them.
//
// # Order and loss
//
// What is sent to one channel leaves in the order in which it was accepted. What is sent
// to a group has one order for all its members, which is the history's. Nothing is lost
// silently: a direct send waits for room in the queue, and a group send does what the
// member's [SlowPolicy] says and counts it in its [SendResult] and in [Stats].
// Delivered means handed to the operating system; only the peer's answer proves more.
//
// # Concurrency
//
// All methods may be called concurrently, and from within handlers and events, unless
// they say otherwise: [ChannelBox.CloseAll] and [ChannelBox.Shutdown] wait for handlers
// and events. No lock is held while the application's code runs or a connection is
// written or read. Inside the package locks are taken in this order, most often one at
// a time: box, registry, users, group (of the broker, the broker's table, a history; then
// the stream's, the members'), presence, channel, its queue. Those of the timers, of what is
// to be reported, caught up with or listened to, and of messages that reached only this box,
// may be taken at any time, and around none.
//
// # Contexts
//
// A context that is given to a method bounds the wait of that call. It never breaks the
// connection and never leaves half a message on the wire.
package wschannels
