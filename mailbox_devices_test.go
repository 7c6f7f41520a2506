package wschannels_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// What one device of a user has had does not come again because another died.
func TestMailboxMakesNoDuplicatesOfWhatAnotherDeviceHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		a, aConn := boxDevice(t, b, "ann", nil)
		other, otherConn := boxDevice(t, b, "ann", nil)
		aConn.Stall()
		for i := 1; i <= 3; i++ {
			boxSendUser(t, b, "ann", fmt.Sprint(i))
		}
		boxWant(t, "the other device", boxFlushed(t, other, otherConn), boxNumbers(1, 3))
		a.CloseNow()
		synctest.Wait()
		boxWant(t, "the other device", boxWritten(otherConn), nil)
		if s := b.Stats(); s.Mailboxes != 0 || s.Sent != 3 || s.Dropped != 3 {
			t.Errorf("Stats: %+v, want 3 sent, 3 copies dropped, no mailbox", s)
		}
		other.CloseNow()
		next, conn := boxDevice(t, b, "ann", nil)
		boxWant(t, "the next device", boxFlushed(t, next, conn), nil)
	})
}

// Neither device has written it: the last one that dies gives it back.
func TestMailboxGetsBackWhatNoDeviceHasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		a, aConn := boxDevice(t, b, "ann", nil)
		other, otherConn := boxDevice(t, b, "ann", nil)
		aConn.Stall()
		otherConn.Stall()
		for i := 1; i <= 3; i++ {
			boxSendUser(t, b, "ann", fmt.Sprint(i))
		}
		a.CloseNow()
		if n := b.Stats().Mailboxes; n != 0 {
			t.Errorf("%d mailboxes while the other device still has it all", n)
		}
		other.CloseNow()
		next, conn := boxDevice(t, b, "ann", nil)
		boxWant(t, "the next device", boxFlushed(t, next, conn), boxNumbers(1, 3))
	})
}

// A device that came too late for a message gets it when the one that had it dies.
func TestMailboxGoesToTheDeviceThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		a, aConn := boxDevice(t, b, "ann", nil)
		aConn.Stall()
		for i := 1; i <= 3; i++ {
			boxSendUser(t, b, "ann", fmt.Sprint(i))
		}
		_, conn := boxDevice(t, b, "ann", nil)
		synctest.Wait()
		boxWant(t, "the new device, while the old one has them", boxWritten(conn), nil)
		a.CloseNow()
		synctest.Wait()
		boxWant(t, "the new device", boxWritten(conn), boxNumbers(1, 3))
	})
}

// A device dies while it still waits for the mailbox: the one that is left gets the
// rest, without what it has had already.
func TestMailboxDeliveryIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		for i := 1; i <= 9; i++ {
			boxSendUser(t, b, "ann", fmt.Sprint(i))
		}
		opts := boxText
		opts.QueueBytes = 3
		a, aConn := boxChannel(t, &opts)
		aConn.Stall()
		if err := b.Add(a); err != nil {
			t.Fatal(err)
		}
		boxSetUser(t, a, "ann") // 1 to 4 are under way, 5 to 9 wait for room
		synctest.Wait()
		_, conn := boxDevice(t, b, "ann", nil)
		if res := boxSendUser(t, b, "ann", "new"); res.Queued != 1 || res.Waiting != 1 {
			t.Errorf("result %+v, want it queued for one and waiting for the other", res)
		}
		synctest.Wait()
		boxWant(t, "the other device", boxWritten(conn), []string{"new"})
		a.CloseNow()
		synctest.Wait()
		got := boxWritten(conn)
		slices.Sort(got) // what had been under way comes back last
		boxWant(t, "what the other device got then", got, boxNumbers(1, 9))
		if s := b.Stats(); s.Mailboxes != 0 || s.Sent != 10 || s.Dropped != 1 {
			t.Errorf("Stats: %+v, want 10 sent, the second copy of one dropped, no mailbox", s)
		}
		if res := boxSendUser(t, b, "ann", "newer"); res.Queued != 1 || res.Waiting != 0 {
			t.Errorf("result %+v, want 1 queued", res)
		}
	})
}

// The same where the device lives on, as somebody else's: what it has is its own, the
// rest is the other device's.
func TestMailboxDeliveryIsTakenOverFromAChannelThatChangesItsUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		for i := 1; i <= 9; i++ {
			boxSendUser(t, b, "ann", fmt.Sprint(i))
		}
		opts := boxText
		opts.QueueBytes = 3
		a, aConn := boxChannel(t, &opts)
		aConn.Stall()
		if err := b.Add(a); err != nil {
			t.Fatal(err)
		}
		boxSetUser(t, a, "ann")
		synctest.Wait() // for the writer to take what it can
		_, conn := boxDevice(t, b, "ann", nil)
		boxSetUser(t, a, "bob")
		synctest.Wait()
		rest := boxWritten(conn)
		aConn.Resume()
		synctest.Wait()
		boxWant(t, "both, one after the other", append(boxWritten(aConn), rest...), boxNumbers(1, 9))
		if len(rest) < 5 {
			t.Errorf("the other device got %q, want the 5 for which there was no room", rest)
		}
	})
}

