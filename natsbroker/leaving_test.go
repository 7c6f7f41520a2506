package natsbroker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/natsbroker"
	"github.com/wschannels/wschannels/wschannelstest"
)

func TestASendToAUserWhoMovesAllTheTimeHasAKnownEnd(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	var boxes []*wschannels.ChannelBox
	for range 3 {
		b := open(t, e.url(), opts)
		awaitUp(t, b)
		box, err := wschannels.New(&wschannels.Options{Broker: b, Channel: wschannels.ChannelOptions{PayloadType: wschannels.Text}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = box.Shutdown(context.Background()) })
		boxes = append(boxes, box)
	}
	const senders, moves = 4, 150
	var sent atomic.Int64
	times := make([]map[string]int, len(boxes)) // that a text came, by box
	for i := range times {
		times[i] = make(map[string]int)
	}
	gone := make(chan struct{})
	var all sync.WaitGroup
	for k := range senders {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-gone:
					return
				default:
				}
				if _, err := boxes[0].SendToUser(t.Context(), "ann", fmt.Sprint(k, " ", i)); err != nil {
					t.Errorf("SendToUser: %v", err)
				}
				sent.Add(1)
			}
		})
	}
	// come has ann at a box until she has n messages.
	come := func(at, n int) {
		conn := wschannelstest.NewConn()
		c, err := wschannels.NewChannel(conn, &wschannels.ChannelOptions{PayloadType: wschannels.Text})
		if err == nil {
			err = boxes[at].Add(c)
		}
		if err == nil {
			err = c.SetUser("ann")
		}
		if err != nil {
			t.Fatal(err)
		}
		read := func(ctx context.Context) bool {
			_, p, err := conn.Next(ctx)
			if err == nil {
				times[at][string(p)]++
			}
			return err == nil
		}
		patient, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i := 0; i < n && read(patient); i++ {
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
		cancel()
		for read(patient) { // what is there
		}
	}
	for i := range moves {
		come(1+i%2, 1)
	}
	close(gone)
	all.Wait()
	// All come, to one of her channels. One may come to two: it is sent to both boxes, and she
	// was at the one when it came there, and at the other when it came there.
	received := func() (n int) {
		for text := range times[1] {
			if times[2][text] == 0 {
				n++
			}
		}
		return n + len(times[2])
	}
	for deadline := time.Now().Add(time.Minute); received() < int(sent.Load()) && time.Now().Before(deadline); {
		come(1, 1)
	}
	if n := received(); n != int(sent.Load()) {
		t.Errorf("%d messages have come of %d", n, sent.Load())
	}
	for i, texts := range times {
		for text, n := range texts {
			if n != 1 {
				t.Errorf("box %d has got %q %d times", i, text, n)
			}
		}
	}
}

func TestANodeThatClosesLeavesNoRequestUnanswered(t *testing.T) {
	e := newEngine(t)
	opts := &natsbroker.Options{Prefix: newPrefix()}
	asker := open(t, e.url(), opts)
	awaitUp(t, asker)
	for range 10 {
		b := open(t, e.url(), opts)
		awaitUp(t, b)
		if err := b.Listen(t.Context(), "a", echo{}); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var answered atomic.Int64
		for range 8 {
			all.Go(func() {
				for {
					_, err := asker.Request(t.Context(), "a", []byte("x"))
					switch {
					case errors.Is(err, wschannels.ErrNobody):
						return
					case err != nil:
						t.Errorf("Request: %v, want an answer, or ErrNobody", err)
						return
					}
					answered.Add(1)
				}
			})
		}
		eventually(t, "answers", func() error {
			if answered.Load() < 100 {
				return errors.New("few")
			}
			return nil
		})
		closeBroker(t, b)
		all.Wait()
	}
}

// An echo answers each request with what it is.
type echo struct{}

func (echo) Hear(_ string, data []byte, answer func([]byte)) { answer(data) }
func (echo) Interrupted(string)                              {}
