package wschannels_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/wschannels/wschannels"
)

// Promise 9: replay has no gap and no duplicate, or says that it could not.
func TestPromise9ReplayHasNoGapAndNoDuplicate(t *testing.T) {
	t.Run("of a client that keeps losing its connection", testReplayOverLostConnections)
	t.Run("or says that it could not", testReplayThatCannot)
	t.Run("of the last messages", testReplayOfTheLast)
}

// A client over TCP whose connection is reset again and again, with messages on the way,
// while others publish. It knows its place from the last envelope it saw, and comes
// back with it. With room for all, it misses nothing and sees nothing twice; with little
// room, it has missed something exactly when Recovered is false.
func testReplayOverLostConnections(t *testing.T) {
	for name, limits := range map[string]wschannels.HistoryLimits{"room for all": {}, "little room": {Len: 10}} {
		t.Run(name, func(t *testing.T) {
			joined := make(chan wschannels.JoinResult, 1)
			b := wireBox(t, &wschannels.Options{History: limits})
			srv := wireServe(t, b.HandlerWith(&wschannels.ChannelOptions{Envelope: true, QueueBytes: 64 << 20}, func(ctx context.Context, c *wschannels.Channel) error {
				at, err := wschannels.Receive[wschannels.Position](ctx, c)
				if err != nil {
					return err
				}
				res, err := b.Join(ctx, c, "g", &wschannels.JoinOptions{ReplayAfter: &at})
				if err != nil {
					return err
				}
				joined <- res
				_, err = c.Receive(ctx)
				return err
			}), b)

			rnd := rand.New(rand.NewPCG(9, uint64(limits.Len)))
			published, lost, recovered := 0, 0, 0
			publish := func(n int) {
				for range n {
					published++
					boxSend(t, b, "g", published, boxSave)
				}
			}
			publish(1)
			at, err := b.Position(t.Context(), "g")
			if err != nil {
				t.Fatal(err)
			}
			at.Seq = 0
			client := promiseReplay{at: at}
			for round := range 200 {
				publish(rnd.IntN(15)) // while it is away
				publishing := make(chan struct{})
				go func(n int) { // and while it comes back
					defer close(publishing)
					publish(n)
				}(1 + rnd.IntN(20))
				before := client.at.Seq
				p := client.connect(t, srv)
				res := <-joined
				first := client.read(t, p, 1)
				if gap := first != before+1; gap == res.Recovered || first <= before {
					t.Fatalf("round %d: %+v, and after %d came %d", round, res, before, first)
				}
				if res.Recovered {
					recovered++
				} else {
					lost++
				}
				<-publishing
				client.read(t, p, rnd.IntN(published-int(client.at.Seq)+1)) // and not the rest
				_ = p.Conn.(*net.TCPConn).SetLinger(0)
				p.Close()
			}
			publish(1) // there is something to come
			p := client.connect(t, srv)
			<-joined
			for client.at.Seq < uint64(published) {
				client.read(t, p, 1)
			}
			if limits.Len == 0 && (lost > 0 || client.got != published) {
				t.Errorf("%d of %d messages came, and %d times it was not recovered", client.got, published, lost)
			}
			if limits.Len > 0 && (lost == 0 || recovered == 0) {
				t.Errorf("recovered %d times, and %d times not: the test proves little", recovered, lost)
			}
			p.Close()
		})
	}
}

// promiseReplay is a client that knows its place.
type promiseReplay struct {
	at  wschannels.Position
	got int
}

func (c *promiseReplay) connect(t *testing.T, srv *httptest.Server) *wirePeer {
	t.Helper()
	p := promiseDial(t, srv)
	at, err := json.Marshal(c.at)
	if err != nil {
		t.Fatal(err)
	}
	p.send(t, wireFrame(wireFin|wireText, at))
	return p
}

// read reads n messages, of which all but the first of a connection must be the next,
// and returns the Seq of the last.
func (c *promiseReplay) read(t *testing.T, p *wirePeer, n int) uint64 {
	t.Helper()
	for i := range n {
		_, data, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Epoch     string
			Seq, Data uint64
		}
		if err := json.Unmarshal(data, &e); err != nil || e.Epoch != c.at.Epoch || e.Data != e.Seq {
			t.Fatalf("%s, %v", data, err)
		}
		if i > 0 && e.Seq != c.at.Seq+1 {
			t.Fatalf("after %d came %d", c.at.Seq, e.Seq)
		}
		c.at.Seq = e.Seq
		c.got++
	}
	return c.at.Seq
}

