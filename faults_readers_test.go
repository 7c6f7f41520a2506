package wschannels_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/wschannels/wschannels"
)

// faultsServe is wireServe with connections that hold little, so that a peer that does not
// read is soon noticed.
func faultsServe(t *testing.T, h http.Handler, box *ChannelBox) *httptest.Server {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		_ = conn.(*net.TCPConn).SetWriteBuffer(16 << 10)
		return ctx
	}
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		wireShutdown(t, box)
	})
	return srv
}

func faultsDial(t *testing.T, srv *httptest.Server) *wirePeer {
	t.Helper()
	p := wireDial(t, srv)
	_ = p.Conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	_ = p.SetDeadline(time.Now().Add(boxPatience))
	return p
}

// faultsJoins joins everybody who comes to g.
func faultsJoins(box **ChannelBox) func(context.Context, *Channel) error {
	return func(ctx context.Context, c *Channel) error {
		_, err := (*box).Join(ctx, c, "g", nil)
		return err
	}
}

// faultsText is message i of size bytes.
func faultsText(i, size int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", size)) }

// faultsNumbers reads messages, up to the end of the connection, and returns which.
func faultsNumbers(p *wirePeer, each func(i int)) (got []int) {
	for {
		op, payload, err := p.next()
		switch {
		case err != nil:
			return got
		case op == wireClose:
			_, _ = p.Write(wireFrame(wireFin|wireClose, payload))
			continue
		case op != wireText:
			continue
		}
		digits, _, _ := strings.Cut(string(payload), " ")
		i, _ := strconv.Atoi(digits)
		got = append(got, i)
		each(i)
	}
}

// Over TCP: members that do not read, or take a little at a time, delay nobody and are
// treated as their policy says; what they miss is what was counted, and no queue is ever
// over its bound.
func TestReadersThatFallBehind(t *testing.T) {
	t.Parallel()
	const healthy, behind, messages, size, queue = 3, 2, 150, 16 << 10, 64 << 10
	for _, policy := range []SlowPolicy{SlowDisconnect, SlowDropNewest, SlowDropOldest} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			log := newWireLog()
			events := log.events()
			var box *ChannelBox
			events.OnConnect = faultsJoins(&box)
			box = wireBox(t, &Options{
				Channel: ChannelOptions{
					PayloadType: Text, Slow: policy, QueueBytes: queue, WriteTimeout: time.Minute, CloseTimeout: 100 * time.Millisecond,
				},
				Events: events,
			})
			srv := faultsServe(t, box, box)
			arrived := make(chan int, healthy*messages)
			var readers sync.WaitGroup
			var complete [healthy][]int
			for i := range healthy {
				p := faultsDial(t, srv)
				readers.Go(func() { complete[i] = faultsNumbers(p, func(n int) { arrived <- n }) })
			}
			stalled, slow := faultsDial(t, srv), faultsDial(t, srv)
			boxEventually(t, "all are members", func() bool { return len(box.Members("g")) == healthy+behind })
			hurry := make(chan struct{}) // closed when the slow one need not be slow any more
			var partial [behind][]int
			slow.trickle(time.Millisecond, hurry)
			readers.Go(func() { partial[0] = faultsNumbers(slow, func(int) {}) })

			var sum SendResult
			for n := range messages {
				res := boxSend(t, box, "g", faultsText(n, size), nil)
				sum.Queued += res.Queued
				sum.Dropped += res.Dropped
				sum.Evicted += res.Evicted
				sum.Closed += res.Closed
				for range healthy { // they are never behind
					select {
					case i := <-arrived:
						if i != n {
							t.Fatalf("a healthy member got message %d, want %d", i, n)
						}
					case <-time.After(boxPatience):
						t.Fatalf("a healthy member does not get message %d", n)
					}
				}
				if s := box.Stats(); s.QueuedBytes > behind*queue {
					t.Fatalf("%d bytes are queued for %d members that are behind", s.QueuedBytes, behind)
				}
			}
			if sum.Queued+sum.Dropped+sum.Closed > messages*(healthy+behind) || sum.Dropped+sum.Evicted+sum.Closed == 0 {
				t.Errorf("the sum of results is %+v: nobody was behind", sum)
			}
			close(hurry)
			readers.Go(func() { partial[1] = faultsNumbers(stalled, func(int) {}) }) // it wakes up
			if policy == SlowDisconnect {
				for range behind {
					if end := log.end(t); end.Code != StatusSlowConsumer || !errors.Is(end, ErrSlowConsumer) {
						t.Errorf("the end is %v, want 4004", end)
					}
				}
			} else {
				boxEventually(t, "the rest is written", func() bool {
					s := box.Stats()
					return s.Sent == uint64(sum.Queued-sum.Evicted) && s.QueuedBytes == 0
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), boxPatience)
			defer cancel()
			closed, err := box.CloseAll(ctx, 1000, "")
			if want := healthy + behind - sum.Closed; err != nil || closed != want {
				t.Errorf("CloseAll: %d, %v; want the %d who are left", closed, err, want)
			}
			readers.Wait()

			for _, got := range complete {
				if len(got) != messages || !slices.IsSorted(got) {
					t.Errorf("a healthy member got %d messages", len(got))
				}
			}
			got := 0
			for _, some := range partial {
				got += len(some)
				if !slices.IsSorted(some) || len(slices.Compact(some)) != len(some) {
					t.Errorf("one that was behind got %v: out of order", some)
				}
			}
			s := box.Stats()
			if policy == SlowDisconnect {
				if s.SlowClosed != behind || sum.Closed != behind || got > sum.Queued-healthy*messages {
					t.Errorf("SlowClosed %d, results %+v, %d messages reached them; want 2 closed, and no more than was queued", s.SlowClosed, sum, got)
				}
			} else if want := sum.Queued - sum.Evicted - healthy*messages; got != want || s.Dropped != uint64(sum.Dropped+sum.Evicted) {
				t.Errorf("those behind got %d messages, want %d; Dropped %d, and the results say %+v", got, want, s.Dropped, sum)
			}
			if len(log.ends) != healthy+behind || s.Sent+s.Dropped != uint64(sum.Queued+sum.Dropped) {
				t.Errorf("%d ends, %d sent and %d dropped, and the results say %+v", len(log.ends), s.Sent, s.Dropped, sum)
			}
			boxNothingLeft(t, box)
		})
	}
}

