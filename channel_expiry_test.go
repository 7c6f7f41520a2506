package wschannels_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// chanExpiresIn fails unless c closes exactly d from now, as expired.
func chanExpiresIn(t *testing.T, c *wschannels.Channel, d time.Duration) {
	t.Helper()
	if at, ok := c.ExpiresAt(); !ok || !at.Equal(time.Now().Add(d)) {
		t.Errorf("ExpiresAt() = %v, %v; want %v", at, ok, time.Now().Add(d))
	}
	chanSleep(d - 1)
	if err := c.Err(); err != nil {
		t.Fatalf("1 ns early: %v", err)
	}
	chanSleep(1)
	chanClosedBy(t, c, wschannels.StatusExpired, wschannels.ErrExpired)
}

func TestTTLOfASilentChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, heartbeat := range []time.Duration{0, -1} { // pings and pongs are no messages
			c, conn := chanOpen(t, &wschannels.ChannelOptions{TTL: 10 * time.Minute, Heartbeat: heartbeat})
			chanExpiresIn(t, c, 10*time.Minute)
			if code, _, _ := conn.Closed(); code != wschannels.StatusExpired {
				t.Errorf("the peer saw %d, want 4003", code)
			}
		}
	})
}

func TestTTLIsRenewed(t *testing.T) {
	group, err := wschannels.NewGroup("g", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		renew func(*testing.T, *wschannels.Channel, *wschannelstest.Conn)
	}{
		{"by a message in", func(t *testing.T, c *wschannels.Channel, conn *wschannelstest.Conn) {
			conn.PushJSON(1)
		}},
		{"by a bad message in", func(t *testing.T, c *wschannels.Channel, conn *wschannelstest.Conn) {
			conn.Push(websocket.MessageText, []byte("{"))
		}},
		{"by a message out", func(t *testing.T, c *wschannels.Channel, conn *wschannelstest.Conn) {
			if err := c.Send(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}},
		{"by a group's message", func(t *testing.T, c *wschannels.Channel, conn *wschannelstest.Conn) {
			if _, err := group.Add(c); err != nil {
				t.Fatal(err)
			}
			if _, err := group.Send(t.Context(), 1, nil); err != nil {
				t.Fatal(err)
			}
		}},
		{"by Touch", func(t *testing.T, c *wschannels.Channel, conn *wschannelstest.Conn) {
			c.Touch()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, conn := chanOpen(t, &wschannels.ChannelOptions{TTL: time.Minute})
				created := c.Created()
				go func() { // takes what comes in
					for range c.Messages(t.Context()) {
					}
				}()
				tt.renew(t, c, conn) // at once: the first instant counts, too
				synctest.Wait()
				for range 2 {
					chanSleep(time.Minute - 1)
					tt.renew(t, c, conn)
					synctest.Wait()
					if !c.LastActivity().Equal(time.Now()) {
						t.Errorf("LastActivity() = %v, want %v", c.LastActivity(), time.Now())
					}
				}
				chanExpiresIn(t, c, time.Minute)
				if !c.Created().Equal(created) {
					t.Errorf("Created() moved from %v to %v", created, c.Created())
				}
			})
		})
	}
}

func TestTTLAtTheFirstInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanOpen(t, &wschannels.ChannelOptions{TTL: time.Minute})
		if !c.LastActivity().Equal(c.Created()) {
			t.Errorf("LastActivity() = %v, want Created, %v", c.LastActivity(), c.Created())
		}
		if err := c.Send(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		chanExpiresIn(t, c, time.Minute)
	})
}

func TestTTLIsRenewedByMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, nil)
		if _, err := box.SendToUser(t.Context(), "ann", "hello"); err != nil {
			t.Fatal(err)
		}
		c, conn := chanOpen(t, &wschannels.ChannelOptions{TTL: time.Minute})
		if err := box.Add(c); err != nil {
			t.Fatal(err)
		}
		chanSleep(30 * time.Second)
		if err := c.SetUser("ann"); err != nil {
			t.Fatal(err)
		}
		chanWants(t, conn, `"hello"`)
		chanExpiresIn(t, c, time.Minute)
	})
}

// Nothing that a closed channel is asked for renews it.
func TestExpiredChannelStaysExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{TTL: time.Minute})
		chanSleep(time.Minute)
		c.Touch()
		if err := c.Send(t.Context(), 1); !errors.Is(err, wschannels.ErrExpired) {
			t.Errorf("Send = %v, want ErrExpired", err)
		}
		if _, err := c.Receive(t.Context()); !errors.Is(err, wschannels.ErrExpired) {
			t.Errorf("Receive = %v, want ErrExpired", err)
		}
		chanSaw(t, conn, wschannels.StatusExpired, "expired")
	})
}

func TestMaxLifetimeEndsWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{MaxLifetime: time.Minute, TTL: 10 * time.Second})
		for range 59 {
			chanSleep(time.Second)
			conn.PushJSON(1)
			if _, err := c.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.Touch()
		}
		if at, ok := c.ExpiresAt(); !ok || !at.Equal(c.Created().Add(time.Minute)) {
			t.Errorf("ExpiresAt() = %v, %v; want a minute after Created", at, ok)
		}
		chanExpiresIn(t, c, time.Second)
	})
}

