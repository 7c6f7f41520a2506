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

	"github.com/coder/websocket"
	"github.com/google/uuid"

	. "github.com/wschannels/wschannels"
)

func TestSendToAChannelOfAnotherNodeIsOneRequestToThatNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 3, Options{Channel: boxText})
		c, client := directAccepted(t, boxes[1], nil)
		synctest.Wait()
		if asked := links[1].took(); len(asked) != 0 {
			t.Errorf("to accept a channel took %q", asked)
		}
		if err := boxes[0].SendTo(t.Context(), c.ID(), "hello"); err != nil {
			t.Fatal(err)
		}
		if _, p, err := client.Read(t.Context()); err != nil || string(p) != "hello" {
			t.Errorf("received %q, %v", p, err)
		}
		if asked := links[0].took(); len(asked) != 1 || !strings.HasPrefix(asked[0], "n/") {
			t.Errorf("SendTo took %q, want one request to the node", asked)
		}
		if asked := append(links[1].took(), links[2].took()...); len(asked) != 0 {
			t.Errorf("on other nodes it took %q", asked)
		}
		// Its own node needs no engine.
		if err := boxes[1].SendTo(t.Context(), c.ID(), "again"); err != nil || len(links[1].took()) != 0 {
			t.Errorf("SendTo from its own node: %v, with the engine", err)
		}
	})
}

func TestChannelIDsSayTheirNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 2, Options{})
		var ids []uuid.UUID
		for _, b := range []*ChannelBox{boxes[0], boxes[0], boxes[1]} {
			c, _ := directAccepted(t, b, nil)
			ids = append(ids, c.ID())
			if c.ID().Version() != 8 || c.ID().Variant() != uuid.RFC4122 {
				t.Errorf("%v: version %d, variant %v; want 8 and RFC 4122", c.ID(), c.ID().Version(), c.ID().Variant())
			}
		}
		tag := func(id uuid.UUID) string { return string(id[:6]) }
		if tag(ids[0]) != tag(ids[1]) || tag(ids[0]) == tag(ids[2]) || ids[0] == ids[1] {
			t.Errorf("IDs of two nodes: %v", ids)
		}
		// A box with a broker of its own asks nobody, and makes random ones.
		c, _ := directAccepted(t, boxOf(t, nil), nil)
		if c.ID().Version() != 4 {
			t.Errorf("without a Broker: version %d, want 4", c.ID().Version())
		}
		chosen := uuid.New()
		if c, _ := directAccepted(t, boxes[0], &ChannelOptions{ID: chosen}); c.ID() != chosen {
			t.Errorf("%v, and %v was chosen", c.ID(), chosen)
		}
	})
}

// Also one that has the ID of another node, from which it came.
func TestAChannelWithAnIDOfItsOwnIsReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 3, Options{})
		elsewhere, _ := directAccepted(t, boxes[2], nil)
		roamed := elsewhere.ID()
		elsewhere.CloseNow()
		for _, id := range []uuid.UUID{uuid.New(), roamed} {
			opts := boxText
			opts.ID = id
			c, conn := boxMember(t, boxes[1], &opts)
			synctest.Wait()
			links[0].took()
			if err := boxes[0].SendTo(t.Context(), id, "hello"); err != nil {
				t.Fatal(err)
			}
			boxWant(t, "received", boxFlushed(t, c, conn), []string{"hello"})
			if asked := links[0].took(); len(asked) > 2 || asked[len(asked)-1] != "c/"+id.String() {
				t.Errorf("SendTo took %q, want requests to its node and to its ID at most", asked)
			}
			c.CloseNow()
			synctest.Wait()
			if err := boxes[0].SendTo(t.Context(), id, "too late"); err != ErrNoSuchChannel {
				t.Errorf("to a closed channel: %v, want ErrNoSuchChannel", err)
			}
		}
		if n := Lines(boxes[1]); n != 1 {
			t.Errorf("the box listens at %d addresses, want its own", n)
		}
	})
}

