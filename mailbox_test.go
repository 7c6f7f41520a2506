package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// boxDevice returns a channel of user in b.
func boxDevice(t *testing.T, b *wschannels.ChannelBox, user string, opts *wschannels.ChannelOptions) (*wschannels.Channel, *wschannelstest.Conn) {
	t.Helper()
	c, conn := boxMember(t, b, opts)
	boxSetUser(t, c, user)
	return c, conn
}

func boxSetUser(t *testing.T, c *wschannels.Channel, user string) {
	t.Helper()
	if err := c.SetUser(user); err != nil {
		t.Fatalf("SetUser %q: %v", user, err)
	}
}

func TestMailboxKeepsOrder(t *testing.T) {
	b := boxOf(t, nil)
	for i := 1; i <= 5; i++ {
		if res := boxSendUser(t, b, "ann", fmt.Sprint(i)); res.Waiting != 1 || res.Queued != 0 || res.Seq != 0 {
			t.Errorf("message %d: %+v, want 1 waiting", i, res)
		}
	}
	boxSendUser(t, b, "bob", "not ann's")
	if s := b.Stats(); s.Mailboxes != 2 || s.MailboxBytes == 0 {
		t.Errorf("Stats: %+v, want 2 mailboxes", s)
	}
	c, conn := boxDevice(t, b, "ann", nil)
	if res := boxSendUser(t, b, "ann", "6"); res.Queued != 1 || res.Waiting != 0 {
		t.Errorf("while connected: %+v, want 1 queued", res)
	}
	boxWant(t, "received", boxFlushed(t, c, conn), boxNumbers(1, 6))
	if s := b.Stats(); s.Mailboxes != 1 || s.Dropped != 0 {
		t.Errorf("Stats: %+v, want only bob's mailbox, nothing dropped", s)
	}
}

// The mailbox comes when the channel is the user's, in the box and trusted; whatever
// is the last of the three.
func TestMailboxComesOnceTheChannelIsTheUsers(t *testing.T) {
	for _, order := range []string{"user add auth", "user auth add", "add user auth", "add auth user", "auth add user", "auth user add"} {
		t.Run(order, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := boxOf(t, nil)
				boxSendUser(t, b, "ann", "mail")
				opts := boxText
				opts.Authenticator = func(context.Context, *wschannels.Channel, string) error { return nil }
				c, conn := boxChannel(t, &opts)
				for i, step := range strings.Fields(order) {
					synctest.Wait()
					if got := boxWritten(conn); len(got) > 0 {
						t.Fatalf("after %d steps: %q", i, got)
					}
					var err error
					switch step {
					case "user":
						err = c.SetUser("ann")
					case "add":
						err = b.Add(c)
					case "auth":
						err = c.Authenticate(t.Context(), "token")
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				boxWant(t, "received", boxWritten(conn), []string{"mail"})
			})
		})
	}
}

func TestSetUserMovesTheChannel(t *testing.T) {
	b := boxOf(t, nil)
	c, conn := boxDevice(t, b, "ann", nil)
	boxSendUser(t, b, "bob", "for bob")
	boxSetUser(t, c, "bob")
	if c.User() != "bob" {
		t.Errorf("User() = %q, want bob", c.User())
	}
	if res := boxSendUser(t, b, "ann", "for ann"); res.Queued != 0 || res.Waiting != 1 {
		t.Errorf("to the name it had: %+v, want 1 waiting", res)
	}
	boxSetUser(t, c, "bob") // again
	boxWant(t, "received", boxFlushed(t, c, conn), []string{"for bob"})
	boxSetUser(t, c, "")
	if res := boxSendUser(t, b, "bob", "too late"); res.Queued != 0 || res.Waiting != 1 || c.User() != "" {
		t.Errorf("after SetUser(\"\"): %+v, User() = %q", res, c.User())
	}
	boxWant(t, "received", boxFlushed(t, c, conn), nil)
	for _, bad := range []string{strings.Repeat("x", 256), "a\nb", "\xff"} {
		if err := c.SetUser(bad); !errors.Is(err, wschannels.ErrInvalidUser) {
			t.Errorf("SetUser(%q): %v, want ErrInvalidUser", bad, err)
		}
	}
	if _, err := b.SendToUser(t.Context(), "", "x"); !errors.Is(err, wschannels.ErrInvalidUser) {
		t.Errorf("SendToUser(\"\"): %v, want ErrInvalidUser", err)
	}
	c.CloseNow()
	if err := c.SetUser("ann"); !errors.Is(err, wschannels.ErrClosed) {
		t.Errorf("SetUser of a closed channel: %v, want ErrClosed", err)
	}
}

