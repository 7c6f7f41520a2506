package wschannels_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A chanMute connection never answers a ping, but notes the first hundred.
type chanMute struct {
	*wschannelstest.Conn
	pinged chan time.Time
}

func chanMuteConn() chanMute {
	return chanMute{wschannelstest.NewConn(), make(chan time.Time, 100)}
}

func (m chanMute) Ping(ctx context.Context) error {
	select {
	case m.pinged <- time.Now():
	default: // it has seen enough
	}
	<-ctx.Done()
	return ctx.Err()
}

func chanOpenMute(t *testing.T, opts *wschannels.ChannelOptions) (*wschannels.Channel, chanMute) {
	t.Helper()
	conn := chanMuteConn()
	c, err := wschannels.NewChannel(conn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	return c, conn
}

// IDs at both ends of what the pings are spread by.
var chanSpread = []uuid.UUID{{15: 0, 0: 1}, {15: 255, 0: 1}, {}}

func TestHeartbeatOfASilentPeer(t *testing.T) {
	for _, id := range chanSpread {
		for _, tt := range []struct{ heartbeat, timeout, ping, stale time.Duration }{
			{0, 0, 25 * time.Second, 45 * time.Second},
			{time.Minute, time.Second, time.Minute, 61 * time.Second},
			{time.Second, time.Minute, time.Second, 61 * time.Second},
		} {
			synctest.Test(t, func(t *testing.T) {
				c, conn := chanOpenMute(t, &wschannels.ChannelOptions{ID: id, Heartbeat: tt.heartbeat, HeartbeatTimeout: tt.timeout})
				at := <-conn.pinged
				if after := at.Sub(c.Created()); after > tt.ping || after < tt.ping*9/10 {
					t.Errorf("the ping came after %v, want %v or up to a tenth less", after, tt.ping)
				}
				chanSleep(time.Until(c.Created().Add(tt.stale - 1)))
				chanIsOpen(t, c)
				chanSleep(1)
				chanClosedBy(t, c, wschannels.StatusStale, wschannels.ErrStale)
				chanSaw(t, conn.Conn, wschannels.StatusStale, "no sign of life")
			})
		}
	}
}

func TestHeartbeatCountsFromTheLastTraffic(t *testing.T) {
	for _, id := range chanSpread {
		synctest.Test(t, func(t *testing.T) {
			c, conn := chanOpenMute(t, &wschannels.ChannelOptions{ID: id})
			for range 20 {
				chanSleep(44 * time.Second) // pinged meanwhile, but not stale
				conn.PushJSON(1)
				if _, err := c.Receive(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for len(conn.pinged) > 0 {
				<-conn.pinged
			}
			chanSleep(45*time.Second - 1)
			chanIsOpen(t, c)
			chanSleep(1)
			chanClosedBy(t, c, wschannels.StatusStale, wschannels.ErrStale)
		})
	}
}

// A chatty peer is not pinged.
func TestTrafficPutsPingsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpenMute(t, nil)
		for range 100 {
			chanSleep(20 * time.Second)
			conn.PushJSON(1)
			if _, err := c.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(conn.pinged); n != 0 {
			t.Errorf("%d pings though there was traffic all the time", n)
		}
	})
}

// What the channel sends says nothing about the peer.
func TestOutboundTrafficIsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanOpenMute(t, nil)
		for range 9 {
			chanSleep(5*time.Second - 1)
			if err := c.Send(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		chanSleep(9)
		chanClosedBy(t, c, wschannels.StatusStale, wschannels.ErrStale)
	})
}

func TestHeartbeatOfAPeerThatAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		chanSleep(time.Hour)
		chanIsOpen(t, c)
		if n := conn.Pings(); n < 144 || n > 160 {
			t.Errorf("%d pings in an hour, want one each 22.5 to 25 s", n)
		}
		conn.Stall()
		chanSleep(45 * time.Second)
		chanClosedBy(t, c, wschannels.StatusStale, wschannels.ErrStale)
	})
}

// The next ping does not wait for the time that this one had to be answered.
func TestPingsComeAtTheirIntervalWhateverTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{Heartbeat: 10 * time.Second, HeartbeatTimeout: time.Hour})
		chanSleep(time.Hour)
		chanIsOpen(t, c)
		if n := conn.Pings(); n < 360 || n > 400 {
			t.Errorf("%d pings in an hour, want one each 9 to 10 s", n)
		}
	})
}

func TestHeartbeatOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpenMute(t, &wschannels.ChannelOptions{Heartbeat: -1})
		chanSleep(24 * time.Hour)
		chanIsOpen(t, c)
		if n := len(conn.pinged); n != 0 {
			t.Errorf("%d pings though the heartbeat is off", n)
		}
	})
}

// While a message waits to be received, nobody would see the peer's answer: that is
// not the peer's fault.
func TestSlowReceiverIsNoStalePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpenMute(t, nil)
		conn.PushJSON(1)
		conn.PushJSON(2)
		chanSleep(10 * time.Hour)
		chanIsOpen(t, c)
		for range 2 {
			if _, err := c.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		chanSleep(45*time.Second - 1) // from now on it counts
		chanIsOpen(t, c)
		chanSleep(1)
		chanClosedBy(t, c, wschannels.StatusStale, wschannels.ErrStale)
	})
}

func TestSlowOnMessageIsNoStalePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, &wschannels.Options{Events: wschannels.Events{
			OnMessage: func(ctx context.Context, _ *wschannels.Channel, _ wschannels.Message) error {
				<-ctx.Done()
				return nil
			},
		}})
		client := wschannelstest.Dial(t, box, "/")
		if err := client.Write(t.Context(), websocket.MessageText, []byte("1")); err != nil {
			t.Fatal(err)
		}
		chanSleep(9 * time.Hour)
		if n := len(box.Channels()); n != 1 {
			t.Errorf("%d channels, want the one whose handler is slow", n)
		}
	})
}

func TestHeartbeatTimeoutOfForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never, conn := chanOpenMute(t, &wschannels.ChannelOptions{HeartbeatTimeout: math.MaxInt64})
		off, quiet := chanOpenMute(t, &wschannels.ChannelOptions{Heartbeat: math.MaxInt64})
		chanSleep(24 * time.Hour)
		chanIsOpen(t, never)
		chanIsOpen(t, off)
		if len(conn.pinged) != 1 || len(quiet.pinged) != 0 {
			t.Errorf("%d and %d pings, want 1 and 0", len(conn.pinged), len(quiet.pinged))
		}
	})
}

// Channels that were made at once, after a restart say, are not pinged at once.
func TestChannelsDoNotPingInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const channels = 10_000
		box := chanBox(t, &wschannels.Options{})
		pinged := make(chan time.Time, channels)
		began := time.Now()
		for i := range channels {
			c, err := wschannels.NewChannel(chanMute{wschannelstest.NewConn(), pinged}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				err = box.Add(c)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
		}
		chanSleep(25 * time.Second)
		if len(pinged) != channels {
			t.Fatalf("%d of %d channels were pinged in time", len(pinged), channels)
		}
		slots := make(map[time.Duration]int) // of 100 ms; evenly, 25 would get 400 each
		for range channels {
			at := <-pinged
			slots[at.Sub(began)/(100*time.Millisecond)]++
		}
		for slot, n := range slots {
			if n > channels/10 {
				t.Errorf("%d of %d pings after %v", n, channels, slot*100*time.Millisecond)
			}
		}
	})
}

var errChanPing = errors.New("no ping")

// A ping that fails is no answer, and no end either.
func TestFailedPingIsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.FailWrites(errChanPing)
		chanSleep(45*time.Second - 1)
		chanIsOpen(t, c)
		chanSleep(1)
		chanClosedBy(t, c, wschannels.StatusStale, wschannels.ErrStale)
	})
}

// Where nothing is read, nobody is stale; but pings find out that a connection is gone.
func TestGonePeerOfAHandlerThatDoesNotReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, nil)
		h := box.Handler(func(ctx context.Context, c *wschannels.Channel) error {
			<-ctx.Done()
			return nil
		})
		client := wschannelstest.Dial(t, h, "/")
		if err := client.Write(t.Context(), websocket.MessageText, []byte("1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(time.Hour) // alive: pings are taken, if not answered
		synctest.Wait()
		if n := box.Stats().Channels; n != 1 {
			t.Fatalf("%d channels, want 1", n)
		}
		if err := client.CloseNow(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := box.Stats().Channels; n != 0 {
			t.Errorf("%d channels a minute after the peer was gone, want 0", n)
		}
	})
}

// The same on a Conn of the application's: a ping that fails says what no read can.
func TestGonePeerOfAChannelThatIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.PushJSON(1)
		conn.PushJSON(2)
		chanSleep(time.Hour)
		chanIsOpen(t, c)
		gone := errors.New("gone")
		conn.FailWrites(gone)
		chanSleep(25 * time.Second)
		chanClosedBy(t, c, websocket.StatusAbnormalClosure, gone)
	})
}

// What a peer sent while nothing was read is no flood.
func TestControlFramesThatPiledUp(t *testing.T) {
	for _, heartbeat := range []time.Duration{time.Second, -1} { // pongs to our pings; pings of its own
		synctest.Test(t, func(t *testing.T) {
			box := chanBox(t, &wschannels.Options{Channel: wschannels.ChannelOptions{Heartbeat: heartbeat}})
			h := box.Handler(func(ctx context.Context, c *wschannels.Channel) error {
				time.Sleep(5 * time.Minute)
				for range 2 {
					if _, err := c.Receive(ctx); err != nil {
						return err
					}
				}
				return &wschannels.CloseError{Code: 4321}
			})
			client := wschannelstest.Dial(t, h, "/")
			ended := make(chan error, 1)
			go func() {
				_, _, err := client.Read(t.Context())
				ended <- err
			}()
			if err := client.Write(t.Context(), websocket.MessageText, []byte("1")); err != nil {
				t.Fatal(err)
			}
			pings, stop := context.WithCancel(t.Context())
			defer stop()
			for range 240 {
				if heartbeat < 0 {
					go func() { _ = client.Ping(pings) }() // ends with pings
				}
				time.Sleep(time.Second)
			}
			if err := client.Write(t.Context(), websocket.MessageText, []byte("2")); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; websocket.CloseStatus(err) != 4321 {
				t.Errorf("heartbeat %v: closed with %v, want 4321, by the handler", heartbeat, err)
			}
		})
	}
}
