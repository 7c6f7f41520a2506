package wschannels_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/wschannels/wschannels"
)

func TestSendToUserReachesTheirChannelsOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 3, Options{})
		here, hereConn := boxDevice(t, boxes[0], "ann", nil)
		there, thereConn := boxDevice(t, boxes[1], "ann", nil)
		other, otherConn := boxDevice(t, boxes[1], "bob", nil)
		synctest.Wait()
		links[0].took()
		if res := boxSendUser(t, boxes[0], "ann", "1"); res.Queued != 1 || res.Waiting != 0 || res.Local {
			t.Errorf("with a channel here, too: %+v, want 1 queued", res)
		}
		if asked := links[0].took(); len(asked) != 1 || asked[0] != "u/ann" {
			t.Errorf("it took %q, want one request", asked)
		}
		if res := boxSendUser(t, boxes[2], "ann", "2"); res.Queued != 0 || res.Remote != 1 || res.Waiting != 0 {
			t.Errorf("from a node without channels of theirs: %+v, want another node", res)
		}
		boxWant(t, "here", boxFlushed(t, here, hereConn), []string{"1", "2"})
		boxWant(t, "there", boxFlushed(t, there, thereConn), []string{"1", "2"})
		boxWant(t, "somebody else", boxFlushed(t, other, otherConn), nil)
	})
}

// A node asks for a user once, however many channels they have, and tells when the last
// has gone.
func TestANodeListensForAUserWhileTheyHaveChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 2, Options{})
		alone := Lines(boxes[0])
		a, _ := directAccepted(t, boxes[0], nil)
		b, _ := directAccepted(t, boxes[0], nil)
		boxSetUser(t, a, "ann")
		boxSetUser(t, b, "ann")
		synctest.Wait()
		if asked := strings.Join(links[0].took(), " "); asked != "listen take" {
			t.Errorf("two channels took %q, want one of each", asked)
		}
		a.CloseNow()
		boxSetUser(t, b, "ann")
		synctest.Wait()
		if res := boxSendUser(t, boxes[1], "ann", []byte("1")); res.Remote != 1 {
			t.Errorf("with one left: %+v", res)
		}
		boxSetUser(t, b, "")
		synctest.Wait()
		if n := Lines(boxes[0]); n != alone {
			t.Errorf("the box listens at %d addresses, want %d", n, alone)
		}
		if res := boxSendUser(t, boxes[1], "ann", "2"); res.Waiting != 1 {
			t.Errorf("with none left: %+v, want it to wait", res)
		}
	})
}

func TestMailIsTakenOnWhateverNodeTheUserComesTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 3, Options{})
		for i := 1; i <= 6; i++ {
			if res := boxSendUser(t, boxes[i%3], "ann", fmt.Sprint(i)); res.Waiting != 1 || res.Remote != 0 {
				t.Errorf("message %d: %+v, want it to wait", i, res)
			}
		}
		gate := links[1].hold("take")
		c, conn := boxDevice(t, boxes[1], "ann", nil)
		// What is newer waits behind it, from wherever.
		if res := boxSendUser(t, boxes[1], "ann", "7"); res.Waiting != 1 {
			t.Errorf("while the mail is on its way: %+v, want it to wait behind", res)
		}
		close(gate)
		synctest.Wait()
		if res := boxSendUser(t, boxes[0], "ann", "8"); res.Remote != 1 {
			t.Errorf("afterwards: %+v", res)
		}
		boxWant(t, "received", boxFlushed(t, c, conn), boxNumbers(1, 8))
		if s := boxes[1].Stats(); s.Mailboxes != 0 || s.MailboxBytes != 0 || s.Dropped != 0 {
			t.Errorf("Stats: %+v, want nothing left or lost", s)
		}
	})
}

// A large message that comes while mail is on its way need not fit in a mailbox.
func TestWhatWaitsBehindMailNeedNotFitInAMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 2, Options{MailboxBytes: 1000})
		boxSendUser(t, boxes[0], "ann", "mail")
		gate := links[1].hold("take")
		big := strings.Repeat("x", 100_000)
		c, conn := boxDevice(t, boxes[1], "ann", nil)
		if res := boxSendUser(t, boxes[1], "ann", big); res.Waiting != 1 || res.Dropped != 0 {
			t.Errorf("%+v", res)
		}
		huge := strings.Repeat("y", 1<<20)
		if res := boxSendUser(t, boxes[1], "ann", huge); res.Dropped != 1 || res.Waiting != 0 {
			t.Errorf("past QueueBytes: %+v, want it dropped", res)
		}
		if s := boxes[1].Stats(); s.MailboxBytes < 100_000 {
			t.Errorf("Stats: %+v, want what waits to be counted", s)
		}
		close(gate)
		synctest.Wait()
		if got := boxFlushed(t, c, conn); len(got) != 2 || got[0] != "mail" || got[1] != big {
			t.Errorf("received %d messages, want the mail, and what waited behind it", len(got))
		}
		if res := boxSendUser(t, boxes[0], "eve", big); res.Waiting+res.Remote+res.Queued != 0 {
			t.Errorf("over MailboxBytes, to nobody: %+v, want it not kept", res)
		}
	})
}

