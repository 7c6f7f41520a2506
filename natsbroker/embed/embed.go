// Package embed runs a NATS server in the process that uses it, so that an application on
// several machines, or several of its processes on one, needs nothing else installed.
//
// On three machines, each has the same program, that is told of the other two:
//
//	server, err := embed.Start(&embed.Options{
//		Dir:     "/var/lib/chat",
//		Name:    "a",                                       // and b, and c
//		Cluster: "10.0.0.1:6222",                           // this machine
//		Peers:   []string{"10.0.0.2:6222", "10.0.0.3:6222"},
//		Secret:  os.Getenv("CHAT_SECRET"),
//	})
//	broker, err := server.Broker(&natsbroker.Options{Replicas: 3})
//
// Any one of the three may die. Two are no help to each other: of two servers neither knows
// whether the other is dead or out of reach, so both stop when one does. With two machines let
// one have the server (no Cluster), and the other connect to it with natsbroker.Open; or put
// a third server, with no box, on any small machine.
//
// For several processes on one machine there is [Share].
package embed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels/natsbroker"
)

// Options configures [Start].
type Options struct {
	// Dir is where the server keeps what it stores. Each server has one of its own.
	Dir string

	// Listen is where clients of other processes connect, "host:port"; port 0: any that is
	// free. "": nowhere, or, with Cluster, on a free port of the loopback address.
	Listen string

	// Cluster is where the other servers connect, "host:port". "": there are none.
	Cluster string

	// Peers are the Cluster addresses of the other servers; this one's may be among them.
	Peers []string

	// Name is the server's among the others, and stays the same. "": Cluster.
	Name string

	// Secret is a password that servers and clients of other processes must know. Without
	// one, Listen and Cluster may only be loopback addresses.
	Secret string
}

// secretUser is who knows the secret.
const secretUser = "wschannels"

// A Server is a NATS server with JetStream in this process.
type Server struct {
	server *server.Server
	secret string

	mu    sync.Mutex // guards what follows
	conns []*nats.Conn
}

// How long a server may take to listen; and to close.
const patience = 30 * time.Second

// Start starts a server. It does not wait for its peers: until a majority of them is there,
// brokers' calls fail.
func Start(opts *Options) (*Server, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Dir == "" {
		return nil, errors.New("embed: Options.Dir is empty")
	}
	config := &server.Options{
		ServerName: cmp.Or(o.Name, o.Cluster), JetStream: true, StoreDir: o.Dir,
		NoSigs: true, NoLog: true, DontListen: o.Listen == "",
	}
	var err error
	if o.Listen == "" && o.Cluster != "" {
		o.Listen = "127.0.0.1:0" // a server that does not listen for clients does not for servers
		config.DontListen = false
	}
	if o.Listen != "" {
		if config.Host, config.Port, err = address("Listen", o.Listen, o.Secret); err != nil {
			return nil, err
		}
		if o.Secret != "" {
			config.Username, config.Password = secretUser, o.Secret
		}
	}
	if o.Cluster != "" {
		config.Cluster.Name = "wschannels"
		if config.Cluster.Host, config.Cluster.Port, err = address("Cluster", o.Cluster, o.Secret); err != nil {
			return nil, err
		}
		if o.Secret != "" {
			config.Cluster.Username, config.Cluster.Password = secretUser, o.Secret
		}
		for _, peer := range o.Peers {
			if peer == o.Cluster {
				continue
			}
			u := &url.URL{Scheme: "nats", Host: peer}
			if o.Secret != "" {
				u.User = url.UserPassword(secretUser, o.Secret)
			}
			config.Routes = append(config.Routes, u)
		}
	}
	s, err := server.NewServer(config)
	if err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		s.Shutdown()
		return nil, fmt.Errorf("embed: the server does not start: is %q, %q or %q in use?", o.Dir, o.Listen, o.Cluster)
	}
	return &Server{server: s, secret: o.Secret}, nil
}

// address splits an address of Options, and checks it.
func address(field, addr, secret string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("embed: Options.%s: %w", field, err)
	}
	if port, err = strconv.Atoi(p); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("embed: Options.%s has port %q", field, p)
	}
	ip := net.ParseIP(host)
	if secret == "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, fmt.Errorf("embed: Options.%s is %q, which others may reach, and there is no Secret", field, addr)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// Connect returns a connection to the server within this process. The caller closes it.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	opts = append(append(natsbroker.ConnectOptions(), nats.InProcessServer(s.server)), opts...)
	if s.secret != "" {
		opts = append(opts, nats.UserInfo(secretUser, s.secret))
	}
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	return nc, nil
}

// Broker returns a broker on the server. Its connection ends with the server.
func (s *Server) Broker(opts *natsbroker.Options) (*natsbroker.Broker, error) {
	nc, err := s.Connect()
	if err != nil {
		return nil, err
	}
	b, err := natsbroker.New(nc, opts)
	if err != nil {
		nc.Close()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, nc)
	return b, nil
}

// URL is where clients of other processes connect, with the secret; "": nowhere.
func (s *Server) URL() string {
	addr := s.server.Addr()
	if addr == nil {
		return ""
	}
	u := &url.URL{Scheme: "nats", Host: addr.String()}
	if s.secret != "" {
		u.User = url.UserPassword(secretUser, s.secret)
	}
	return u.String()
}

// Cluster is where the other servers connect; "": nowhere.
func (s *Server) Cluster() string {
	if addr := s.server.ClusterAddr(); addr != nil {
		return addr.String()
	}
	return ""
}

// Close stops the server. It waits for that until ctx ends. Brokers on it are to be closed
// before.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	for _, nc := range s.conns {
		nc.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.server.Shutdown()
	stopped := make(chan struct{})
	go func() { // ends with the server
		s.server.WaitForShutdown()
		close(stopped)
	}()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
