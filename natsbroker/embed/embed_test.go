package embed_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/internal/leak"
	"github.com/wschannels/wschannels/natsbroker"
	"github.com/wschannels/wschannels/natsbroker/embed"
)

func TestMain(m *testing.M) { leak.Main(m) }

const patience = time.Minute

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s: %v", what, err)
		}
		pause(20 * time.Millisecond)
	}
}

func pause(d time.Duration) { <-time.After(d) }

// freeAddr is an address that was free a moment ago.
func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A listener keeps what it is told.
type listener struct {
	mu          sync.Mutex
	texts       []string
	interrupted int
}

func (l *listener) Deliver(p *wschannels.Publication) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts = append(l.texts, string(p.Data))
}
func (l *listener) Appear(string, wschannels.PresenceEntry) {}
func (l *listener) Failed(error)                            {}
func (l *listener) Interrupted(string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.interrupted++
}

func (l *listener) heard() (n, interrupted int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.texts), l.interrupted
}

func saved(text string) *wschannels.Publication {
	return &wschannels.Publication{Save: true, Message: wschannels.Message{
		ID: uuid.New(), Group: "room", Created: time.Now(), Data: []byte(text),
	}}
}

// publish publishes until that works, and returns how often the outcome was unknown.
func publish(t testing.TB, b wschannels.Broker, text string) (unknown int) {
	eventually(t, "publish "+text, func() error {
		err := b.Publish(patient(t), saved(text))
		switch {
		case errors.Is(err, wschannels.ErrUnknownOutcome):
			unknown++
		case err != nil && !errors.Is(err, wschannels.ErrUnavailable):
			t.Fatalf("publish: %v", err)
		}
		return err
	})
	return unknown
}

func texts(t testing.TB, b *natsbroker.Broker) []string {
	var got []string
	eventually(t, "the history", func() error {
		page, err := b.History(patient(t), "room", nil)
		got = nil
		for i, m := range page.Messages {
			if i > 0 && m.Seq != page.Messages[i-1].Seq+1 {
				t.Fatalf("a hole in the history: %d after %d", m.Seq, page.Messages[i-1].Seq)
			}
			got = append(got, string(m.Data))
		}
		return err
	})
	return got
}

func TestOfThreeServersAnyMayDieAndNothingSavedIsLost(t *testing.T) {
	var addrs []string
	for range 3 {
		addrs = append(addrs, freeAddr(t))
	}
	var servers []*embed.Server
	var brokers []*natsbroker.Broker
	for i, addr := range addrs {
		s, err := embed.Start(&embed.Options{Dir: t.TempDir(), Name: fmt.Sprint("n", i), Cluster: addr, Peers: addrs, Secret: "s3cret"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close(patient(t)) })
		servers = append(servers, s)
	}
	for _, s := range servers {
		b, err := s.Broker(&natsbroker.Options{Replicas: 3})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close(patient(t)) })
		brokers = append(brokers, b)
	}
	var heard [3]listener
	for i, b := range brokers {
		eventually(t, "subscribe", func() error { return b.Subscribe(patient(t), "room", &heard[i]) })
	}
	unknown, want := 0, 0
	send := func(b wschannels.Broker, n int) {
		for range n {
			unknown += publish(t, b, fmt.Sprint(want))
			want++
		}
	}
	send(brokers[0], 20)
	for i := range heard {
		eventually(t, "all are heard", func() error {
			if n, _ := heard[i].heard(); n < want {
				return fmt.Errorf("%d of %d", n, want)
			}
			return nil
		})
	}
	dead := leader(t, servers[0])
	left := []int{(dead + 1) % 3, (dead + 2) % 3}
	var wg sync.WaitGroup
	wg.Go(func() { servers[dead].Close(patient(t)) })
	send(brokers[left[0]], 20)
	wg.Wait()
	send(brokers[left[1]], 5)
	for _, i := range left {
		got := texts(t, brokers[i])
		if len(got) < want || len(got) > want+unknown {
			t.Errorf("%d messages in the history, want %d, and at most %d more", len(got), want, unknown)
		}
		for n := range want {
			if !slices.Contains(got, fmt.Sprint(n)) {
				t.Errorf("message %d is lost", n)
			}
		}
		eventually(t, "all are heard, or an interruption", func() error {
			if n, interrupted := heard[i].heard(); n < want && interrupted == 0 {
				return fmt.Errorf("%d of %d", n, want)
			}
			return nil
		})
	}
}

