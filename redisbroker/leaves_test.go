package redisbroker_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker/redistest"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A doorman is a Listener that holds up whatever comes behind what it hears.
type doorman struct{ came, open chan struct{} }

func (d *doorman) Hear(_ string, _ []byte, answer func([]byte)) {
	close(d.came)
	<-d.open
	answer(nil)
}

func (*doorman) Interrupted(string) {}

// A tool that hears everything is no listener, although Redis counts it when it publishes.
func TestWhoHearsAPatternIsNobody(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), nil)
	tool, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer tool.Close()
	if _, err := tool.Write([]byte("PSUBSCRIBE *\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := tool.Read(make([]byte, 64)); err != nil { // it is subscribed
		t.Fatal(err)
	}
	_, err = b.Request(within(t, redistest.Patience), "nobody", nil)
	wantErr(t, err, wschannels.ErrNobody)
}

func TestARequestThatIsOnItsWayWhenTheListenerGoesIsAnswered(t *testing.T) {
	s := redistest.Start(t)
	a, b, c := open(t, s.URL(), nil), open(t, s.URL(), nil), open(t, s.URL(), nil)
	for _, tt := range []struct {
		address string
		other   bool // node listens, too
		want    error
	}{
		{"one", false, wschannels.ErrNobody},
		{"two", true, nil},
	} {
		d := &doorman{make(chan struct{}), make(chan struct{})}
		if err := b.Listen(t.Context(), "door", d); err != nil {
			t.Fatal(err)
		}
		goes := &echo{}
		if err := b.Listen(t.Context(), tt.address, goes); err != nil {
			t.Fatal(err)
		}
		if tt.other {
			if err := c.Listen(t.Context(), tt.address, &echo{}); err != nil {
				t.Fatal(err)
			}
		}
		ask := func(address string) <-chan error {
			answered := make(chan error, 1)
			ctx := within(t, redistest.Patience)
			go func() {
				_, err := a.Request(ctx, address, []byte("x"))
				answered <- err
			}()
			return answered
		}
		door := ask("door")
		<-d.came
		s.CLI("CONFIG", "RESETSTAT")
		answered := ask(tt.address)
		until(t, "the request is on its way", func() bool { return strings.Contains(s.CLI("INFO", "commandstats"), "cmdstat_publish:") })
		if err := b.Unlisten(t.Context(), tt.address, goes); err != nil {
			t.Fatal(err)
		}
		close(d.open)
		if err := <-answered; err != tt.want {
			t.Errorf("%s: %v, want %v", tt.address, err, tt.want)
		}
		if err := <-door; err != nil {
			t.Error(err)
		}
		if err := b.Unlisten(t.Context(), "door", d); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsSentToAUserWhoMovesIsDeliveredOrKept(t *testing.T) {
	s := redistest.Start(t)
	var boxes []*wschannels.ChannelBox
	for range 3 {
		box, err := wschannels.New(&wschannels.Options{Broker: open(t, s.URL(), nil)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := box.Shutdown(within(t, redistest.Patience)); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
		boxes = append(boxes, box)
	}
	ctx, stop := context.WithCancel(t.Context())
	moved := make(chan error, 1)
	go func() { moved <- move(ctx, boxes[1:]) }()
	const sends = 1000
	for i := range sends {
		switch res, err := boxes[0].SendToUser(within(t, redistest.Patience), "ann", fmt.Sprint(i)); {
		case err != nil:
			t.Fatalf("send %d: %v", i, err)
		case res.Remote+res.Waiting == 0:
			t.Fatalf("send %d: %+v is nowhere", i, res)
		}
	}
	stop()
	if err := <-moved; err != nil {
		t.Error(err)
	}
}

// move has a user come to one box after the other, and leave it at once, until ctx ends.
func move(ctx context.Context, boxes []*wschannels.ChannelBox) error {
	for i := 0; ctx.Err() == nil; i++ {
		c, err := wschannels.NewChannel(wschannelstest.NewConn(), &wschannels.ChannelOptions{PayloadType: wschannels.Text, Heartbeat: -1})
		if err == nil {
			err = c.SetUser("ann")
		}
		if err == nil {
			err = boxes[i%len(boxes)].Add(c)
		}
		if err != nil {
			return err
		}
		timer := time.NewTimer(time.Duration(i%5) * time.Millisecond)
		<-timer.C
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}
