// Guarded shows what keeps an endpoint safe: a token, limits on new connections
// and on messages, and validation, each with the answer that a client gets.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
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
	token := flag.String("token", rand.Text(), "the token that opens the door")
	flag.Parse()
	if err := run(*addr, *token); err != nil {
		log.Fatal(err)
	}
}

// run serves until the program is told to stop, then says goodbye to everybody.
func run(addr, token string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	handler, box, err := newServer(token, slog.Default())
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(addr) // Listen has accepted it
	port := listener.Addr().(*net.TCPAddr).Port
	fmt.Printf("guarded: open http://%s and use the token %s\n", net.JoinHostPort(cmp.Or(host, "localhost"), strconv.Itoa(port)), token)

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
