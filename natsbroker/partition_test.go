package natsbroker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A net3 is three servers, each of which reaches each other one by a wire of its own.
type net3 struct {
	servers [3]*server.Server
	wires   [3][3]*proxy
	apart   [3]atomic.Bool
}

func newNet3(t *testing.T) *net3 {
	n := new(net3)
	var addrs [3]string
	for to := range 3 {
		addrs[to] = freeAddr(t)
		for from := range 3 {
			n.wires[from][to] = newProxy(t, func() string {
				if n.apart[from].Load() || n.apart[to].Load() {
					return "127.0.0.1:0" // where nobody is
				}
				return addrs[to]
			})
		}
	}
	for i := range 3 {
		host, port, err := net.SplitHostPort(addrs[i])
		if err != nil {
			t.Fatal(err)
		}
		opts := &server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
			NoSigs: true, NoLog: true, PingInterval: 500 * time.Millisecond, MaxPingsOut: 2,
		}
		opts.Cluster.Name, opts.Cluster.Host, opts.Cluster.NoAdvertise = "net3", host, true
		if _, err := fmt.Sscan(port, &opts.Cluster.Port); err != nil {
			t.Fatal(err)
		}
		for j := range 3 {
			if j != i {
				opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: strings.TrimPrefix(n.wires[i][j].url(), "nats://")})
			}
		}
		s, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		n.servers[i] = s
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
	}
	for i, s := range n.servers {
		if !s.ReadyForConnections(time.Minute) {
			t.Fatalf("server %d does not start", i)
		}
	}
	return n
}

// freeAddr is an address that was free a moment ago.
func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// part cuts server i off from the others: at once, or so that its wires carry nothing.
func (n *net3) part(t *testing.T, i int, silent bool) {
	n.apart[i].Store(true)
	if silent {
		n.eachWire(i, (*proxy).deafen)
		return
	}
	eventually(t, "no wire is left", func() error {
		left := 0
		n.eachWire(i, func(p *proxy) {
			p.cut()
			p.each(func(*pair) { left++ })
		})
		if left > 0 {
			return fmt.Errorf("%d are", left)
		}
		return nil
	})
}

func (n *net3) join(i int) {
	n.apart[i].Store(false)
	n.eachWire(i, (*proxy).cut) // those that were deaf
}

func (n *net3) eachWire(i int, f func(*proxy)) {
	for j := range 3 {
		f(n.wires[i][j])
		f(n.wires[j][i])
	}
}

// leader returns which server leads the stream of the orders, asked at another one.
func (n *net3) leader(t *testing.T, prefix string) (i int) {
	nc := connect(t, n.servers[0].ClientURL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a leader", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		stream, err := js.Stream(ctx, prefix+"-order")
		if err != nil {
			return err
		}
		_, err = fmt.Sscanf(stream.CachedInfo().Cluster.Leader, "n%d", &i)
		return err
	})
	return i
}

// A member of a group in a box of its own, and what its client has got.
type partMember struct {
	box *wschannels.ChannelBox

	mu  sync.Mutex // guards got
	got []string
}

func newPartMember(t *testing.T, b wschannels.Broker) *partMember {
	m := new(partMember)
	var err error
	m.box, err = wschannels.New(&wschannels.Options{
		Broker: b, Channel: wschannels.ChannelOptions{PayloadType: wschannels.Text},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn := wschannelstest.NewConn()
	c, err := wschannels.NewChannel(conn, &wschannels.ChannelOptions{PayloadType: wschannels.Text, Heartbeat: -1})
	if err == nil {
		err = m.box.Add(c)
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a member joins", func() error {
		_, err := m.box.Join(t.Context(), c, "g", nil)
		return err
	})
	var reading sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	reading.Go(func() {
		for {
			_, p, err := conn.Next(ctx)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.got = append(m.got, string(p))
			m.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		cancel()
		reading.Wait()
		within, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = m.box.Shutdown(within)
	})
	return m
}

func (m *partMember) has() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.got)
}

