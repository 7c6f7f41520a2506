package natsbroker_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
	"github.com/wschannels/wschannels/natsbroker/embed"
	"github.com/wschannels/wschannels/wschannelstest"
)

// Two nodes: what is said at one comes to those who are at the other. They would be two
// processes, and the server one that you run already.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	server, err := embed.Start(&embed.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close(ctx)

	var boxes []*wschannels.ChannelBox
	for range 2 {
		broker, err := natsbroker.Open(server.URL(), &natsbroker.Options{Prefix: "chat"})
		if err != nil {
			log.Fatal(err)
		}
		defer broker.Close(ctx) // after its box
		box, err := wschannels.New(&wschannels.Options{Broker: broker})
		if err != nil {
			log.Fatal(err)
		}
		defer box.Shutdown(ctx)
		boxes = append(boxes, box)
	}

	conn := wschannelstest.NewConn() // with a network: http.Handle("/ws", box)
	c, err := wschannels.NewChannel(conn, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := boxes[0].Add(c); err != nil {
		log.Fatal(err)
	}
	if _, err := boxes[0].Join(ctx, c, "lobby", nil); err != nil {
		log.Fatal(err)
	}
	res, err := boxes[1].GroupSend(ctx, "lobby", "hello", &wschannels.SendOptions{SaveHistory: true})
	if err != nil {
		log.Fatal(err)
	}
	_, p, err := conn.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Seq, res.Saved, string(p))
	c.CloseNow()
	// Output: 1 true "hello"
}
