// Chat is a chat with rooms, in the browser. It shows the library whole: groups
// with history, who is here, typing, and pages that come back by themselves
// without missing a line or showing one twice.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "address to listen on; port 0 takes a free one")
	flag.Parse()
	if err := run(*addr); err != nil {
		log.Fatal(err)
	}
}

// run serves until the program is told to stop, then says goodbye to everybody.
func run(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	handler, box, err := newServer(slog.Default())
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(addr) // Listen has accepted it
	port := listener.Addr().(*net.TCPAddr).Port
	fmt.Printf("chat: open http://%s\n", net.JoinHostPort(cmp.Or(host, "localhost"), strconv.Itoa(port)))

	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }() // ends with Shutdown
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	// No new requests first; then the box closes the channels, which
	// http.Server.Shutdown neither closes nor waits for.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(ctx), box.Shutdown(ctx))
}
