package redisbroker_test

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker"
)

// A chat that runs as any number of processes behind a load balancer: who connects to one
// gets what is said at all of them, and the last fifty lines.
func Example() {
	broker, err := redisbroker.Open(os.Getenv("REDIS_URL"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = broker.Close(context.Background()) }()
	box, err := wschannels.New(&wschannels.Options{Broker: broker})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/ws/{room}", box.Handler(func(ctx context.Context, c *wschannels.Channel) error {
		room := c.Request().PathValue("room")
		if _, err := box.Join(ctx, c, room, &wschannels.JoinOptions{ReplayLast: 50}); err != nil {
			return err
		}
		for msg, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			anyway := context.WithoutCancel(ctx)
			if _, err := box.GroupSend(anyway, room, msg, &wschannels.SendOptions{SaveHistory: true}); err != nil {
				return err
			}
		}
		return nil
	}))
	log.Print(http.ListenAndServe(":8080", nil))
}
