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
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
)

// Options configures [Start]. What is invalid is refused, with an error that matches
// [wschannels.ErrInvalidOption].
type Options struct {
	// Dir is the directory in which the server keeps what it stores, and is made if there
	// is none. Each server has one of its own, on a disk that outlives the process.
	Dir string

	// Listen is the address for clients in other processes, "host:port"; port 0: one that
	// is free. "": none, or, with Cluster, a free port of the loopback address.
	Listen string

	// Cluster is the address for the other servers, "host:port". "": there are none.
	Cluster string

	// Peers are the Cluster addresses of the other servers; this one's may be among them.
	Peers []string

	// Name is the server's among the others. It must be unique, and the same after a
	// restart: what is stored is kept by name. "": the value of Cluster.
	Name string

	// Secret is a password that servers and clients of other processes must know. Without
	// one, Listen and Cluster may only be loopback addresses.
	Secret string
}

// secretUser is who knows the secret.
const secretUser = "wschannels"

// A Server is a NATS server with JetStream in this process. All methods may be called
// concurrently.
type Server struct {
	server *server.Server
	secret string

	mu    sync.Mutex // guards what follows
	conns []*nats.Conn
}

// How long a server may take to listen; and to close.
const patience = 30 * time.Second

// Start starts a server, and returns when it accepts connections, most often at once and at
// the latest after 30 seconds. It does not wait for its peers: until a majority of all
// servers runs, brokers' calls fail. The caller closes it.
func Start(opts *Options) (*Server, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Dir == "" {
		return nil, badOption("Options.Dir is empty")
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
		if config.Host, config.Port, err = address("Options.Listen", o.Listen, o.Secret); err != nil {
			return nil, err
		}
		if o.Secret != "" {
			config.Username, config.Password = secretUser, o.Secret
		}
	}
	if o.Cluster != "" {
		config.Cluster.Name = "wschannels"
		if config.Cluster.Host, config.Cluster.Port, err = address("Options.Cluster", o.Cluster, o.Secret); err != nil {
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
	if err := os.MkdirAll(o.Dir, 0o750); err != nil { // the server would say nothing, and not start
		return nil, fmt.Errorf("embed: %w", err)
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

func badOption(format string, args ...any) error {
	return fmt.Errorf("%w: embed: %w", wschannels.ErrInvalidOption, fmt.Errorf(format, args...))
}

// address splits an address, and checks it. what says what it is for.
func address(what, addr, secret string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, badOption("%s: %w", what, err)
	}
	if port, err = strconv.Atoi(p); err != nil || port < 0 || port > 65535 {
		return "", 0, badOption("%s has port %q", what, p)
	}
	ip := net.ParseIP(host)
	if secret == "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, badOption("%s is %q, which others may reach, and there is no Secret", what, addr)
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

// Broker returns a broker on the server, which the caller closes before the server. Its
// connection, within this process, ends with the server.
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

// URL returns the URL for clients in other processes, which contains the secret: for
// natsbroker.Open. It is "" if there is no address for them.
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

// Cluster returns the address for the other servers, "" if there is none.
func (s *Server) Cluster() string {
	if addr := s.server.ClusterAddr(); addr != nil {
		return addr.String()
	}
	return ""
}

// Close stops the server, and waits until it has stopped or ctx ends. Brokers on it are to be
// closed before.
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