// What is queued when a channel expires still leaves.
func TestExpirySendsWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{MaxLifetime: time.Second})
		conn.Stall()
		for i := range 3 {
			if err := c.Send(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		chanSleep(2 * time.Second)
		conn.Resume()
		synctest.Wait()
		for _, want := range []string{"0", "1", "2"} {
			if _, got := chanNext(t, conn); got != want {
				t.Errorf("the peer got %s, want %s", got, want)
			}
		}
		if _, _, err := conn.Next(t.Context()); websocket.CloseStatus(err) != wschannels.StatusExpired {
			t.Errorf("the peer sees %v, want 4003", err)
		}
	})
}

var errChanToken = errors.New("wrong token")

func chanAuthenticator(_ context.Context, _ *wschannels.Channel, token string) error {
	if token != "sesame" {
		return errChanToken
	}
	return nil
}

func TestAuthenticateOpensTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, nil)
		group, err := wschannels.NewGroup("g", nil)
		if err != nil {
			t.Fatal(err)
		}
		c, conn := chanOpen(t, &wschannels.ChannelOptions{Authenticator: chanAuthenticator, PayloadType: wschannels.Text})
		if err := box.Add(c); err != nil {
			t.Fatal(err)
		}
		calls := map[string]func() error{
			"Send":       func() error { return c.Send(t.Context(), "m") },
			"SendJSON":   func() error { return c.SendJSON(t.Context(), 1) },
			"SendText":   func() error { return c.SendText(t.Context(), "m") },
			"SendBytes":  func() error { return c.SendBytes(t.Context(), nil) },
			"SendTo":     func() error { return box.SendTo(t.Context(), c.ID(), "m") },
			"Group.Add":  func() error { _, err := group.Add(c); return err },
			"box's Join": func() error { _, err := box.Join(t.Context(), c, "h", nil); return err },
		}
		for name, call := range calls {
			if err := call(); !errors.Is(err, wschannels.ErrUnauthorized) {
				t.Errorf("%s before Authenticate = %v, want ErrUnauthorized", name, err)
			}
		}
		if err := c.Authenticate(t.Context(), "guess"); !errors.Is(err, wschannels.ErrUnauthorized) || !errors.Is(err, errChanToken) {
			t.Errorf("Authenticate with a wrong token = %v, want ErrUnauthorized and the Authenticator's", err)
		}
		if err := c.Send(t.Context(), "m"); !errors.Is(err, wschannels.ErrUnauthorized) {
			t.Errorf("Send after a wrong token = %v, want ErrUnauthorized", err)
		}
		chanWants(t, conn)
		conn.Push(websocket.MessageText, []byte("in")) // receiving is for the token, at least
		if m, err := c.Receive(t.Context()); err != nil || m.Text() != "in" {
			t.Errorf("Receive before Authenticate = %q, %v", m.Data, err)
		}
		if err := c.Authenticate(t.Context(), "sesame"); err != nil {
			t.Fatalf("Authenticate = %v", err)
		}
		for name, call := range calls {
			if err := call(); err != nil {
				t.Errorf("%s after Authenticate = %v", name, err)
			}
		}
		chanSleep(time.Hour) // AuthTimeout is over, and does not matter
		chanIsOpen(t, c)
	})
}

func TestMailWaitsForAuthenticate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, nil)
		c, conn := chanOpen(t, &wschannels.ChannelOptions{Authenticator: chanAuthenticator})
		if err := box.Add(c); err != nil {
			t.Fatal(err)
		}
		if err := c.SetUser("ann"); err != nil {
			t.Fatal(err)
		}
		if res, err := box.SendToUser(t.Context(), "ann", 1); err != nil || res.Waiting != 1 {
			t.Errorf("SendToUser = %+v, %v; want it to wait", res, err)
		}
		chanWants(t, conn)
		if err := c.Authenticate(t.Context(), "sesame"); err != nil {
			t.Fatal(err)
		}
		chanWants(t, conn, "1")
	})
}

func TestAuthTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{0, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c, conn := chanOpen(t, &wschannels.ChannelOptions{Authenticator: chanAuthenticator, AuthTimeout: timeout})
			if timeout == 0 {
				timeout = 10 * time.Second
			}
			chanSleep(timeout / 2)
			conn.PushJSON(1) // traffic does not help, nor does a wrong token
			_ = c.Authenticate(t.Context(), "guess")
			chanSleep(timeout - timeout/2 - 1)
			chanIsOpen(t, c)
			chanSleep(1)
			chanClosedBy(t, c, wschannels.StatusUnauthorized, wschannels.ErrUnauthorized)
			if code, _, _ := conn.Closed(); code != wschannels.StatusUnauthorized {
				t.Errorf("the peer saw %d, want 4001", code)
			}
		})
	}
}

func TestAuthenticateRecoversAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanOpen(t, &wschannels.ChannelOptions{
			Authenticator: func(context.Context, *wschannels.Channel, string) error { panic("no") },
		})
		err := c.Authenticate(t.Context(), "")
		if !errors.Is(err, wschannels.ErrUnauthorized) || !errors.As(err, new(*wschannels.PanicError)) {
			t.Errorf("Authenticate = %v, want ErrUnauthorized and the panic", err)
		}
		if err := c.Send(t.Context(), 1); !errors.Is(err, wschannels.ErrUnauthorized) {
			t.Errorf("Send = %v, want ErrUnauthorized", err)
		}
		chanIsOpen(t, c)
	})
}

func TestAuthenticateWithoutAnAuthenticator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanOpen(t, nil)
		if err := c.Authenticate(t.Context(), "sesame"); !errors.Is(err, wschannels.ErrUnauthorized) {
			t.Errorf("Authenticate = %v, want ErrUnauthorized: nobody can say yes", err)
		}
	})
}
