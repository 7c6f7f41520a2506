package wschannels_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/wschannels/wschannels"
)

// Promise 3: per-channel FIFO; one total order per group; history order is delivery
// order.
func TestPromise3OneOrderForAll(t *testing.T) {
	t.Run("first in first out to a client", testFIFOOut)
	t.Run("first in first out from a client", testFIFOIn)
	t.Run("one order of a group, and of its history", testOneOrder)
	t.Run("who misses messages sees the rest in order", testOrderWithGaps)
}

// Whatever the way that a message takes to a channel: one queue, in the order of the
// calls.
func testFIFOOut(t *testing.T) {
	const messages = 2000
	var b *wschannels.ChannelBox
	b = wireBox(t, &wschannels.Options{
		Channel: wschannels.ChannelOptions{PayloadType: wschannels.Text},
		Events: wschannels.Events{OnConnect: func(ctx context.Context, c *wschannels.Channel) error {
			if err := c.SetUser("ann"); err != nil {
				return err
			}
			return promiseJoins(&b)(ctx, c)
		}},
	})
	p := promiseDial(t, wireServe(t, b, b))
	boxEventually(t, "the channel is in its group", func() bool { return len(b.Members("g")) == 1 })
	c := b.Members("g")[0]
	go func() { // ends with the last message
		for i := range messages {
			var err error
			switch text := fmt.Sprint(i); i % 6 {
			case 0:
				err = c.Send(t.Context(), text)
			case 1:
				_, err = b.GroupSend(t.Context(), "g", text, boxSave)
			case 2:
				err = b.SendTo(t.Context(), c.ID(), text)
			case 3:
				_, err = b.SendToUser(t.Context(), "ann", text)
			case 4:
				_, err = b.GroupSend(t.Context(), "g", text, nil)
			case 5:
				err = c.SendBytes(t.Context(), []byte(text))
			}
			if err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range messages {
		if _, data, err := p.next(); err != nil || string(data) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q, %v", i, data, err)
		}
	}
}

// Whether OnMessage gets the messages or a handler takes them.
func testFIFOIn(t *testing.T) {
	want := boxNumbers(1, 2000)
	var sent []byte
	for _, text := range want {
		sent = append(sent, wireString(text)...)
	}
	sent = append(sent, wireFrame(wireFin|wireClose, wireCloseBody(1000, ""))...)
	opts := &wschannels.ChannelOptions{PayloadType: wschannels.Text}

	log := newWireLog()
	b := wireBox(t, &wschannels.Options{Channel: *opts, Events: log.events()})
	p := promiseDial(t, wireServe(t, b, b))
	p.send(t, sent)
	p.wantClose(t, 1000)
	log.end(t)
	log.want(t, want, 0)

	received := make(chan []string, 1)
	b = wireBox(t, nil)
	p = promiseDial(t, wireServe(t, b.HandlerWith(opts, func(ctx context.Context, c *wschannels.Channel) error {
		var got []string
		for m, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			got = append(got, m.Text())
		}
		received <- got
		return nil
	}), b))
	p.send(t, sent)
	p.wantClose(t, 1000)
	boxWant(t, "a handler", <-received, want)
}

// Publishers in two boxes that share a broker; members of all kinds in both, over TCP.
// What everybody sees is the order of Seq, which is the history's.
func testOneOrder(t *testing.T) {
	const publishers, each = 4, 250
	broker, err := wschannels.NewMemoryBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	var boxes [2]*wschannels.ChannelBox
	var readers []func() []string // return what a member got
	for i := range boxes {
		b := &boxes[i]
		*b = wireBox(t, &wschannels.Options{Broker: broker, Events: wschannels.Events{OnConnect: promiseJoins(b)}})
		last := *b // is shut down when all servers are gone
		for _, opts := range []wschannels.ChannelOptions{
			{PayloadType: wschannels.Text}, {PayloadType: wschannels.JSON}, {PayloadType: wschannels.Bytes}, {Envelope: true},
		} {
			srv := wireServe(t, (*b).HandlerWith(&opts, nil), last)
			last = nil
			for range 2 {
				p := promiseDial(t, srv)
				readers = append(readers, func() []string { return promiseTexts(t, p, publishers*each, opts.Envelope) })
			}
		}
		boxEventually(t, "all are in", func() bool { return len((*b).Members("g")) == 8 })
	}

	var sending, reading sync.WaitGroup
	bySeq := make([]string, publishers*each)
	for n := range publishers {
		sending.Go(func() {
			last := uint64(0)
			for i := range each {
				text := fmt.Sprint(n*each + i)
				res, err := boxes[n%2].GroupSend(t.Context(), "g", text, boxSave)
				if err != nil || res.Seq <= last || res.Seq > uint64(len(bySeq)) {
					t.Errorf("%s: %+v, %v; want a Seq after %d", text, res, err, last)
					return
				}
				last = res.Seq
				bySeq[res.Seq-1] = text
			}
		})
	}
	got := make([][]string, len(readers))
	for i, read := range readers {
		reading.Go(func() { got[i] = read() })
	}
	sending.Wait()
	reading.Wait()
	for i := range readers {
		boxWant(t, fmt.Sprint("member ", i), got[i], bySeq)
	}
	for _, b := range boxes {
		boxWant(t, "the history", boxHistory(t, b, "g", nil), bySeq)
	}
}

// promiseTexts reads n messages, JSON or not; those in envelopes have each the next Seq.
func promiseTexts(t *testing.T, p *wirePeer, n int, envelope bool) []string {
	texts := make([]string, 0, n)
	for i := range n {
		_, data, err := p.next()
		if err != nil {
			t.Errorf("message %d: %v", i, err)
			return texts
		}
		if envelope {
			var e struct {
				Seq  int
				Data json.RawMessage
			}
			if err := json.Unmarshal(data, &e); err != nil || e.Seq != i+1 {
				t.Errorf("message %d: seq %d, %v", i, e.Seq, err)
			}
			data = e.Data
		}
		text := string(data)
		if s, err := strconv.Unquote(text); err == nil {
			text = s
		}
		texts = append(texts, text)
	}
	return texts
}

// Slow members lose messages by their policy, and the order of the others never.
func testOrderWithGaps(t *testing.T) {
	for _, policy := range []wschannels.SlowPolicy{wschannels.SlowDropNewest, wschannels.SlowDropOldest} {
		b := boxOf(t, nil)
		opts := boxText
		opts.Slow, opts.QueueBytes = policy, 50
		c, conn := boxMember(t, b, &opts, "g")
		missed := 0
		for i := range 2000 {
			switch i % 100 {
			case 0:
				conn.Stall()
			case 50:
				conn.Resume()
			}
			res := boxSend(t, b, "g", fmt.Sprint(i), nil)
			missed += res.Dropped + res.Evicted
		}
		conn.Resume()
		got := boxFlushed(t, c, conn)
		if missed == 0 || len(got) != 2000-missed {
			t.Errorf("%d messages were missed and %d arrived, want some, and 2000 together", missed, len(got))
		}
		if !slices.IsSortedFunc(got, func(a, b string) int {
			x, _ := strconv.Atoi(a)
			y, _ := strconv.Atoi(b)
			return x - y
		}) {
			t.Errorf("policy %d: the messages came out of order", policy)
		}
	}
}
