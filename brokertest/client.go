package brokertest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// boxes returns a box on each of nodes, with this BrokerTimeout, 0 being the default.
func boxes(t *testing.T, nodes []wschannels.Broker, timeout time.Duration) (all []*wschannels.ChannelBox) {
	t.Helper()
	for _, b := range nodes {
		box, err := wschannels.New(&wschannels.Options{Broker: b, BrokerTimeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := box.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
		all = append(all, box)
	}
	return all
}

// A client is a channel's peer.
type client struct {
	box  *wschannels.ChannelBox
	c    *wschannels.Channel
	conn *wschannelstest.Conn
	got  []string // read so far
}

// connect returns a client of box, with Text payloads, that reads whatever comes.
func connect(t *testing.T, box *wschannels.ChannelBox, envelope bool) *client {
	t.Helper()
	conn := wschannelstest.NewConn()
	c, err := wschannels.NewChannel(conn, &wschannels.ChannelOptions{PayloadType: wschannels.Text, Envelope: envelope, QueueBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if err := box.Add(c); err != nil {
		t.Fatal(err)
	}
	return &client{box: box, c: c, conn: conn}
}

// member returns a client in group.
func member(t *testing.T, box *wschannels.ChannelBox, group string) *client {
	t.Helper()
	cl := connect(t, box, false)
	cl.join(t, group, nil)
	return cl
}

func (cl *client) join(t *testing.T, group string, opts *wschannels.JoinOptions) wschannels.JoinResult {
	t.Helper()
	res, err := cl.box.Join(patient(t), cl.c, group, opts)
	if err != nil {
		t.Fatalf("Join: %v", err)
	}
	return res
}

// await reads until there are n messages, and returns them.
func (cl *client) await(t *testing.T, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(cl.got) < n {
		_, p, err := cl.conn.Next(ctx)
		if err != nil {
			t.Fatalf("%d of %d messages, and then %v; the channel: %v", len(cl.got), n, err, cl.c.Err())
		}
		cl.got = append(cl.got, string(p))
	}
	return cl.got
}

// rest reads what is there, and returns all.
func (cl *client) rest(t *testing.T) []string {
	t.Helper()
	if err := cl.c.Flush(patient(t)); err != nil {
		t.Fatalf("Flush: %v", err)
	}
	return cl.drain()
}

// drain reads what has been written, and returns all.
func (cl *client) drain() []string {
	for {
		_, p, err := cl.conn.Next(ended())
		if err != nil {
			return cl.got
		}
		cl.got = append(cl.got, string(p))
	}
}

// awaitText reads until that text comes.
func (cl *client) awaitText(t *testing.T, text string) {
	t.Helper()
	for !slices.Contains(cl.got, text) {
		cl.await(t, len(cl.got)+1)
	}
}

// An envelope is what a client with ChannelOptions.Envelope gets.
type envelope struct {
	Group, Epoch, Data string
	Seq                uint64
}

// awaitPosition reads until the message at that place has come, and returns all.
func (cl *client) awaitPosition(t *testing.T, at wschannels.Position) (all []envelope) {
	t.Helper()
	for {
		var e envelope
		text := cl.await(t, len(all)+1)[len(all)]
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		all = append(all, e)
		if e.Epoch == at.Epoch && e.Seq >= at.Seq {
			return all
		}
	}
}

var keep = &wschannels.SendOptions{SaveHistory: true}

// send sends text to group, which must work.
func send(t *testing.T, box *wschannels.ChannelBox, group, text string, opts *wschannels.SendOptions) wschannels.SendResult {
	t.Helper()
	res, err := box.GroupSend(patient(t), group, text, opts)
	if err != nil {
		t.Fatalf("GroupSend %q: %v", text, err)
	}
	return res
}

// settleBoxes is settle through boxes.
func settleBoxes(t *testing.T, all []*wschannels.ChannelBox) {
	t.Helper()
	var cs []*client
	for _, box := range all {
		cs = append(cs, member(t, box, "settle"))
	}
	for i, box := range all {
		send(t, box, "settle", fmt.Sprint("settle ", i), nil)
	}
	for _, cl := range cs {
		cl.await(t, len(all))
		_ = cl.c.Close(websocket.StatusNormalClosure, "")
	}
}