func TestErrorsOfAnotherNodeAreThoseOfASend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 2, Options{})
		b := boxes[0]
		small, secret := boxText, boxText
		small.QueueBytes = 4
		secret.Authenticator = func(context.Context, *Channel, string) error { return nil }
		text, _ := boxMember(t, boxes[1], nil)
		narrow, _ := boxMember(t, boxes[1], &small)
		locked, _ := boxMember(t, boxes[1], &secret)
		synctest.Wait()
		for _, tt := range []struct {
			to      uuid.UUID
			payload any
			want    error
		}{
			{uuid.New(), "x", ErrNoSuchChannel},
			{narrow.ID(), "12345", ErrTooLarge},
			{locked.ID(), "x", ErrUnauthorized},
		} {
			if err := b.SendTo(t.Context(), tt.to, tt.payload); !errors.Is(err, tt.want) {
				t.Errorf("SendTo: %v, want %v", err, tt.want)
			}
		}
		// The same words as at home.
		for _, payload := range []any{[]byte("\xff"), func() {}} {
			there, here := b.SendTo(t.Context(), text.ID(), payload), text.Send(t.Context(), payload)
			var bad *PayloadError
			if !errors.As(there, &bad) || bad.Op != "encode" || payload != nil && there == nil || here == nil {
				t.Errorf("SendTo: %v, and Send: %v", there, here)
			}
		}
		there, here := b.SendTo(t.Context(), text.ID(), []byte("\xff")), text.Send(t.Context(), []byte("\xff"))
		if there.Error() != here.Error() {
			t.Errorf("SendTo: %v, and Send: %v", there, here)
		}
		if there, here := b.SendTo(t.Context(), narrow.ID(), "12345"), narrow.Send(t.Context(), "12345"); there.Error() != here.Error() {
			t.Errorf("SendTo: %v, and Send: %v", there, here)
		}
	})
}

func TestSendToAnotherNodeWaitsForRoomWhileItsContextLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 2, Options{})
		opts := boxText
		opts.QueueBytes, opts.WriteTimeout, opts.Heartbeat = 1, time.Hour, -1
		c, conn := boxMember(t, boxes[1], &opts)
		conn.Stall()
		for range 2 { // one is being written, one fills the queue
			if err := c.Send(t.Context(), "0"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		// Each trial takes 5 s at most; the context decides.
		for _, wait := range []time.Duration{time.Second, 12 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			directWithin(t, "SendTo", wait, func() {
				if err := boxes[0].SendTo(ctx, c.ID(), "x"); err != context.DeadlineExceeded {
					t.Errorf("SendTo to a full queue: %v, want that the context has ended", err)
				}
			})
			cancel()
		}
		var wg sync.WaitGroup
		for i := 1; i <= 3; i++ { // they wait in line, and nobody else does
			wg.Go(func() {
				if err := boxes[0].SendTo(t.Context(), c.ID(), fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		conn.Resume()
		wg.Wait()
		boxWant(t, "received", boxFlushed(t, c, conn), []string{"0", "0", "1", "2", "3"})
	})
}

func TestSendsThatWaitForRoomOnAnotherNodeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 2, Options{})
		opts := boxText
		opts.QueueBytes, opts.WriteTimeout, opts.Heartbeat = 1, time.Hour, -1
		c, conn := boxMember(t, boxes[1], &opts)
		other, otherConn := boxMember(t, boxes[1], nil)
		conn.Stall()
		for range 2 {
			if err := c.Send(t.Context(), "0"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		var wg sync.WaitGroup
		for range 1024 {
			wg.Go(func() {
				if err := boxes[0].SendTo(t.Context(), c.ID(), "x"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		directWithin(t, "one more", 0, func() {
			if err := boxes[0].SendTo(t.Context(), c.ID(), "x"); !errors.Is(err, ErrUnavailable) {
				t.Errorf("one more: %v, want ErrUnavailable", err)
			}
			if err := boxes[0].SendTo(t.Context(), other.ID(), "y"); err != nil {
				t.Errorf("to a channel with room: %v", err)
			}
		})
		boxWant(t, "the other channel", boxFlushed(t, other, otherConn), []string{"y"})
		conn.Resume()
		wg.Wait()
		if got := boxFlushed(t, c, conn); len(got) != 1026 {
			t.Errorf("%d arrived, want 1026", len(got))
		}
	})
}

func TestSendToWithoutTheEngine(t *testing.T) {
	for _, silent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			boxes, links := directCluster(t, 2, Options{BrokerTimeout: 3 * time.Second})
			here, conn := boxMember(t, boxes[0], nil)
			there, thereConn := boxMember(t, boxes[1], nil)
			synctest.Wait()
			links[0].silent = silent
			links[0].setCut(true)
			took := time.Duration(0)
			if silent {
				took = 3 * time.Second
			}
			directWithin(t, "SendTo", took, func() {
				if err := boxes[0].SendTo(t.Context(), there.ID(), "x"); !errors.Is(err, ErrUnavailable) {
					t.Errorf("SendTo: %v, want ErrUnavailable", err)
				}
			})
			directWithin(t, "a local SendTo", 0, func() {
				if err := boxes[0].SendTo(t.Context(), here.ID(), "y"); err != nil {
					t.Error(err)
				}
			})
			boxWant(t, "received here", boxFlushed(t, here, conn), []string{"y"})
			links[0].setCut(false)
			links[1].muted = 1 // it hears, and its answer is lost
			if err := boxes[0].SendTo(t.Context(), there.ID(), "z"); !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("SendTo without an answer: %v, want ErrUnknownOutcome", err)
			}
			boxWant(t, "received there", boxFlushed(t, there, thereConn), []string{"z"})
		})
	}
}

func TestMessagesFromOneNodeToOneChannelKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 2, Options{})
		c, conn := boxMember(t, boxes[1], nil)
		synctest.Wait()
		for i := 1; i <= 100; i++ {
			if err := boxes[0].SendTo(t.Context(), c.ID(), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		boxWant(t, "received", boxFlushed(t, c, conn), boxNumbers(1, 100))
	})
}