func TestSendToUserReachesEveryDevice(t *testing.T) {
	b := boxOf(t, nil)
	phone, phoneConn := boxDevice(t, b, "ann", nil)
	laptop, laptopConn := boxDevice(t, b, "ann", &wschannels.ChannelOptions{})
	other, otherConn := boxDevice(t, b, "bob", nil)
	if res := boxSendUser(t, b, "ann", "hi"); res.Queued != 2 || res.Waiting != 0 {
		t.Errorf("result %+v, want 2 queued", res)
	}
	boxWant(t, "phone", boxFlushed(t, phone, phoneConn), []string{"hi"})
	boxWant(t, "laptop", boxFlushed(t, laptop, laptopConn), []string{`"hi"`})
	boxWant(t, "somebody else", boxFlushed(t, other, otherConn), nil)
	if _, err := b.SendToUser(t.Context(), "ann", []byte("\xff")); !errors.As(err, new(*wschannels.PayloadError)) {
		t.Errorf("what the phone cannot be given: %v, want a *PayloadError", err)
	}
	boxWant(t, "laptop", boxFlushed(t, laptop, laptopConn), nil)
	phone.CloseNow()
	if res := boxSendUser(t, b, "ann", []byte("\xff")); res.Queued != 1 || res.Waiting != 0 {
		t.Errorf("to the laptop alone: %+v, want 1 queued", res)
	}
}

func TestMailboxCaps(t *testing.T) {
	fixed := boxCost(t)
	t.Run("oldest out first", func(t *testing.T) {
		b := boxOf(t, &wschannels.Options{MailboxBytes: 3 * (fixed + 1)})
		for i := 1; i <= 5; i++ {
			if res := boxSendUser(t, b, "ann", fmt.Sprint(i)); res.Waiting != 1 {
				t.Errorf("message %d: %+v, want 1 waiting", i, res)
			}
			if n := b.Stats().MailboxBytes; n != int64(min(i, 3)*(fixed+1)) {
				t.Errorf("after %d: MailboxBytes = %d", i, n)
			}
		}
		if s := b.Stats(); s.Dropped != 2 {
			t.Errorf("Dropped = %d, want 2", s.Dropped)
		}
		c, conn := boxDevice(t, b, "ann", nil)
		boxWant(t, "received", boxFlushed(t, c, conn), boxNumbers(3, 5))
	})
	t.Run("alone over the cap", func(t *testing.T) {
		b := boxOf(t, &wschannels.Options{MailboxBytes: fixed + 10})
		boxSendUser(t, b, "ann", "small")
		if res := boxSendUser(t, b, "ann", "eleven byte"); res.Waiting != 0 || res.Queued != 0 {
			t.Errorf("result %+v, want nothing kept", res)
		}
		c, conn := boxDevice(t, b, "ann", nil)
		boxWant(t, "received", boxFlushed(t, c, conn), []string{"small"})
		if res := boxSendUser(t, b, "ann", "eleven byte"); res.Queued != 1 {
			t.Errorf("while connected: %+v, want 1 queued", res)
		}
	})
	t.Run("none", func(t *testing.T) {
		b := boxOf(t, &wschannels.Options{MailboxBytes: -1})
		if res := boxSendUser(t, b, "ann", "x"); res.Waiting != 0 {
			t.Errorf("result %+v, want nothing kept", res)
		}
		if s := b.Stats(); s.Mailboxes != 0 || s.MailboxBytes != 0 {
			t.Errorf("Stats: %+v, want no mailbox", s)
		}
	})
	t.Run("least recently used goes", func(t *testing.T) {
		b := boxOf(t, &wschannels.Options{MaxMailboxes: 2})
		boxSendUser(t, b, "ann", "1")
		boxSendUser(t, b, "bob", "1")
		boxSendUser(t, b, "ann", "2")
		boxSendUser(t, b, "eve", "1")
		if s := b.Stats(); s.Mailboxes != 2 || s.Dropped != 1 {
			t.Errorf("Stats: %+v, want 2 mailboxes and 1 message dropped", s)
		}
		for user, want := range map[string][]string{"ann": {"1", "2"}, "bob": nil, "eve": {"1"}} {
			c, conn := boxDevice(t, b, user, nil)
			boxWant(t, user, boxFlushed(t, c, conn), want)
		}
		if s := b.Stats(); s.Mailboxes != 0 || s.MailboxBytes != 0 {
			t.Errorf("Stats: %+v, want no mailbox", s)
		}
	})
}

