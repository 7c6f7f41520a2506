package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

// A cluster is several nodes on one engine, with a load balancer in front of them.
type cluster struct {
	addr   string
	nodes  int
	broker string // "": embed one

	balancer *balancer
}

// run starts everything and serves until ctx ends, then ends everything in order: no new
// requests, the nodes, and last the engine, which the nodes need to say goodbye.
func (c *cluster) run(ctx context.Context) error {
	if c.nodes < 1 || c.nodes > 26 {
		return errors.New("-nodes must be 1 to 26")
	}
	if c.broker != "" {
		return c.serve(ctx)
	}
	stop, err := c.embed()
	if err != nil {
		return err
	}
	return errors.Join(c.serve(ctx), stop())
}

// serve is run without the engine.
func (c *cluster) serve(ctx context.Context) error {
	listener, err := net.Listen("tcp", c.addr)
	if err != nil {
		return err
	}
	living, stopNodes := context.WithCancel(context.Background())
	defer stopNodes()
	unhook := context.AfterFunc(ctx, stopNodes) // while they are being started
	nodes, err := c.startNodes(living)
	if unhook(); err != nil {
		stopNodes()
		for _, p := range nodes {
			_ = p.cmd.Wait() // the first error is the one to tell
		}
		if ctx.Err() != nil { // that is why
			err = nil
		}
		return errors.Join(err, listener.Close())
	}

	host, _, _ := net.SplitHostPort(c.addr) // Listen has accepted it
	port := listener.Addr().(*net.TCPAddr).Port
	fmt.Printf("cluster: open http://%s in two windows, and kill a node to see what happens\n",
		net.JoinHostPort(cmp.Or(host, "localhost"), strconv.Itoa(port)))
	c.balancer = newBalancer(slog.Default())
	ends := make(chan error, len(nodes))
	for _, p := range nodes {
		go func() { ends <- c.keep(living, p) }() // until stopNodes
	}
	server := &http.Server{Handler: c.balancer, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }() // ends with Shutdown
	select {
	case err = <-failed:
	case <-ctx.Done():
	}

	inTime, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	err = errors.Join(err, server.Shutdown(inTime))
	stopNodes()
	for range nodes {
		err = errors.Join(err, <-ends)
	}
	inTime, cancel = context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.balancer.wait(inTime) // sockets end with their nodes, but for pages that read nothing
	return err
}

// startNodes starts all. With an error it returns those that it had started.
func (c *cluster) startNodes(ctx context.Context) (nodes []*process, err error) {
	for i := range c.nodes {
		p, err := startNode(ctx, string(rune('a'+i)), c.broker)
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, p)
	}
	return nodes, nil
}
