package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// boxRoomy never says no.
var boxRoomy = wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 1 << 30}

// Joining with replay while publishers run at full speed: no gap and no duplicate,
// whatever the moment. A witness that is in the group from the start knows the order.
func TestJoinReplayHasNoGapAndNoDuplicate(t *testing.T) {
	seeds := uint64(2000)
	switch {
	case testing.Short():
		seeds = 300
	case boxRace:
		seeds = 1000
	}
	for seed := range seeds {
		boxReplayRun(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func boxReplayRun(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	var limits wschannels.HistoryLimits
	if rnd.IntN(2) == 0 {
		limits.Len = 1 + rnd.IntN(20)
	}
	b, err := wschannels.New(&wschannels.Options{History: limits})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Shutdown(t.Context())
	witness, seen := boxMember(t, b, &boxRoomy, "g")

	const publishers = 2
	perPublisher, allSaved := 5+rnd.IntN(20), rnd.IntN(2) == 0
	var wg sync.WaitGroup
	start := make(chan bool)
	for p := range publishers {
		saves := rand.New(rand.NewPCG(seed, 10+uint64(p)))
		wg.Go(func() {
			<-start
			for i := range perPublisher {
				text, save := fmt.Sprint(p, ".", i), allSaved || saves.IntN(3) > 0
				if save {
					text += "s"
				}
				if _, err := b.GroupSend(t.Context(), "g", text, &wschannels.SendOptions{SaveHistory: save}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	type joiner struct {
		c    *wschannels.Channel
		conn *wschannelstest.Conn
		opts wschannels.JoinOptions
		res  wschannels.JoinResult
	}
	at, _ := b.Position(t.Context(), "g")
	joiners := make([]joiner, 3)
	for i := range joiners {
		j := &joiners[i]
		j.c, j.conn = boxMember(t, b, &boxRoomy)
		spin := rnd.IntN(4000)
		if rnd.IntN(3) == 0 {
			j.opts.ReplayLast = 1 + rnd.IntN(30)
		} else {
			j.opts.ReplayAfter = &wschannels.Position{Epoch: at.Epoch, Seq: uint64(rnd.IntN(10))}
		}
		wg.Go(func() {
			<-start
			for k := 0; k < spin; k++ { // somewhere in the middle
				_ = k * k
			}
			var err error
			if j.res, err = b.Join(t.Context(), j.c, "g", &j.opts); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()

	order := boxFlushed(t, witness, seen) // order[i] has Seq i+1
	if len(order) != publishers*perPublisher {
		t.Fatalf("the witness got %d messages of %d", len(order), publishers*perPublisher)
	}
	for _, j := range joiners {
		got := boxFlushed(t, j.c, j.conn)
		if j.res.Replayed > len(got) {
			t.Fatalf("%d replayed, but only %d received", j.res.Replayed, len(got))
		}
		var saved []string // before the position, and asked for
		for i, text := range order[:j.res.Position.Seq] {
			if text[len(text)-1] == 's' && (j.opts.ReplayAfter == nil || j.opts.ReplayAfter.Seq > j.res.Position.Seq || i >= int(j.opts.ReplayAfter.Seq)) {
				saved = append(saved, text)
			}
		}
		if j.res.Recovered && j.res.Replayed != len(saved) {
			t.Errorf("%+v with %+v: Recovered, but %d were to replay", j.opts, j.res, len(saved))
		}
		if j.res.Replayed > len(saved) {
			t.Fatalf("%+v with %+v: only %d were saved by then", j.opts, j.res, len(saved))
		}
		want := slices.Concat(saved[len(saved)-j.res.Replayed:], order[j.res.Position.Seq:])
		boxWant(t, fmt.Sprintf("seed %d: %+v with %+v", seed, j.opts, j.res), got, want)
	}
}

// Sixteen publishers, a thousand members, and others who come (with replay) and go:
// every member sees one order, and it is the history's.
func TestGroupOrderIsOneForAll(t *testing.T) {
	const publishers = 16
	members, each := 1000, 4
	if testing.Short() {
		members = 200
	}
	b := boxOf(t, nil)
	type peer struct {
		c    *wschannels.Channel
		conn *wschannelstest.Conn
	}
	peers := make([]peer, members)
	for i := range peers {
		peers[i].c, peers[i].conn = boxMember(t, b, &boxRoomy, "g")
	}

	var publish, visit sync.WaitGroup
	done := make(chan bool)
	for p := range publishers {
		publish.Go(func() {
			for i := range each {
				res, err := b.GroupSend(t.Context(), "g", fmt.Sprint(p*each+i), boxSave)
				if err != nil || res.Queued < members {
					t.Errorf("send: %+v, %v, want %d or more queued", res, err, members)
				}
			}
		})
	}
	visits := make([][][]string, 2) // what each visitor got, visit by visit
	for v := range visits {
		visit.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c, conn := boxMember(t, b, &boxRoomy)
				if _, err := b.Join(t.Context(), c, "g", &wschannels.JoinOptions{ReplayLast: 7}); err != nil {
					t.Error(err)
				}
				if _, err := b.Leave(t.Context(), c, "g"); err != nil {
					t.Error(err)
				}
				visits[v] = append(visits[v], boxFlushed(t, c, conn))
				c.CloseNow()
			}
		})
	}
	publish.Wait()
	close(done)
	visit.Wait()

	order := boxHistory(t, b, "g", nil)
	if len(order) != publishers*each {
		t.Fatalf("the history has %d messages, want %d", len(order), publishers*each)
	}
	for i, p := range peers {
		boxWant(t, fmt.Sprint("member ", i), boxFlushed(t, p.c, p.conn), order)
	}
	place := make(map[string]int)
	last := make(map[int]int) // of each publisher
	for i, text := range order {
		place[text] = i
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		if from := n / each; last[from] > n {
			t.Fatalf("publisher %d: %d came after %d", from, n, last[from])
		} else {
			last[from] = n
		}
	}
	for _, got := range slices.Concat(visits...) {
		if len(got) > 0 {
			first := place[got[0]]
			boxWant(t, "visitor", got, order[first:first+len(got)])
		}
	}
}

// Joining, replaying, leaving and sending to one group from all sides at once ends,
// and ends with nothing.
func TestJoinAndLeaveOfOneChannelAtOnce(t *testing.T) {
	b := boxOf(t, nil)
	for i := range 50 {
		boxSend(t, b, "g", fmt.Sprint(i), boxSave)
	}
	for range 100 {
		opts := boxText
		opts.QueueBytes, opts.Slow = 20, wschannels.SlowDropOldest
		c, _ := boxMember(t, b, &opts)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { b.Join(t.Context(), c, "g", &wschannels.JoinOptions{ReplayLast: 50}) })
			wg.Go(func() { b.Leave(t.Context(), c, "g") })
			wg.Go(func() { b.GroupSend(t.Context(), "g", "live", nil) })
		}
		wg.Go(func() { c.CloseNow() })
		wg.Wait()
	}
	boxNothingLeft(t, b)
}

// Leave and Join of one channel at the same time: whoever wins, it is a member once.
func TestAMemberThatLeavesAndJoinsGetsNothingTwice(t *testing.T) {
	b := boxOf(t, nil)
	c, conn := boxMember(t, b, nil, "g")
	for range 100 { // a send takes its time, and those who come and go wait for one another
		_, conn := boxMember(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 1, Slow: wschannels.SlowDropNewest}, "g")
		conn.Stall()
	}
	ctx := context.Background()
	each := 30_000
	if testing.Short() || boxRace {
		each /= 10
	}
	var wg sync.WaitGroup
	var busy atomic.Int32
	busy.Store(4)
	for range 2 {
		wg.Go(func() {
			defer busy.Add(-1)
			for range each {
				if _, err := b.Leave(ctx, c, "g"); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			defer busy.Add(-1)
			for range each { // one that is overtaken by a Leave is canceled
				if _, err := b.Join(ctx, c, "g", nil); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	for i := 0; busy.Load() > 0; i++ {
		boxSend(t, b, "g", fmt.Sprint(i), nil)
	}
	wg.Wait()
	seen := make(map[string]bool)
	for _, m := range boxFlushed(t, c, conn) {
		if seen[m] {
			t.Errorf("message %s came twice", m)
		}
		seen[m] = true
	}
}