// leader returns which of the servers n0, n1 and n2 leads the stream.
func leader(t testing.TB, s *embed.Server) (n int) {
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a leader", func() error {
		stream, err := js.Stream(patient(t), "wschannels-order")
		if err != nil {
			return err
		}
		_, err = fmt.Sscanf(stream.CachedInfo().Cluster.Leader, "n%d", &n)
		return err
	})
	return n
}

func TestASharedServerMovesToTheProcessThatIsLeft(t *testing.T) {
	addr, dir := freeAddr(t), t.TempDir()
	var shared []*embed.Shared
	var brokers []*natsbroker.Broker
	for range 2 {
		s, err := embed.Share(addr, dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close(patient(t)) })
		b, err := natsbroker.Open(s.URL(), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close(patient(t)) })
		shared, brokers = append(shared, s), append(brokers, b)
		eventually(t, "a server", func() error { _, err := b.Position(patient(t), "room"); return err })
	}
	var heard listener
	if err := brokers[1].Subscribe(patient(t), "room", &heard); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		publish(t, brokers[0], fmt.Sprint(i))
	}
	brokers[0].Close(patient(t))
	if err := shared[0].Close(patient(t)); err != nil {
		t.Fatal(err)
	}
	publish(t, brokers[1], "10")
	if got := texts(t, brokers[1]); len(got) != 11 || got[10] != "10" {
		t.Errorf("history %q, want 0 to 10", got)
	}
	eventually(t, "an interruption", func() error {
		if _, n := heard.heard(); n == 0 {
			return errors.New("none")
		}
		return nil
	})
}

func TestBadOptionsAreRefused(t *testing.T) {
	dir := t.TempDir()
	for name, o := range map[string]*embed.Options{
		"no directory":         nil,
		"open without secret":  {Dir: filepath.Join(dir, "a"), Listen: "0.0.0.0:0"},
		"routes without one":   {Dir: filepath.Join(dir, "b"), Cluster: "10.0.0.1:6222"},
		"not an address":       {Dir: filepath.Join(dir, "c"), Listen: "127.0.0.1"},
		"not a port":           {Dir: filepath.Join(dir, "d"), Listen: "127.0.0.1:http"},
		"every address, named": {Dir: filepath.Join(dir, "e"), Listen: ":4222"},
	} {
		if s, err := embed.Start(o); err == nil {
			s.Close(patient(t))
			t.Errorf("%s: no error", name)
		} else if !errors.Is(err, wschannels.ErrInvalidOption) {
			t.Errorf("%s: %v does not match ErrInvalidOption", name, err)
		}
	}
	for _, addr := range []string{"", "127.0.0.1", "127.0.0.1:0", "0.0.0.0:7422"} {
		if s, err := embed.Share(addr, dir); err == nil {
			s.Close(patient(t))
			t.Errorf("Share(%q): no error", addr)
		} else if !errors.Is(err, wschannels.ErrInvalidOption) {
			t.Errorf("Share(%q): %v does not match ErrInvalidOption", addr, err)
		}
	}
	if _, err := embed.Share("127.0.0.1:7422", ""); !errors.Is(err, wschannels.ErrInvalidOption) {
		t.Errorf("Share without a directory: %v, want ErrInvalidOption", err)
	}
}

func TestOtherProcessesNeedTheSecret(t *testing.T) {
	s, err := embed.Start(&embed.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Secret: "a b/c@d"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(patient(t)) })
	with, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(with.String())
	if err != nil {
		t.Fatalf("with the secret: %v", err)
	}
	nc.Close()
	without := *with
	without.User = nil
	if nc, err := nats.Connect(without.String()); !errors.Is(err, nats.ErrAuthorization) {
		nc.Close()
		t.Errorf("without the secret: %v, want ErrAuthorization", err)
	}
	if got := s.Cluster(); got != "" {
		t.Errorf("Cluster() = %q of a server without one", got)
	}
}

func TestAServerThatCannotStartSaysWhy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := embed.Start(&embed.Options{Dir: file}); err == nil {
		s.Close(patient(t))
		t.Error("Start in a file: no error")
	}
	s, err := embed.Share(freeAddr(t), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(patient(t)) })
	eventually(t, "a reason", func() error {
		if s.Err() == nil {
			return errors.New("none")
		}
		return nil
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a server", s.Err)
}
