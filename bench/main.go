// Bench compares wschannels with other Go libraries at broadcasting to WebSockets.
//
//	go run .
//
// runs everything. See README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/wschannels/wschannels/bench/child"
	"github.com/wschannels/wschannels/bench/client"
	"github.com/wschannels/wschannels/bench/contestant"
	"github.com/wschannels/wschannels/bench/server"
)

func main() {
	if isChild(contestant.All()) {
		return
	}
	if err := run(os.Args[1:], contestant.All(), os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// isChild does what this process was started for by another, and says whether it was.
func isChild(all []contestant.Contestant) bool {
	switch child.Role() {
	case "server":
		server.Serve(all)
	case "client":
		client.Serve()
	default:
		return false
	}
	return true
}