// Mailboxes give what they hold to one channel on one node.
func TestMailIsDeliveredToOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 3, Options{})
		for i := 1; i <= 20; i++ {
			boxSendUser(t, boxes[0], "ann", fmt.Sprint(i))
		}
		one, oneConn := boxDevice(t, boxes[1], "ann", nil)
		two, twoConn := boxDevice(t, boxes[2], "ann", nil)
		synctest.Wait()
		got := append(boxFlushed(t, one, oneConn), boxFlushed(t, two, twoConn)...)
		boxWant(t, "both together", got, boxNumbers(1, 20))
	})
}

func TestWhatAChannelHadNotWrittenGoesToTheUsersOtherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 3, Options{})
		dying, dyingConn := boxDevice(t, boxes[0], "ann", nil)
		synctest.Wait()
		dyingConn.Stall()
		for i := 1; i <= 5; i++ {
			boxSendUser(t, boxes[1], "ann", fmt.Sprint(i))
		}
		next, conn := boxDevice(t, boxes[2], "ann", nil)
		synctest.Wait()
		boxWant(t, "the other node, while the first has them", boxWritten(conn), nil)
		dying.CloseNow()
		synctest.Wait()
		boxWant(t, "the other node", boxFlushed(t, next, conn), boxNumbers(1, 5))
		boxSendUser(t, boxes[0], "ann", "6")
		next.CloseNow()
		synctest.Wait()

		// With nobody left it goes to the front of the engine's mailbox.
		dying, dyingConn = boxDevice(t, boxes[0], "ann", nil)
		synctest.Wait()
		dyingConn.Stall()
		boxSendUser(t, boxes[1], "ann", "7")
		dying.CloseNow()
		synctest.Wait()
		boxSendUser(t, boxes[1], "ann", "8")
		last, conn := boxDevice(t, boxes[2], "ann", nil)
		synctest.Wait()
		boxWant(t, "the last", boxFlushed(t, last, conn), []string{"7", "8"})
	})
}

// What another node's channel has had does not come again because one here died.
func TestWhatAnotherNodeHasHadDoesNotComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 2, Options{})
		dying, dyingConn := boxDevice(t, boxes[0], "ann", nil)
		other, conn := boxDevice(t, boxes[1], "ann", nil)
		synctest.Wait()
		dyingConn.Stall()
		for i := 1; i <= 3; i++ {
			boxSendUser(t, boxes[0], "ann", fmt.Sprint(i))
		}
		dying.CloseNow()
		synctest.Wait()
		boxWant(t, "the other node", boxFlushed(t, other, conn), boxNumbers(1, 3))
	})
}

// A request may come after the mailbox has, by another way, brought what it carries.
func TestARequestThatTheMailboxOvertookDoesNotComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 2, Options{})
		dying, dyingConn := boxDevice(t, boxes[0], "ann", nil)
		synctest.Wait()
		dyingConn.Stall()
		gate := links[0].hold("u/ann")
		sent := make(chan SendResult)
		go func() {
			res, err := boxes[0].SendToUser(t.Context(), "ann", "1")
			if err != nil {
				t.Error(err)
			}
			sent <- res
		}()
		synctest.Wait()
		dying.CloseNow()
		synctest.Wait()
		other, conn := boxDevice(t, boxes[1], "ann", nil)
		synctest.Wait()
		boxWant(t, "from the mailbox", boxFlushed(t, other, conn), boxNumbers(1, 1))
		close(gate)
		if res := <-sent; res.Queued != 1 || res.Remote != 1 {
			t.Errorf("%+v, want one here, and the other node", res)
		}
		boxWant(t, "then", boxFlushed(t, other, conn), nil)
	})
}

// What waits behind mail that is on its way waits once, though another channel gives it back.
func TestWhatWaitsBehindMailIsNotGivenBackBesides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 2, Options{})
		boxSendUser(t, boxes[1], "ann", "1")
		gate := links[0].hold("take")
		c, conn := boxDevice(t, boxes[0], "ann", nil)
		dying, dyingConn := boxDevice(t, boxes[0], "ann", nil)
		dyingConn.Stall()
		if res := boxSendUser(t, boxes[0], "ann", "2"); res.Queued != 1 || res.Waiting != 1 {
			t.Errorf("%+v, want it queued for one channel, and to wait for the other", res)
		}
		dying.CloseNow()
		synctest.Wait()
		close(gate)
		synctest.Wait()
		boxWant(t, "the other", boxFlushed(t, c, conn), boxNumbers(1, 2))
	})
}

