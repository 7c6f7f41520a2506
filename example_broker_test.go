package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// Boxes that share a broker are one system to the members of a group.
func ExampleMemoryBroker() {
	broker := must(wschannels.NewMemoryBroker(nil))
	here := must(wschannels.New(&wschannels.Options{Broker: broker}))
	there := must(wschannels.New(&wschannels.Options{Broker: broker}))

	conn := wschannelstest.NewConn()
	c := must(wschannels.NewChannel(conn, nil))
	defer c.CloseNow()
	if err := there.Add(c); err != nil {
		fmt.Println(err)
	}
	ctx := context.Background()
	must(there.Join(ctx, c, "news", nil))
	res := must(here.GroupSend(ctx, "news", "hello", nil))
	fmt.Println(res.Seq, res.Queued) // none of its own members
	fmt.Println(next(conn))
	// Output:
	// 1 0
	// "hello"
}

// Two nodes on one broker, here in one process. With a broker on Redis or NATS in its place they
// are on two machines, and nothing else changes.
func ExampleBroker() {
	ctx := context.Background()
	var broker wschannels.Broker = must(wschannels.NewMemoryBroker(nil))
	came := make(chan string, 10)
	node := func(name, user string) (*wschannels.ChannelBox, *wschannels.Channel, *wschannelstest.Conn) {
		box := must(wschannels.New(&wschannels.Options{
			Broker: broker, Node: name, Presence: &wschannels.PresenceOptions{},
			Events: wschannels.Events{OnPresence: func(e wschannels.PresenceEvent) {
				if e.Joined && name == "here" {
					came <- e.Member.User
				}
			}},
		}))
		conn := wschannelstest.NewConn()
		c := must(wschannels.NewChannel(conn, nil))
		if err := errors.Join(box.Add(c), c.SetUser(user)); err != nil {
			fmt.Println(err)
		}
		must(box.Join(ctx, c, "lobby", nil))
		return box, c, conn
	}
	here, ann, annsPeer := node("here", "ann")
	there, bob, bobsPeer := node("there", "bob")

	res := must(here.GroupSend(ctx, "lobby", "to all", nil))
	fmt.Println(res.Seq, res.Queued, next(annsPeer), next(bobsPeer)) // counts are those of the sender's node

	if err := here.SendTo(ctx, bob.ID(), "to one"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(next(bobsPeer))

	fmt.Println(<-came, <-came) // Join does not wait until other nodes know
	for _, m := range must(here.Presence(ctx, "lobby")).Members {
		name, _, _ := strings.Cut(m.Node, "/")
		fmt.Println(m.User, "is", name)
	}

	ann.CloseNow()
	bob.CloseNow()
	if err := errors.Join(here.Shutdown(ctx), there.Shutdown(ctx), broker.Close(ctx)); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 1 1 "to all" "to all"
	// "to one"
	// ann bob
	// ann is here
	// bob is there
}

// Presence is read as a whole, and its changes are events. A Broker makes both those of all nodes.
func ExampleChannelBox_Presence() {
	told := make(chan string, 10)
	box := must(wschannels.New(&wschannels.Options{
		Presence: &wschannels.PresenceOptions{Grace: -1}, // leaves are told at once
		Events: wschannels.Events{OnPresence: func(e wschannels.PresenceEvent) {
			told <- fmt.Sprint(e.Member.User, " joined: ", e.Joined)
		}},
	}))
	ctx := context.Background()
	for _, user := range []string{"ann", "bob"} {
		c := must(wschannels.NewChannel(wschannelstest.NewConn(), nil))
		if err := errors.Join(box.Add(c), c.SetUser(user)); err != nil {
			fmt.Println(err)
		}
		must(box.Join(ctx, c, "lobby", nil))
		fmt.Println(<-told)
	}
	for _, m := range must(box.Presence(ctx, "lobby")).Members {
		fmt.Println(m.User, "is here")
	}
	if err := box.Shutdown(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ann joined: true
	// bob joined: true
	// ann is here
	// bob is here
}
