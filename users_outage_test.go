package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/wschannels/wschannels"
)

func TestSendToUserWithoutTheEngine(t *testing.T) {
	for _, silent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			boxes, links := directCluster(t, 2, Options{BrokerTimeout: 3 * time.Second})
			c, conn := boxDevice(t, boxes[0], "ann", nil)
			synctest.Wait()
			links[0].silent = silent
			links[0].setCut(true)
			before := boxes[0].Stats().LocalSends
			if res := boxSendUser(t, boxes[0], "ann", "1"); res.Queued != 1 || !res.Local {
				t.Errorf("to a user who is here: %+v, want it queued, and Local", res)
			}
			if n := boxes[0].Stats().LocalSends - before; n != 1 {
				t.Errorf("%d local sends were counted, want 1", n)
			}
			boxWant(t, "received", boxFlushed(t, c, conn), []string{"1"})
			if res, err := boxes[0].SendToUser(t.Context(), "bob", "x"); !errors.Is(err, ErrUnavailable) || res != (SendResult{}) {
				t.Errorf("to a user who is not: %+v, %v; want ErrUnavailable", res, err)
			}
			if s := boxes[0].Stats(); s.Mailboxes != 0 {
				t.Errorf("Stats: %+v, want nothing kept", s)
			}
		})
	}
}

// A node that was cut off when users came and went listens and puts back by itself.
func TestUsersThatComeAndGoWithoutTheEngine(t *testing.T) {
	for _, silent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			boxes, links := directCluster(t, 2, Options{BrokerTimeout: 3 * time.Second})
			boxSendUser(t, boxes[1], "new", "mail")
			gone, goneConn := boxDevice(t, boxes[0], "gone", nil)
			synctest.Wait()
			goneConn.Stall()
			boxSendUser(t, boxes[1], "gone", "unwritten")
			links[0].silent = silent
			links[0].setCut(true)
			reported := boxes[0].Stats().BrokerErrors

			directWithin(t, "SetUser, and an end", 0, func() {
				gone.CloseNow()
				c, conn := boxDevice(t, boxes[0], "new", nil)
				t.Cleanup(func() { boxWant(t, "the newcomer", boxFlushed(t, c, conn), []string{"local", "mail", "remote"}) })
			})
			for i := range 20 {
				boxDevice(t, boxes[0], fmt.Sprint("stays", i), nil)
			}
			for range 30 { // who come and go leave nothing behind
				c, _ := boxDevice(t, boxes[0], "passing", nil)
				synctest.Wait()
				c.CloseNow()
			}
			time.Sleep(20 * time.Second)
			if n := Lines(boxes[0]); n > 44 { // its own, two of each that is here, and the one with mail to put back
				t.Errorf("%d addresses wait for the engine", n)
			}
			if s := boxes[0].Stats(); s.BrokerErrors-reported != 1 {
				t.Errorf("%d errors of the Broker were counted, want 1 of the outage", s.BrokerErrors-reported)
			}
			boxSendUser(t, boxes[0], "new", "local")
			links[0].setCut(false)
			time.Sleep(3 * time.Second)
			if res := boxSendUser(t, boxes[1], "new", "remote"); res.Remote != 1 {
				t.Errorf("when the engine is back: %+v, want another node", res)
			}
			if n := Lines(boxes[0]); n != 43 {
				t.Errorf("the box listens at %d addresses, want 43", n)
			}
			c, conn := boxDevice(t, boxes[1], "gone", nil)
			synctest.Wait()
			boxWant(t, "what was put back", boxFlushed(t, c, conn), []string{"unwritten"})
		})
	}
}

// What nobody was there for, as the node of the user was cut off, comes when it is back.
func TestMailThatNobodyCouldRingForComesWhenTheNodeIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 2, Options{BrokerTimeout: 3 * time.Second})
		c, conn := boxDevice(t, boxes[0], "ann", nil)
		synctest.Wait()
		_ = links[0].MemoryBroker.Unlisten(t.Context(), "u/ann", directEnd{links[0], links[0].ears["u/ann"]})
		if res := boxSendUser(t, boxes[1], "ann", "1"); res.Waiting != 1 {
			t.Errorf("%+v, want it to wait", res)
		}
		_ = links[0].MemoryBroker.Listen(t.Context(), "u/ann", directEnd{links[0], links[0].ears["u/ann"]})
		links[0].setCut(false) // it says that it was interrupted
		time.Sleep(time.Second)
		boxWant(t, "received", boxFlushed(t, c, conn), []string{"1"})
	})
}

// The engine was told to empty the mailbox, and did not answer: what was in it is lost. That
// is told once, not for each trial.
func TestMailThatMayBeLostIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards told
		var told []string
		boxes, links := directCluster(t, 1, Options{Events: Events{OnError: func(_ *Channel, err error) {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(err.Error(), "mail of user") && errors.Is(err, ErrUnknownOutcome) {
				told = append(told, err.Error())
			}
		}}})
		b, l := boxes[0], links[0]
		fail := func(err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.takeErr = err
		}
		wait := func() []string {
			time.Sleep(10 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			return told
		}
		boxSendUser(t, b, "ann", "lost")
		fail(fmt.Errorf("%w: connection lost", ErrUnknownOutcome))
		c, conn := boxDevice(t, b, "ann", nil)
		if got := wait(); len(got) != 1 || !strings.Contains(got[0], `"ann"`) {
			t.Errorf("told: %q, want that mail of ann may be lost, once", got)
		}
		if n := b.Stats().BrokerErrors; n != 2 {
			t.Errorf("%d errors were counted, want 2: the outage's, too", n)
		}
		fail(nil)
		wait()
		boxSendUser(t, b, "ann", "news")
		wait()
		boxWant(t, "received", boxFlushed(t, c, conn), []string{"news"})

		fail(ErrUnavailable) // nothing has been done
		boxDevice(t, b, "bob", nil)
		if got := wait(); len(got) != 1 {
			t.Errorf("told: %q", got)
		}
	})
}

func TestShutdownIsBoundedWithoutTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 2, Options{BrokerTimeout: time.Hour})
		opts := boxText
		opts.CloseTimeout = time.Second
		_, conn := boxDevice(t, boxes[0], "ann", &opts)
		synctest.Wait()
		conn.Stall()
		boxSendUser(t, boxes[1], "ann", "1")
		links[0].silent = true
		links[0].setCut(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		_ = boxes[0].Shutdown(ctx)
		if d := time.Since(begun); d > 10*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}