// A message that waits for one device, and that another gives back, is still one.
func TestMailboxKeepsOneOfAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		for i := 1; i <= 9; i++ {
			boxSendUser(t, b, "ann", fmt.Sprint(i))
		}
		opts := boxText
		opts.QueueBytes = 3
		a, aConn := boxChannel(t, &opts)
		aConn.Stall()
		if err := b.Add(a); err != nil {
			t.Fatal(err)
		}
		boxSetUser(t, a, "ann")
		other, otherConn := boxDevice(t, b, "ann", nil)
		otherConn.Stall()
		boxSendUser(t, b, "ann", "10") // queued for other, waiting for a
		other.CloseNow()
		aConn.Resume()
		synctest.Wait()
		boxWant(t, "received", boxWritten(aConn), boxNumbers(1, 10))
		if s := b.Stats(); s.Sent != 10 || s.Dropped != 1 || s.Mailboxes != 0 {
			t.Errorf("Stats: %+v, want 10 sent and the other copy dropped", s)
		}
	})
}

// A message to a user that a device's SlowDropOldest threw away is not held back from
// the others.
func TestMailboxAndSlowDropOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		opts := boxText
		opts.QueueBytes, opts.Slow = 2, wschannels.SlowDropOldest
		_, dropping := boxDevice(t, b, "ann", &opts)
		a, stalled := boxDevice(t, b, "ann", nil)
		dropping.Stall()
		stalled.Stall()
		for i := 1; i <= 4; i++ { // 1 is being written, 2 gives way to 4
			boxSendUser(t, b, "ann", fmt.Sprint(i))
			synctest.Wait()
		}
		dropping.Resume()
		synctest.Wait()
		a.CloseNow()
		synctest.Wait()
		got := boxWritten(dropping)
		slices.Sort(got)
		boxWant(t, "the dropping device", got, boxNumbers(1, 4))
	})
}

// Whatever devices come, stall, resume and die: nothing is lost, one device sees each
// message once, and Stats add up.
func TestMailboxLosesNothing(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { boxMailRun(t, seed) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func boxMailRun(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 4))
	b := boxOf(t, &wschannels.Options{MailboxBytes: 1 << 20})
	type device struct {
		c    *wschannels.Channel
		conn *wschannelstest.Conn
	}
	var online, all []device
	sent, accepted := 0, 0
	send := func() {
		sent++
		res := boxSendUser(t, b, "ann", fmt.Sprintf("%04d", sent))
		accepted += res.Queued + res.Waiting
		if res.Queued+res.Waiting == 0 {
			t.Errorf("seed %d: message %d is kept by nobody: %+v", seed, sent, res)
		}
	}
	for range 120 {
		switch n := rnd.IntN(10); {
		case n < 5:
			send()
		case n == 5 && len(online) < 3:
			opts := boxText
			opts.QueueBytes, opts.WriteTimeout, opts.Heartbeat = 8+rnd.IntN(200), time.Hour, -1
			var d device
			d.c, d.conn = boxChannel(t, &opts)
			if rnd.IntN(2) == 0 {
				d.conn.Stall()
			}
			if err := b.Add(d.c); err != nil {
				t.Fatal(err)
			}
			boxSetUser(t, d.c, "ann")
			online, all = append(online, d), append(all, d)
		case len(online) == 0:
		case n == 6:
			online[rnd.IntN(len(online))].conn.Stall()
		case n == 7:
			online[rnd.IntN(len(online))].conn.Resume()
		case n == 8:
			i := rnd.IntN(len(online))
			online[i].c.CloseNow()
			online = slices.Delete(online, i, i+1)
		case n == 9:
			var wg sync.WaitGroup
			d := online[rnd.IntN(len(online))]
			wg.Go(send)
			wg.Go(func() { d.conn.Resume() })
			wg.Wait()
		}
		if rnd.IntN(3) > 0 {
			synctest.Wait()
		}
		online = slices.DeleteFunc(online, func(d device) bool { return d.c.Err() != nil }) // too slow
	}
	for _, d := range online {
		d.conn.Resume()
	}
	synctest.Wait()
	var last device
	last.c, last.conn = boxDevice(t, b, "ann", &boxRoomy)
	time.Sleep(time.Minute) // until those that were too slow are gone
	synctest.Wait()

	seen := make(map[string]bool)
	received := 0
	for i, d := range append(all, last) {
		mine := make(map[string]bool)
		for _, text := range boxWritten(d.conn) {
			if mine[text] {
				t.Errorf("seed %d: device %d got %s twice", seed, i, text)
			}
			mine[text], seen[text] = true, true
			received++
		}
	}
	if len(seen) != sent {
		t.Errorf("seed %d: %d different messages arrived of %d", seed, len(seen), sent)
	}
	s := b.Stats()
	if int(s.Sent) != received || s.Mailboxes != 0 || s.MailboxBytes != 0 || s.QueuedMessages != 0 {
		t.Errorf("seed %d: Stats %+v, and %d received, want them sent and nothing left", seed, s, received)
	}
	if got := int(s.Sent + s.Dropped); got != accepted {
		t.Errorf("seed %d: %d sent + %d dropped = %d, want the %d accepted", seed, s.Sent, s.Dropped, got, accepted)
	}
}

// What the mailbox cannot keep for a channel that is still to get the rest is counted.
func TestTooBigForAMailboxThatDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, &wschannels.Options{MailboxBytes: 1000})
		boxSendUser(t, b, "ann", strings.Repeat("a", 300))
		c, conn := boxMember(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 2000})
		conn.Stall()
		for range 2 { // one is being written, one fills the queue
			if err := c.Send(t.Context(), strings.Repeat("z", 1900)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		boxSetUser(t, c, "ann")
		if res := boxSendUser(t, b, "ann", strings.Repeat("b", 1500)); res.Queued+res.Waiting != 0 || res.Dropped != 1 {
			t.Errorf("%+v, want it dropped", res)
		}
		if n := b.Stats().Dropped; n != 1 {
			t.Errorf("Stats.Dropped = %d, want 1", n)
		}
		conn.Resume()
	})
}