func TestMailboxTTL(t *testing.T) {
	for _, tt := range []struct {
		name string
		ttl  time.Duration // 0: the default
		want time.Duration
	}{{"default", 0, time.Hour}, {"own", time.Minute, time.Minute}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := boxOf(t, &wschannels.Options{MailboxTTL: tt.ttl})
				boxSendUser(t, b, "ann", "1")
				time.Sleep(tt.want / 2)
				boxSendUser(t, b, "ann", "2")
				time.Sleep(tt.want/2 - 1)
				one := b.Stats().MailboxBytes
				time.Sleep(time.Nanosecond)
				s := b.Stats()
				if s.MailboxBytes*2 != one || s.Dropped != 1 {
					t.Errorf("at the TTL: %d bytes of %d, %d dropped, want half and 1", s.MailboxBytes, one, s.Dropped)
				}
				c, conn := boxDevice(t, b, "ann", nil)
				boxWant(t, "received", boxFlushed(t, c, conn), []string{"2"})
				boxSendUser(t, b, "bob", "1")
				time.Sleep(tt.want)
				synctest.Wait()
				if n := wschannels.Mailboxes(b); n != 0 { // Stats would sweep
					t.Errorf("%d mailboxes after the TTL, want none, without anybody's looking", n)
				}
			})
		})
	}
}

// What a dying channel had not written, the message being written included, goes back
// to the front, in order.
func TestMailboxGetsBackWhatWasNotWritten(t *testing.T) {
	for name, die := range map[string]func(*testing.T, *wschannels.Channel, *wschannelstest.Conn){
		"CloseNow": func(t *testing.T, c *wschannels.Channel, _ *wschannelstest.Conn) { c.CloseNow() },
		"Close": func(t *testing.T, c *wschannels.Channel, _ *wschannelstest.Conn) {
			if c.Close(websocket.StatusNormalClosure, "") == nil {
				t.Error("the stalled peer answered")
			}
		},
		"write error": func(t *testing.T, c *wschannels.Channel, conn *wschannelstest.Conn) {
			conn.FailWrites(errors.New("reset"))
			synctest.Wait()
		},
		"hang up": func(t *testing.T, c *wschannels.Channel, conn *wschannelstest.Conn) {
			conn.Hangup(websocket.StatusAbnormalClosure, "")
			synctest.Wait()
		},
		"write timeout": func(t *testing.T, c *wschannels.Channel, conn *wschannelstest.Conn) {
			time.Sleep(time.Minute)
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := boxOf(t, nil)
				c, conn := boxDevice(t, b, "ann", nil)
				boxJoin(t, b, c, "g", nil)
				boxSendUser(t, b, "ann", "1")
				synctest.Wait()
				boxWant(t, "written", boxWritten(conn), []string{"1"})
				conn.Stall()
				for i := 2; i <= 5; i++ {
					boxSendUser(t, b, "ann", fmt.Sprint(i))
					boxSend(t, b, "g", "of the group", nil) // nobody gets these back
					synctest.Wait()
				}
				die(t, c, conn)
				synctest.Wait()
				boxWant(t, "written", boxWritten(conn), nil)
				if res := boxSendUser(t, b, "ann", "6"); res.Waiting != 1 {
					t.Errorf("after its end: %+v, want 1 waiting", res)
				}
				if s := b.Stats(); s.Dropped != 4 || s.Sent != 1 || s.Mailboxes != 1 {
					t.Errorf("Stats: %+v, want the group's 4 dropped and a mailbox", s)
				}
				next, conn2 := boxDevice(t, b, "ann", nil)
				boxSendUser(t, b, "ann", "7")
				boxWant(t, "the next channel", boxFlushed(t, next, conn2), boxNumbers(2, 7))
			})
		})
	}
}