// Of the messages 1 to 8 the odd ones were saved. What is replayed of them, and whether
// that is all that the client missed.
func testReplayThatCannot(t *testing.T) {
	flush := func(b *wschannels.ChannelBox) error { return b.FlushHistory(context.Background(), "g") }
	for _, tt := range []struct {
		name      string
		limits    wschannels.HistoryLimits
		after     uint64
		epoch     string // "": the group's
		before    func(*wschannels.ChannelBox) error
		member    wschannels.ChannelOptions
		want      []string
		recovered bool
	}{
		{name: "from the start", want: []string{"1", "3", "5", "7"}, recovered: true},
		{name: "what was not saved is nobody's loss", after: 4, want: []string{"5", "7"}, recovered: true},
		{name: "nothing missed", after: 8, recovered: true},
		{name: "evicted before its place", limits: wschannels.HistoryLimits{Len: 2}, after: 3, want: []string{"5", "7"}, recovered: true},
		{name: "evicted after its place", limits: wschannels.HistoryLimits{Len: 2}, after: 2, want: []string{"5", "7"}},
		{name: "flushed", after: 3, before: flush},
		{name: "flushed at its place", after: 8, before: flush, recovered: true},
		{name: "another order", epoch: "another", after: 3, want: []string{"1", "3", "5", "7"}},
		{name: "the future", after: 9, want: []string{"1", "3", "5", "7"}},
		{name: "too large for the client", after: 0, member: wschannels.ChannelOptions{PayloadType: wschannels.JSON, QueueBytes: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, epoch := boxFilled(t, 8, &wschannels.Options{History: tt.limits})
			if tt.before != nil {
				if err := tt.before(b); err != nil {
					t.Fatal(err)
				}
			}
			if tt.epoch != "" {
				epoch = tt.epoch
			}
			if tt.member.PayloadType == wschannels.JSON && tt.member.QueueBytes == 0 {
				tt.member = boxText
			}
			c, conn := boxMember(t, b, &tt.member)
			res := boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayAfter: &wschannels.Position{Epoch: epoch, Seq: tt.after}})
			if res.Recovered != tt.recovered || res.Replayed != len(tt.want) || res.Position.Seq != 8 {
				t.Errorf("%+v, want Recovered %v, %d replayed, at 8", res, tt.recovered, len(tt.want))
			}
			boxWant(t, "received", boxFlushed(t, c, conn), tt.want)
		})
	}
}

// ReplayLast, while somebody publishes: as many as asked for, ending at the place that
// Join tells, and all that came after it. What comes in the middle of the join counts as
// one of the last, and may come live.
func testReplayOfTheLast(t *testing.T) {
	b := boxOf(t, &wschannels.Options{History: wschannels.HistoryLimits{Len: 100}})
	stop, published := make(chan struct{}), make(chan int)
	go func() {
		i := 0
		defer func() { published <- i }()
		for {
			select {
			case <-stop:
				return
			default:
				i++
				if _, err := b.GroupSend(context.Background(), "g", fmt.Sprint(i), boxSave); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	type join struct {
		res  wschannels.JoinResult
		read func() []string
	}
	var joins []join
	for n := range 200 {
		c, conn := boxMember(t, b, &boxRoomy)
		res := boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayLast: 1 + n%7})
		joins = append(joins, join{res, func() []string { return boxFlushed(t, c, conn) }})
		if res.Replayed > 1+n%7 {
			t.Errorf("%d were replayed of %d", res.Replayed, 1+n%7)
		}
	}
	close(stop)
	last := <-published
	for n, j := range joins {
		got := j.read()
		boxWant(t, fmt.Sprintf("%+v", j.res), got, boxNumbers(int(j.res.Position.Seq)-j.res.Replayed+1, last))
		if len(got) < min(1+n%7, last) {
			t.Errorf("%+v: %d of the last %d", j.res, len(got), 1+n%7)
		}
	}
}
