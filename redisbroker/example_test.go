package redisbroker_test

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker"
)

// A chat that may run as any number of processes, behind any load balancer.
func Example() {
	broker, err := redisbroker.Open(os.Getenv("REDIS_URL"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close(context.Background())
	box, err := wschannels.NewBox(&wschannels.Options{
		Broker: broker,
		Handler: func(ctx context.Context, c *wschannels.Channel, msg wschannels.Message) error {
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/chat", box)
	log.Fatal(http.ListenAndServe(":8080", nil))
}
