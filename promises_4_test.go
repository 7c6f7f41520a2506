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
)

// Promise 4: no silent loss: accepted = delivered + queued + dropped, exactly, and
// SendResult and Stats say so.
//
// Delivered is what the peers got, which must be what Stats calls Sent.
func TestPromise4NoSilentLoss(t *testing.T) {
	t.Run("a group, over TCP", testNoLossOverTCP)
	t.Run("a group, to the message", testNoLossToTheMessage)
	t.Run("mailboxes", testNoLossOfMail)
}

// Members of every policy, half of which do not read before all is sent, some never.
// Every message is megabytes in total, so that kernels and queues are full.
func testNoLossOverTCP(t *testing.T) {
	const size = 64 << 10
	var b *wschannels.ChannelBox
	b = wireBox(t, &wschannels.Options{Events: wschannels.Events{OnConnect: promiseJoins(&b)}})
	var prompt, late []*promiseClient
	var slow []*wirePeer
	for _, policy := range []wschannels.SlowPolicy{wschannels.SlowDisconnect, wschannels.SlowDropNewest, wschannels.SlowDropOldest} {
		srv := wireServe(t, b.HandlerWith(&wschannels.ChannelOptions{
			PayloadType: wschannels.Text, Slow: policy, QueueBytes: 4 * size, WriteTimeout: time.Hour, Heartbeat: -1,
			CloseTimeout: time.Hour,
		}, nil), b)
		for range 2 {
			prompt = append(prompt, promiseHealthy(promiseDial(t, srv)))
			slow = append(slow, promiseDial(t, srv))
		}
	}
	members := len(prompt) + len(slow)
	boxEventually(t, "all are in", func() bool { return len(b.Members("g")) == members })

	var sum wschannels.SendResult
	direct := 0
	lossy := func() bool { return sum.Dropped > 0 && sum.Evicted > 0 && sum.Closed > 0 } // it takes what buffers take
	for i := 0; i < 100 || i < 2000 && !lossy(); i++ {
		present := len(b.Members("g"))
		res := boxSend(t, b, "g", fmt.Sprintf("%0*d", size, i), nil)
		if told := res.Queued + res.Dropped + res.Closed; told > present || told < len(b.Members("g")) {
			t.Errorf("message %d to %d members: %+v tells of %d", i, present, res, told)
		}
		sum.Queued += res.Queued
		sum.Dropped += res.Dropped
		sum.Evicted += res.Evicted
		sum.Closed += res.Closed
		if i%10 == 0 {
			for _, c := range b.Members("g") {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				switch err := c.Send(ctx, "direct"); {
				case err == nil:
					direct++
				case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, wschannels.ErrClosed):
					t.Error(err)
				}
				cancel()
			}
		}
	}
	for _, p := range slow {
		late = append(late, promiseHealthy(p))
	}
	if _, err := b.CloseAll(t.Context(), websocket.StatusGoingAway, ""); err != nil {
		t.Fatal(err)
	}
	boxEventually(t, "the last event", func() bool { s := b.Stats(); return s.Disconnected == s.Accepted })
	s := b.Stats()
	accepted := uint64(sum.Queued + direct)
	delivered, bytes := uint64(0), uint64(0)
	for _, c := range append(prompt, late...) {
		<-c.done
		delivered += uint64(len(c.data))
		bytes += uint64(len(strings.Join(c.data, "")))
	}
	if s.Sent != delivered || s.BytesSent != bytes {
		t.Errorf("Stats says that %d messages of %d bytes were sent, and the peers got %d of %d", s.Sent, s.BytesSent, delivered, bytes)
	}
	// What was dropped without having been accepted is the results' Dropped.
	if got := delivered + uint64(s.QueuedMessages) + s.Dropped - uint64(sum.Dropped); got != accepted {
		t.Errorf("%d were accepted; %d delivered + %d queued + %d dropped = %d", accepted, delivered, s.QueuedMessages, s.Dropped-uint64(sum.Dropped), got)
	}
	if s.SlowClosed != uint64(sum.Closed) {
		t.Errorf("%d members were closed by sends, and Stats says %d", sum.Closed, s.SlowClosed)
	}
	if !lossy() || delivered == 0 {
		t.Errorf("%+v, %d delivered: too peaceful to mean anything", sum, delivered)
	}
}

