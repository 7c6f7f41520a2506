package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"
)

// A node is one process of the chat: an ordinary HTTP server, on the engine that all
// nodes share.
type node struct {
	name   string
	listen string
	broker string
}

// goodbye is how long a node takes at most to end.
const goodbye = 10 * time.Second

// run serves until ctx ends, then says goodbye to everybody.
func (n *node) run(ctx context.Context) error {
	logger := slog.Default().With("node", n.name)
	broker, err := openBroker(n.broker)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.name, err)
	}
	handler, box, err := newServer(n.name, broker, logger)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.name, err)
	}
	listener, err := net.Listen("tcp", n.listen)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.name, err)
	}
	fmt.Printf("node %s: http://%s\n", n.name, listener.Addr())

	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }() // ends with Shutdown
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	// No new requests first; then the box closes the channels, which
	// http.Server.Shutdown neither closes nor waits for, and at last the broker.
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	return errors.Join(server.Shutdown(ctx), box.Shutdown(ctx), broker.Close(ctx))
}

// untilInputEnds returns a context that ends when standard input does. That is how the
// nodes of a cluster learn that they are to end, or that the process that started them
// is gone, however it went. Ctrl+C is for that process alone.
func untilInputEnds() context.Context {
	signal.Ignore(os.Interrupt)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // until then
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // an error is an end, too
	}()
	return ctx
}
