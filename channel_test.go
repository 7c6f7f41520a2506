package wschannels_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

func TestChannelOptionsThatMeanNothing(t *testing.T) {
	type options = wschannels.ChannelOptions
	for _, tt := range []struct {
		name string
		opts options
	}{
		{"PayloadType", options{PayloadType: 3}},
		{"TTL", options{TTL: -1}},
		{"MaxLifetime", options{MaxLifetime: -1}},
		{"ReadLimit negative", options{ReadLimit: -1}},
		{"ReadLimit over 1 GiB", options{ReadLimit: 1<<30 + 1}},
		{"ReadLimit that would overflow", options{ReadLimit: math.MaxInt64}},
		{"ReadTimeout", options{ReadTimeout: -1}},
		{"QueueBytes", options{QueueBytes: -1}},
		{"Slow", options{Slow: wschannels.SlowDropOldest + 1}},
		{"WriteTimeout", options{WriteTimeout: -1}},
		{"CloseTimeout", options{CloseTimeout: -1}},
		{"HeartbeatTimeout", options{HeartbeatTimeout: -1}},
		{"MessageLimit", options{MessageLimit: -1}},
		{"MessageWindow", options{MessageWindow: -1}},
		{"AuthTimeout", options{AuthTimeout: -1}},
		{"Envelope on a Bytes channel", options{Envelope: true, PayloadType: wschannels.Bytes}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := wschannels.NewChannel(wschannelstest.NewConn(), &tt.opts)
			if c != nil || !errors.Is(err, wschannels.ErrInvalidOption) {
				t.Errorf("NewChannel = %v, %v; want nil, ErrInvalidOption", c, err)
			}
			if _, err := wschannels.New(&wschannels.Options{Channel: tt.opts}); !errors.Is(err, wschannels.ErrInvalidOption) {
				t.Errorf("New with them as defaults: %v, want ErrInvalidOption", err)
			}
		})
	}
}

func TestChannelOptionsAtTheirLimits(t *testing.T) {
	for _, opts := range []wschannels.ChannelOptions{
		{PayloadType: wschannels.Bytes},
		{ReadLimit: 1},
		{ReadLimit: 1 << 30},
		{QueueBytes: 1},
		{Slow: wschannels.SlowDropOldest},
		{Heartbeat: -1},
		{Envelope: true, PayloadType: wschannels.Text},
		{TTL: 1, MaxLifetime: math.MaxInt64, HeartbeatTimeout: math.MaxInt64},
	} {
		c, err := wschannels.NewChannel(wschannelstest.NewConn(), &opts)
		if err != nil {
			t.Errorf("NewChannel(%+v): %v", opts, err)
			continue
		}
		c.CloseNow()
	}
}

func TestNewChannelNeedsAConn(t *testing.T) {
	for name, conn := range map[string]wschannels.Conn{
		"nil":       nil,
		"nil *Conn": (*websocket.Conn)(nil),
	} {
		if c, err := wschannels.NewChannel(conn, nil); c != nil || err == nil {
			t.Errorf("%s: NewChannel = %v, %v; want an error", name, c, err)
		}
	}
}

func TestChannelCopiesItsOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &wschannels.ChannelOptions{PayloadType: wschannels.Text, TTL: time.Minute}
		c, _ := chanOpen(t, opts)
		*opts = wschannels.ChannelOptions{PayloadType: wschannels.Bytes, TTL: time.Hour}
		if got := c.PayloadType(); got != wschannels.Text {
			t.Errorf("PayloadType() = %v after the caller changed its options, want text", got)
		}
		chanSleep(time.Minute)
		chanClosedBy(t, c, wschannels.StatusExpired, nil)
	})
}

func TestChannelIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := uuid.New()
		c, conn := chanOpen(t, &wschannels.ChannelOptions{ID: id, PayloadType: wschannels.Bytes})
		other, _ := chanOpen(t, nil)
		again, _ := chanOpen(t, nil)
		if c.ID() != id {
			t.Errorf("ID() = %v, want that of the options, %v", c.ID(), id)
		}
		if other.ID() == uuid.Nil || other.ID() == again.ID() {
			t.Errorf("IDs %v and %v, want two random ones", other.ID(), again.ID())
		}
		if c.PayloadType() != wschannels.Bytes || other.PayloadType() != wschannels.JSON {
			t.Errorf("payload types %v, %v; want bytes, and json by default", c.PayloadType(), other.PayloadType())
		}
		if c.Conn() != wschannels.Conn(conn) {
			t.Errorf("Conn() = %v, want the connection it was made of", c.Conn())
		}
		if c.Request() != nil || c.User() != "" {
			t.Errorf("Request() = %v, User() = %q; want none", c.Request(), c.User())
		}
		if got := c.Groups(); got == nil || len(got) != 0 {
			t.Errorf("Groups() = %#v, want an empty list", got)
		}
		if _, ok := c.ExpiresAt(); ok {
			t.Error("ExpiresAt() says that a channel without TTL and MaxLifetime expires")
		}
	})
}

func TestChannelGroupsAreSorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanOpen(t, nil)
		for _, name := range []string{"c", "a", "b"} {
			g, err := wschannels.NewGroup(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.Add(c); err != nil {
				t.Fatal(err)
			}
		}
		got := c.Groups()
		if want := []string{"a", "b", "c"}; !slices.Equal(got, want) {
			t.Errorf("Groups() = %q, want %q", got, want)
		}
		got[0] = "mine"
		if c.Groups()[0] != "a" {
			t.Error("changing what Groups returned changed the channel")
		}
	})
}

func TestChannelValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		c, _ := chanOpen(t, nil)
		if got := c.Value(key{}); got != nil {
			t.Errorf("Value before Set = %v, want nil", got)
		}
		c.Set(key{}, 1)
		c.Set("key", 2)
		if a, b := c.Value(key{}), c.Value("key"); a != 1 || b != 2 {
			t.Errorf("Values = %v, %v; want 1, 2", a, b)
		}
		c.Set(key{}, nil)
		if got := c.Value(key{}); got != nil {
			t.Errorf("Value after Set to nil = %v, want nil", got)
		}
		c.CloseNow()
		if got := c.Value("key"); got != 2 {
			t.Errorf("Value after the end = %v, want 2 still", got)
		}
	})
}

func TestChannelTellsOfItsEndEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanOpen(t, nil)
		if c.Err() != nil || c.Context().Err() != nil {
			t.Fatalf("Err() = %v, Context().Err() = %v while open", c.Err(), c.Context().Err())
		}
		select {
		case <-c.Done():
			t.Fatal("Done is closed while open")
		default:
		}
		if err := c.Close(4999, "bye"); err != nil {
			t.Fatalf("Close: %v", err)
		}
		<-c.Done()
		<-c.Context().Done()
		err := c.Err()
		var end *wschannels.CloseError
		if !errors.As(err, &end) || end.Code != 4999 || end.Reason != "bye" || end.Remote || end.Err != nil {
			t.Fatalf("Err() = %#v, want CloseError 4999 bye", err)
		}
		if cause := context.Cause(c.Context()); cause != err || c.Err() != err {
			t.Errorf("the cause %v and Err() %v are not the same error", cause, c.Err())
		}
	})
}

func TestErrIsSetWhenClosingStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.Stall()
		go c.Close(websocket.StatusNormalClosure, "")
		synctest.Wait()
		select {
		case <-c.Done():
		default:
			t.Error("Done is open though closing has started")
		}
		chanClosedBy(t, c, websocket.StatusNormalClosure, wschannels.ErrClosed)
		for name, err := range map[string]error{
			"Send":         c.Send(t.Context(), 1),
			"Authenticate": c.Authenticate(t.Context(), ""),
			"SetUser":      c.SetUser("ann"),
		} {
			if err != c.Err() {
				t.Errorf("%s on a closing channel: %v, want its Err()", name, err)
			}
		}
		if _, err := c.Receive(t.Context()); err != c.Err() {
			t.Errorf("Receive on a closing channel: %v, want its Err()", err)
		}
	})
}