// Peers that stand still, in a bubble: the books are right after every single step.
func testNoLossToTheMessage(t *testing.T) {
	for _, policy := range []wschannels.SlowPolicy{wschannels.SlowDisconnect, wschannels.SlowDropNewest, wschannels.SlowDropOldest} {
		synctest.Test(t, func(t *testing.T) {
			b := boxOf(t, nil)
			c, conn := boxMember(t, b, &wschannels.ChannelOptions{
				PayloadType: wschannels.Text, Slow: policy, QueueBytes: 50, WriteTimeout: time.Hour, Heartbeat: -1,
			}, "g")
			var accepted, refused, delivered, writing int
			books := func(step string) {
				t.Helper()
				synctest.Wait()
				delivered += len(boxWritten(conn))
				s := b.Stats()
				if int(s.Sent) != delivered {
					t.Errorf("%s: %d were delivered, and Stats says %d", step, delivered, s.Sent)
				}
				if got := delivered + writing + int(s.QueuedMessages) + int(s.Dropped) - refused; got != accepted {
					t.Errorf("%s: %d accepted, %d delivered, %d being written, %+v", step, accepted, delivered, writing, s)
				}
			}
			send := func(n int) {
				for i := range n {
					res := boxSend(t, b, "g", fmt.Sprintf("%010d", i), boxSave)
					accepted += res.Queued
					refused += res.Dropped
					if told := res.Queued + res.Dropped + res.Closed; told != 1 && c.Err() == nil {
						t.Errorf("one member, and the result is %+v", res)
					}
					books("a group send")
				}
			}
			send(3)
			conn.Stall()
			writing = 1
			send(4) // one is being written
			if policy != wschannels.SlowDisconnect {
				send(5)
				conn.Resume()
				writing = 0
				books("the peer reads again")
				if err := c.Send(t.Context(), "direct"); err != nil {
					t.Error(err)
				}
				accepted++
				books("a direct send")
				boxJoin(t, b, c, "h", nil)
				boxSend(t, b, "h", "x", &wschannels.SendOptions{Except: boxIDs(c)})
				books("a send that is not for it")
				if _, err := b.Leave(t.Context(), c, "g"); err != nil {
					t.Error(err)
				}
				res := boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayLast: 4})
				accepted += res.Replayed
				books("a replay")
				conn.Stall()
				writing = 1
			}
			send(8)
			c.CloseNow()
			writing = 0 // what was being written is lost, and counted
			books("the end")
		})
	}
}

// What waits for a user is delivered, waits, is queued or dropped: by the mailbox's cap,
// its TTL, and by the number of mailboxes.
func testNoLossOfMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := boxCost(t) + 4
		b := boxOf(t, &wschannels.Options{MailboxBytes: 5 * size, MaxMailboxes: 2, MailboxTTL: time.Hour})
		accepted, delivered := 0, 0
		books := func(step string, dropped int) {
			t.Helper()
			synctest.Wait()
			s := b.Stats()
			waiting := int(s.MailboxBytes) / size
			if int(s.Sent) != delivered || int(s.Dropped) != dropped || delivered+waiting+int(s.QueuedMessages)+int(s.Dropped) != accepted {
				t.Errorf("%s: %d accepted, %d delivered, %d wait in mailboxes, %+v; want %d dropped", step, accepted, delivered, waiting, s, dropped)
			}
		}
		mail := func(user string, n int) {
			for range n {
				res := boxSendUser(t, b, user, "mail")
				accepted += res.Waiting + res.Queued
				if res.Waiting+res.Queued != 1 {
					t.Errorf("mail to %s: %+v", user, res)
				}
			}
		}
		mail("ann", 4)
		books("there is room", 0)
		mail("ann", 3)
		books("oldest out first", 2)
		mail("bob", 2)
		mail("cid", 1)
		books("ann's mailbox was used longest ago", 2+5)

		c, conn := boxDevice(t, b, "bob", &wschannels.ChannelOptions{
			PayloadType: wschannels.Text, WriteTimeout: 2 * time.Hour, Heartbeat: -1, QueueBytes: 8,
		})
		synctest.Wait()
		delivered += len(boxWritten(conn))
		books("bob is there", 7)
		conn.Stall()
		mail("bob", 1) // being written
		synctest.Wait()
		mail("bob", 2)
		c.CloseNow()
		books("what bob had not got waits again", 7)
		time.Sleep(time.Hour)
		books("all of it is too old", 7+3+1)
		if delivered != 2 {
			t.Errorf("%d were delivered, want bob's 2", delivered)
		}
	})
}