// What comes back is bounded, too: the oldest is lost, and counted.
func TestMailboxGetsBackNoMoreThanItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fixed := boxCost(t)
		b := boxOf(t, &wschannels.Options{MailboxBytes: 3 * (fixed + 1)})
		c, conn := boxDevice(t, b, "ann", nil)
		conn.Stall()
		for i := 1; i <= 6; i++ {
			boxSendUser(t, b, "ann", fmt.Sprint(i))
		}
		c.CloseNow()
		if s := b.Stats(); s.MailboxBytes != int64(3*(fixed+1)) || s.Dropped != 3 {
			t.Errorf("Stats: %+v, want 3 kept and 3 dropped", s)
		}
		next, conn := boxDevice(t, b, "ann", nil)
		boxWant(t, "the next channel", boxFlushed(t, next, conn), boxNumbers(4, 6))
	})
}

// A mailbox that is larger than the queue is delivered as the peer reads; what is
// newer waits behind it.
func TestMailboxLargerThanTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		for i := 10; i < 60; i++ {
			boxSendUser(t, b, "ann", fmt.Sprint(i))
		}
		gate := boxGated()
		c, err := wschannels.NewChannel(gate, &wschannels.ChannelOptions{
			PayloadType: wschannels.Text, QueueBytes: 6, WriteTimeout: time.Hour, Heartbeat: -1,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		if err := b.Add(c); err != nil {
			t.Fatal(err)
		}
		boxSetUser(t, c, "ann")
		gate.let(10)
		synctest.Wait()
		if s := b.Stats(); s.QueuedBytes > 6 || s.Mailboxes != 1 {
			t.Errorf("Stats: %+v, want 6 bytes queued and the rest in the mailbox", s)
		}
		if res := boxSendUser(t, b, "ann", "60"); res.Waiting != 1 || res.Queued != 0 {
			t.Errorf("a newer message: %+v, want it to wait", res)
		}
		close(gate.pass)
		synctest.Wait()
		boxWant(t, "received", boxWritten(gate.Conn), boxNumbers(10, 60))
		if s := b.Stats(); s.Mailboxes != 0 || s.Dropped != 0 || s.Sent != 51 {
			t.Errorf("Stats: %+v, want all sent", s)
		}
		if res := boxSendUser(t, b, "ann", "61"); res.Queued != 1 {
			t.Errorf("afterwards: %+v, want it queued", res)
		}
	})
}

// The channel dies while the mailbox is on its way: nothing is lost or out of order.
func TestMailboxSurvivesAFailedDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		for i := 1; i <= 9; i++ {
			boxSendUser(t, b, "ann", fmt.Sprint(i))
		}
		opts := boxText
		opts.QueueBytes = 3
		c, conn := boxChannel(t, &opts)
		conn.Stall()
		if err := b.Add(c); err != nil {
			t.Fatal(err)
		}
		boxSetUser(t, c, "ann") // 1 is being written, 2 to 4 are queued, 5 to 9 wait
		synctest.Wait()
		boxSendUser(t, b, "ann", "10")
		c.CloseNow()
		next, conn := boxDevice(t, b, "ann", nil)
		boxWant(t, "the next channel", boxFlushed(t, next, conn), boxNumbers(1, 10))
		if s := b.Stats(); s.Dropped != 0 || s.Mailboxes != 0 {
			t.Errorf("Stats: %+v, want nothing dropped or kept", s)
		}
	})
}