// trickle makes p read 1 KiB at a time.
func (p *wirePeer) trickle(every time.Duration, hurry <-chan struct{}) {
	early, _ := p.br.Peek(p.br.Buffered())
	p.br.Reset(io.MultiReader(bytes.NewReader(bytes.Clone(early)), &faultsTrickle{p.Conn, time.NewTicker(every), hurry}))
}

// A faultsTrickle reads a little at each tick, until it is in a hurry.
type faultsTrickle struct {
	io.Reader
	tick  *time.Ticker
	hurry <-chan struct{}
}

func (r *faultsTrickle) Read(p []byte) (int, error) {
	select {
	case <-r.hurry:
	case <-r.tick.C:
		p = p[:min(len(p), 1<<10)]
	}
	return r.Reader.Read(p)
}

// A peer that takes a little all the time is slow, and not gone: no single write of its
// takes WriteTimeout, though all of them together do.
func TestASlowReaderThatKeepsReadingGetsEverything(t *testing.T) {
	t.Parallel()
	const size, timeout = 16 << 10, time.Second
	box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text, WriteTimeout: timeout, QueueBytes: 64 << 10}})
	messages := 0
	srv := faultsServe(t, box.Handler(func(ctx context.Context, c *Channel) error {
		for start := time.Now(); time.Since(start) < timeout*5/4; messages++ {
			if err := c.Send(ctx, faultsText(messages, size)); err != nil {
				return err
			}
		}
		return nil
	}), box)
	p := faultsDial(t, srv)
	p.trickle(time.Millisecond, nil)
	got := faultsNumbers(p, func(int) {})
	boxNothingLeft(t, box)
	if len(got) != messages || !slices.IsSorted(got) {
		t.Errorf("it got %d of %d messages: %v", len(got), messages, got)
	}
	if s := box.Stats(); s.Sent != uint64(messages) || s.Dropped != 0 || s.SlowClosed != 0 {
		t.Errorf("Stats: %+v", s)
	}
}

// A reset in the middle of a frame that is being written, by a goroutine because it is
// long, or by a worker among many: the end of that one channel, once.
func TestAResetInTheMiddleOfAFrameThatIsWritten(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"long": 4 << 20, "many": 40 << 10} {
		t.Run(name, func(t *testing.T) {
			log := newWireLog()
			events := log.events()
			var box *ChannelBox
			events.OnConnect = faultsJoins(&box)
			box = wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text, QueueBytes: 8 << 20, WriteTimeout: time.Minute}, Events: events})
			srv := faultsServe(t, box, box)
			healthy, victim := faultsDial(t, srv), faultsDial(t, srv)
			boxEventually(t, "both are members", func() bool { return len(box.Members("g")) == 2 })
			var got []int
			var reader sync.WaitGroup
			reader.Go(func() { got = faultsNumbers(healthy, func(int) {}) })
			queued := 0
			for n := range 3<<20/size + 1 {
				queued += boxSend(t, box, "g", faultsText(n, size), nil).Queued
			}
			if _, err := io.ReadFull(victim.br, make([]byte, size/2)); err != nil {
				t.Fatal(err)
			}
			_ = victim.Conn.(*net.TCPConn).SetLinger(0)
			victim.Close()
			end := log.end(t)
			wireWantEnd(t, end, 1006, true)
			if !errors.Is(end, syscall.ECONNRESET) && !errors.Is(end, syscall.EPIPE) && !errors.Is(end, io.ErrUnexpectedEOF) { // whoever sees it first
				t.Errorf("the end is %v, want that of a lost connection", end)
			}
			queued += boxSend(t, box, "g", faultsText(-1, 1), nil).Queued
			ctx, cancel := context.WithTimeout(t.Context(), boxPatience)
			defer cancel()
			if _, err := box.CloseAll(ctx, 1000, ""); err != nil {
				t.Error(err)
			}
			reader.Wait()
			if want := 3<<20/size + 2; len(got) != want || got[want-1] != -1 || !slices.IsSorted(got[:want-1]) {
				t.Errorf("the other one got %v, want %d messages", got, want)
			}
			s := box.Stats()
			if s.Sent+s.Dropped != uint64(queued) || s.Dropped == 0 || len(log.ends) != 2 || len(log.errs) > 1 {
				t.Errorf("%d sent, %d dropped of %d, %d ends, errors %v", s.Sent, s.Dropped, queued, len(log.ends), log.errs)
			}
			boxNothingLeft(t, box)
		})
	}
}
