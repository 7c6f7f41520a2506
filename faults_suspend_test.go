package wschannels_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A faultsSleeper is a peer from which nothing comes while the process is suspended.
type faultsSleeper struct {
	*wschannelstest.Conn
	mute  bool
	awake <-chan struct{}

	mu    sync.Mutex // guards pings
	pings []time.Time
}

func (s *faultsSleeper) Ping(ctx context.Context) error {
	s.mu.Lock()
	s.pings = append(s.pings, time.Now())
	s.mu.Unlock()
	awake := s.awake
	if s.mute {
		awake = nil
	}
	select {
	case <-awake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// asked reports how many pings came at or after at.
func (s *faultsSleeper) asked(at time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pings {
		if !p.Before(at) {
			n++
		}
	}
	return n
}

// A process that did not run for a minute asks every peer once more before it calls it
// stale, whether or not a ping was under way. Those that answer stay, those that do not go
// with 4000, and what else has come to its end meanwhile ends at once.
func TestAfterAMinuteOfSuspensionEveryPeerIsAskedAgain(t *testing.T) {
	for _, before := range []time.Duration{10 * time.Second, 24 * time.Second} { // no ping under way; most are
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex // guards ends
				ends := make(map[*Channel][]time.Time)
				b := boxOf(t, &Options{Events: Events{OnDisconnect: func(c *Channel, _ error) {
					mu.Lock()
					defer mu.Unlock()
					ends[c] = append(ends[c], time.Now())
				}}})
				awake := make(chan struct{})
				conns := make(map[*Channel]*faultsSleeper)
				add := func(n int, opts ChannelOptions, mute bool) (cs []*Channel) {
					for range n {
						conn := &faultsSleeper{Conn: wschannelstest.NewConn(), mute: mute, awake: awake}
						c, err := NewChannel(conn, &opts)
						if err != nil {
							t.Fatal(err)
						}
						if err := b.Add(c); err != nil {
							t.Fatal(err)
						}
						conns[c], cs = conn, append(cs, c)
					}
					return cs
				}
				no := func(context.Context, *Channel, string) error { return errors.New("no") }
				healthy := add(500, ChannelOptions{}, false)
				mute := add(200, ChannelOptions{}, true)
				over := map[error][]*Channel{
					ErrExpired:      append(add(50, ChannelOptions{TTL: 30 * time.Second}, false), add(50, ChannelOptions{MaxLifetime: 30 * time.Second}, true)...),
					ErrUnauthorized: add(50, ChannelOptions{Authenticator: no, AuthTimeout: 30 * time.Second}, false),
				}
				later := add(50, ChannelOptions{TTL: 10 * time.Minute, MaxLifetime: time.Hour}, false)
				expiry, _ := later[0].ExpiresAt()

				time.Sleep(before)
				HoldTimers(b, time.Minute)
				time.Sleep(time.Minute - 1)
				if n := b.Stats().Disconnected; n != 0 {
					t.Fatalf("%d channels ended during the suspension", n)
				}
				underWay := 0
				for _, conn := range conns {
					underWay += conn.asked(time.Time{})
				}
				if (underWay > 0) != (before > 20*time.Second) {
					t.Fatalf("%d pings before the suspension", underWay)
				}
				close(awake)
				woke := time.Now().Add(1)
				time.Sleep(time.Nanosecond)
				synctest.Wait()

				for why, cs := range over {
					for _, c := range cs {
						if !errors.Is(c.Err(), why) {
							t.Fatalf("at once: %v, want %v", c.Err(), why)
						}
					}
				}
				for _, cs := range [][]*Channel{healthy, mute, later} {
					for _, c := range cs {
						if err := c.Err(); err != nil || conns[c].asked(woke) != 1 {
							t.Fatalf("at once: %v, %d pings; want it open, and asked once", err, conns[c].asked(woke))
						}
					}
				}
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				for _, c := range mute {
					if !errors.Is(c.Err(), ErrStale) || len(ends[c]) != 1 || ends[c][0].Before(woke.Add(20*time.Second)) {
						t.Fatalf("a mute one: %v, at %v; want it stale, once, no sooner than 20 s after it was asked", c.Err(), ends[c])
					}
				}
				for _, c := range append(healthy, later...) {
					if err := c.Err(); err != nil {
						t.Fatalf("a healthy one: %v", err)
					}
				}
				if got, _ := later[0].ExpiresAt(); !got.Equal(expiry) {
					t.Errorf("it expires at %v, and was to at %v", got, expiry)
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if s := b.Stats(); s.Channels != len(healthy) || s.Stale != 200 || s.Expired != 150 {
					t.Errorf("Stats: %+v; want the healthy ones left, 200 stale, 150 expired", s)
				}
				for c, at := range ends {
					if len(at) != 1 {
						t.Errorf("OnDisconnect of %v %d times", c.Err(), len(at))
					}
				}
				for _, c := range healthy {
					c.CloseNow()
				}
				boxNothingLeft(t, b)
			})
		})
	}
}

// A faultsLateConn is a connection of which the first read deadline passes so much later, as
// when the process does not run.
type faultsLateConn struct {
	net.Conn
	late     time.Duration
	deadline time.Time
}

func (c *faultsLateConn) SetReadDeadline(t time.Time) error {
	c.deadline = t
	if c.late > 0 {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *faultsLateConn) Read(p []byte) (int, error) {
	if c.late > 0 && !c.deadline.IsZero() {
		time.Sleep(time.Until(c.deadline) + c.late)
		c.late = 0
		return 0, os.ErrDeadlineExceeded
	}
	return c.Conn.Read(p)
}

// A peer that is in the middle of a message when the process stops has the whole of
// ReadTimeout for the rest when it goes on, and no more than that.
func TestAfterASuspensionAMessageHasItsTimeOnceMore(t *testing.T) {
	for _, tt := range []struct {
		late, then time.Duration
		code       websocket.StatusCode
	}{
		{time.Minute, 29 * time.Second, 1000},
		{time.Second, 29 * time.Second, 1000},
		{time.Minute, 31 * time.Second, 1008},
		{time.Second - 1, 0, 1008}, // late as any process may be
	} {
		t.Run(fmt.Sprint(tt.late, " late, then ", tt.then), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newWireLog()
				b := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Text, Heartbeat: -1}, Events: log.events()})
				client, server := net.Pipe()
				w := wireHijack(&faultsLateConn{Conn: server, late: tt.late})
				b.ServeHTTP(w, wireUpgradeRequest(t))
				p := &wirePeer{Conn: client, br: bufio.NewReader(client)}
				frame := wireString("hello")
				p.send(t, frame[:3])
				time.Sleep(30*time.Second + tt.late + tt.then)
				go func() { // is written, or ends with the connection
					p.Write(frame[3:])
					p.Write(wireFrame(wireFin|wireClose, wireCloseBody(1000, "")))
				}()
				p.wantClose(t, tt.code)
				p.Close()
				wireWantEnd(t, log.end(t), tt.code, tt.code == 1000)
				if tt.code == 1000 {
					log.want(t, []string{"hello"}, 0)
				} else {
					log.want(t, nil, 1)
				}
				wireShutdown(t, b)
			})
		})
	}
}