// inOrder reports whether got is want, perhaps without some.
func inOrder(got, want []string) bool {
	for _, text := range got {
		i := slices.Index(want, text)
		if i < 0 {
			return false
		}
		want = want[i+1:]
	}
	return true
}

// The server that leads is cut off from the two others, and comes back. What was accepted is in
// one history, in one order, once; what was refused is not; and a member that missed something,
// as the history could not be asked in time, has been told of it.
func TestAPartitionLosesNothingUntoldAndDoublesNothing(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprint("silent ", silent), func(t *testing.T) {
			t.Parallel()
			if silent && testing.Short() {
				t.Skip("the other one is enough for a short run")
			}
			testPartition(t, silent)
		})
	}
}

func testPartition(t *testing.T, silent bool) {
	n := newNet3(t)
	opts := &natsbroker.Options{Prefix: newPrefix(), Replicas: 3}
	var members []*partMember
	for _, s := range n.servers {
		b := open(t, s.ClientURL(), opts)
		eventually(t, "a broker", func() error {
			_, err := b.Position(t.Context(), "g")
			return err
		})
		members = append(members, newPartMember(t, b))
	}
	accepted, unsure := make(map[string]bool), make(map[string]bool)
	try := func(i int, text string) error {
		res, err := members[i].box.GroupSend(t.Context(), "g", text, &wschannels.SendOptions{SaveHistory: true})
		switch {
		case err == nil && res.Seq > 0 && res.Saved:
			accepted[text] = true
		case errors.Is(err, wschannels.ErrUnknownOutcome):
			unsure[text] = true
		case !errors.Is(err, wschannels.ErrUnavailable):
			t.Errorf("GroupSend: %+v, %v", res, err)
		}
		return err
	}
	k := 0
	send := func(i, count int) {
		for range count {
			eventually(t, "a group send", func() error {
				k++
				return try(i, fmt.Sprint(i, " ", k))
			})
		}
	}
	for i := range members {
		send(i, 5)
	}
	apart := n.leader(t, opts.Prefix)
	n.part(t, apart, silent)
	for i := range members {
		if i != apart {
			send(i, 10)
		}
	}
	for range 2 {
		k++
		if err := try(apart, fmt.Sprint(apart, " apart ", k)); err == nil {
			t.Error("a send on the server that is alone has succeeded")
		}
	}
	late, err := wschannels.NewChannel(wschannelstest.NewConn(), &wschannels.ChannelOptions{PayloadType: wschannels.Text})
	if err == nil {
		err = members[apart].box.Add(late)
	}
	if err != nil {
		t.Fatal(err)
	}
	if res, err := members[apart].box.Join(t.Context(), late, "g", &wschannels.JoinOptions{ReplayLast: 100}); err == nil && res.Recovered {
		t.Errorf("a join on the server that is alone: %+v", res)
	}
	n.join(apart)
	for i := range members {
		send(i, 5)
	}

	var want []string
	eventually(t, "one history on all sides, which all members have", func() error {
		for i, m := range members {
			saved, err := m.box.History(t.Context(), "g", nil)
			if err != nil {
				return err
			}
			var texts []string
			for j, msg := range saved {
				texts = append(texts, string(msg.Data))
				if msg.Seq != saved[0].Seq+uint64(j) {
					t.Fatalf("a hole in the history: %d at %d", msg.Seq, j)
				}
			}
			switch {
			case i == 0:
				want = texts
			case !slices.Equal(texts, want):
				return fmt.Errorf("history %d: %q, the first: %q", i, texts, want)
			}
			got, lost := m.has(), int(m.box.Stats().Lost)
			if !inOrder(got, want) || len(got)+lost != len(want) {
				return fmt.Errorf("member %d has %q, and %d are lost; the history: %q", i, got, lost, want)
			}
		}
		return nil
	})
	times := make(map[string]int)
	for _, text := range want {
		if times[text]++; times[text] > 1 || !accepted[text] && !unsure[text] {
			t.Errorf("%q is in the history %d times; accepted: %t, unsure: %t", text, times[text], accepted[text], unsure[text])
		}
	}
	for text := range accepted {
		if times[text] == 0 {
			t.Errorf("%q was accepted, and is lost", text)
		}
	}
}
