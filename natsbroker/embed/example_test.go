package embed_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
	"github.com/wschannels/wschannels/natsbroker/embed"
)

// A server of its own for one process. With Cluster and Peers it is one of three.
func Example() {
	dir, err := os.MkdirTemp("", "chat")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	server, err := embed.Start(&embed.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	defer server.Close(ctx)
	broker, err := server.Broker(&natsbroker.Options{Prefix: "chat"})
	if err != nil {
		panic(err)
	}
	defer broker.Close(ctx)

	// A box does this: wschannels.New(&wschannels.Options{Broker: broker})
	p := &wschannels.Publication{Save: true, Message: wschannels.Message{
		ID: uuid.New(), Group: "lobby", Created: time.Now(), Data: []byte("hello"),
	}}
	if err := broker.Publish(ctx, p); err != nil {
		panic(err)
	}
	fmt.Println(p.Seq, p.Saved)
	// Output: 1 true
}