// It is newer than what the engine has.
func TestWhatWaitedBehindMailThatWasNotTakenGoesBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 2, Options{})
		boxSendUser(t, boxes[1], "ann", "1")
		c, _ := directAccepted(t, boxes[0], nil)
		gate := links[0].hold("listen")
		boxSetUser(t, c, "ann")
		synctest.Wait()
		if res := boxSendUser(t, boxes[0], "ann", "2"); res.Waiting != 1 {
			t.Errorf("%+v, want it to wait behind the mail", res)
		}
		c.CloseNow()
		if res := boxSendUser(t, boxes[0], "ann", "3"); res.Waiting != 1 {
			t.Errorf("%+v, want it to wait behind that", res)
		}
		close(gate)
		synctest.Wait()
		next, conn := boxDevice(t, boxes[1], "ann", nil)
		synctest.Wait()
		boxWant(t, "received", boxFlushed(t, next, conn), boxNumbers(1, 3))
	})
}

// Somebody comes when it is known that nobody is there, and before the message is kept.
func TestMailThatWasPutTooLateIsRungFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 2, Options{})
		gate := links[0].hold("put")
		var wg sync.WaitGroup
		wg.Go(func() {
			if res := boxSendUser(t, boxes[0], "ann", "1"); res.Waiting != 1 {
				t.Errorf("%+v, want it to wait", res)
			}
		})
		synctest.Wait()
		c, conn := boxDevice(t, boxes[1], "ann", nil)
		synctest.Wait()
		boxWant(t, "before it is kept", boxWritten(conn), nil)
		close(gate)
		wg.Wait()
		boxSendUser(t, boxes[0], "ann", "2")
		synctest.Wait()
		boxWant(t, "received", boxFlushed(t, c, conn), []string{"1", "2"})
	})
}

// The last channel has gone, and the engine has yet to be told.
func TestAnAbsentUsersNodeLetsOthersAnswerFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 3, Options{})
		gone, _ := boxDevice(t, boxes[2], "ann", nil)
		synctest.Wait()
		late := directEnd{links[2], links[2].ears["u/ann"]}
		gone.CloseNow()
		synctest.Wait()
		if err := links[2].MemoryBroker.Listen(t.Context(), "u/ann", late); err != nil { // as if Unlisten had yet to come
			t.Fatal(err)
		}
		c, conn := boxDevice(t, boxes[1], "ann", nil)
		synctest.Wait()
		links[1].lag = 100 * time.Millisecond
		if res := boxSendUser(t, boxes[0], "ann", "1"); res.Remote != 1 || res.Waiting != 0 {
			t.Errorf("%+v, want the node that has a channel", res)
		}
		boxWant(t, "received", boxFlushed(t, c, conn), []string{"1"})
		c.CloseNow()
		synctest.Wait()
		if res := boxSendUser(t, boxes[0], "ann", "2"); res.Waiting != 1 {
			t.Errorf("with nobody left: %+v, want it to wait", res)
		}
	})
}

func TestShutdownPutsBackWhatWasNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 2, Options{})
		opts := boxText
		opts.CloseTimeout = time.Second
		_, conn := boxDevice(t, boxes[0], "ann", &opts)
		synctest.Wait()
		conn.Stall()
		for i := 1; i <= 3; i++ {
			boxSendUser(t, boxes[1], "ann", fmt.Sprint(i))
		}
		if err := boxes[0].Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		next, conn := boxDevice(t, boxes[1], "ann", nil)
		synctest.Wait()
		boxWant(t, "the next node", boxFlushed(t, next, conn), boxNumbers(1, 3))
	})
}

// With a broker that has no mailboxes, each box has its own.
func TestWithoutAMailboxBrokerMailWaitsWhereItWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := memoryBroker(t, nil)
		type requests struct {
			Broker
			RequestBroker
		}
		one, two := boxOf(t, &Options{Broker: requests{engine, engine}}), boxOf(t, &Options{Broker: requests{engine, engine}})
		if res := boxSendUser(t, one, "ann", "1"); res.Waiting != 1 {
			t.Errorf("%+v, want it to wait", res)
		}
		there, thereConn := boxDevice(t, two, "ann", nil)
		synctest.Wait()
		boxWant(t, "on the other node", boxWritten(thereConn), nil)
		if res := boxSendUser(t, one, "ann", "2"); res.Remote != 1 {
			t.Errorf("%+v, want the other node", res)
		}
		here, hereConn := boxDevice(t, one, "ann", nil)
		boxWant(t, "here", boxFlushed(t, here, hereConn), []string{"1"})
		boxWant(t, "on the other node", boxFlushed(t, there, thereConn), []string{"2"})
	})
}
