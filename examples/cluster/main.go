// Cluster is a chat on several nodes: one program that runs as several processes, in
// which people who are on different nodes are in the same rooms. It shows what a box with
// a Broker does: lines in one order for everybody, who is here and on which node, and
// pages that come back on another node when theirs dies, with nothing missing and nothing
// twice.
//
// # On one machine
//
//	go run ./examples/cluster            # from the top of the repository
//	cd examples/cluster && go run .      # or from its own folder
//
// starts an embedded NATS server, two nodes, each a process of its own, and a load
// balancer in front of them. Open the address that it prints in two windows: they are on
// different nodes. Kill one of the processes whose PIDs it prints, and watch; a few
// seconds later it is started again. Ctrl+C ends everything in order.
//
//	-addr 127.0.0.1:8080   where the balancer listens; port 0 takes a free one
//	-nodes 2               how many nodes
//	-broker URL            an engine that runs elsewhere, in place of the embedded one:
//	                       redis://host:6379 (or rediss://) or nats://host:4222 (or tls://)
//
// # On several machines
//
// Start one node on each, with names of their own, and the same engine for all:
//
//	cluster -node a -listen 10.0.0.1:8080 -broker redis://10.0.0.9:6379    # on the first
//	cluster -node b -listen 10.0.0.2:8080 -broker redis://10.0.0.9:6379    # on the second
//
// In front of them goes any load balancer that passes WebSockets and leaves the Host
// header as it came: nodes compare it with a socket's Origin. With nginx, for example:
//
//	upstream nodes { least_conn; server 10.0.0.1:8080; server 10.0.0.2:8080; }
//	server {
//		location / {
//			proxy_pass http://nodes;
//			proxy_http_version 1.1;
//			proxy_set_header Host $http_host;
//			proxy_set_header Upgrade $http_upgrade;
//			proxy_set_header Connection "upgrade";
//			proxy_read_timeout 1h;
//		}
//	}
//
// Sticky sessions are not needed: whatever node a page comes to knows its place.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	var c cluster
	flag.StringVar(&c.addr, "addr", "127.0.0.1:8080", "address of the load balancer; port 0 takes a free one")
	flag.IntVar(&c.nodes, "nodes", 2, "number of nodes")
	flag.StringVar(&c.broker, "broker", "", "URL of the engine: redis://… or nats://…; without one NATS is embedded")

	var n node
	flag.StringVar(&n.name, "node", "", "run one node by itself, of this name")
	flag.StringVar(&n.listen, "listen", "127.0.0.1:0", "with -node: its address; port 0 takes a free one")
	owned := flag.Bool("owned", false, "with -node: end when standard input does; for nodes that this program started")
	flag.Parse()
	n.broker = c.broker

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl+C does not wait

	run := c.run
	if n.name != "" {
		run = n.run
	}
	if *owned {
		ctx = untilInputEnds()
	}
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}
