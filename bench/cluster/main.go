// Cluster measures what several nodes on one engine, Redis or NATS, cost beside a bare loop
// of the engine's own client, and beside centrifuge.
//
//	go run ./cluster -readme ../docs/clustering.md
//
// See README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/wschannels/wschannels/bench/child"
	"github.com/wschannels/wschannels/bench/client"
	"github.com/wschannels/wschannels/bench/server"
)

func main() {
	if isChild() {
		return
	}
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// isChild does what this process was started for by another, and says whether it was.
func isChild() bool {
	switch child.Role() {
	case "node":
		serveNode()
	case "nats":
		serveNATS()
	case "server":
		server.Serve(contestants())
	case "client":
		client.Serve()
	default:
		return false
	}
	return true
}