// Anybody on the engine can send anything.
func TestWhatIsNoRequestIsDroppedAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 2, Options{})
		c, conn := boxDevice(t, boxes[1], "ann", nil)
		synctest.Wait()
		before := boxes[1].Stats().BrokerErrors
		bad := [][]byte{nil, {0}, {1}, {1, 1}, {1, 9, 0, 0, 0, 0, 0, 0}, []byte(strings.Repeat("\x01", 31)), []byte("hello")}
		for _, data := range bad {
			for _, address := range []string{"u/ann", "c/" + c.ID().String()} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if a, err := links[0].MemoryBroker.Request(ctx, address, data); !errors.Is(err, ErrUnknownOutcome) {
					t.Errorf("%q at %s: answer %q, %v", data, address, a, err)
				}
				cancel()
			}
		}
		if n := boxes[1].Stats().BrokerErrors - before; n != uint64(2*len(bad)) {
			t.Errorf("%d were reported of %d", n, 2*len(bad))
		}
		boxWant(t, "received", boxFlushed(t, c, conn), nil)
	})
}

func TestAnAnswerThatNoBoxGaveIsAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, links := directCluster(t, 1, Options{})
		id := uuid.New()
		for _, answer := range []string{"?", "\x01\x00......", "\x01\x7f......", "\x01\x07......", "\x01\x08......x", "\x02\x01......", "x"} {
			ear := &memoryEar{answer: answer}
			if err := links[0].MemoryBroker.Listen(t.Context(), "c/"+id.String(), ear); err != nil {
				t.Fatal(err)
			}
			if err := boxes[0].SendTo(t.Context(), id, "x"); !errors.Is(err, ErrUnknownOutcome) {
				t.Errorf("answer %q: %v, want ErrUnknownOutcome", answer, err)
			}
			_ = links[0].MemoryBroker.Unlisten(t.Context(), "c/"+id.String(), ear)
		}
	})
}

// A broker that cannot be asked is as good as none.
func TestWithoutARequestBrokerABoxSendsToItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := memoryBroker(t, nil)
		one, two := boxOf(t, &Options{Broker: struct{ Broker }{engine}}), boxOf(t, &Options{Broker: struct{ Broker }{engine}})
		c, _ := directAccepted(t, two, nil)
		if c.ID().Version() != 4 {
			t.Errorf("version %d, want 4", c.ID().Version())
		}
		if err := one.SendTo(t.Context(), c.ID(), "x"); err != ErrNoSuchChannel {
			t.Errorf("SendTo: %v, want ErrNoSuchChannel", err)
		}
		boxSetUser(t, c, "ann")
		if res := boxSendUser(t, one, "ann", "x"); res.Waiting != 1 || res.Remote != 0 {
			t.Errorf("SendToUser: %+v, want it in the local mailbox", res)
		}
	})
}

func TestABoxThatIsShutDownIsNotReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, _ := directCluster(t, 2, Options{})
		c, _ := directAccepted(t, boxes[1], nil)
		if err := boxes[1].Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		directWithin(t, "SendTo", 0, func() {
			if err := boxes[0].SendTo(t.Context(), c.ID(), "x"); err != ErrNoSuchChannel {
				t.Errorf("SendTo: %v, want ErrNoSuchChannel", err)
			}
		})
		if n := Lines(boxes[1]); n != 0 {
			t.Errorf("it listens at %d addresses", n)
		}
		if code := boxEnd(t, c); code != websocket.StatusGoingAway {
			t.Errorf("the channel ended with %d", code)
		}
	})
}
