package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
)

// boxFilled returns a box whose group "g" had the messages 1 to n, and the group's
// epoch. Every odd one was saved.
func boxFilled(t *testing.T, n int, opts *wschannels.Options) (*wschannels.ChannelBox, string) {
	b := boxOf(t, opts)
	for i := 1; i <= n; i++ {
		boxSend(t, b, "g", fmt.Sprint(i), &wschannels.SendOptions{SaveHistory: i%2 == 1})
	}
	at, err := b.Position(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	return b, at.Epoch
}

func TestJoinReplayAfter(t *testing.T) {
	for _, tt := range []struct {
		name      string
		history   wschannels.HistoryLimits
		after     uint64
		epoch     string // "": the group's
		before    func(*testing.T, *wschannels.ChannelBox)
		want      []string
		recovered bool
		at        uint64 // 0: 8
	}{
		{name: "the beginning", after: 0, want: []string{"1", "3", "5", "7"}, recovered: true},
		{name: "a saved one", after: 3, want: []string{"5", "7"}, recovered: true},
		{name: "an unsaved one", after: 4, want: []string{"5", "7"}, recovered: true},
		{name: "the last saved", after: 7, recovered: true},
		{name: "the end", after: 8, recovered: true},
		{name: "the future", after: 9, want: []string{"1", "3", "5", "7"}},
		{name: "another epoch", epoch: "x", after: 3, want: []string{"1", "3", "5", "7"}},
		{name: "no epoch", epoch: "-", after: 3, want: []string{"1", "3", "5", "7"}},
		{name: "evicted one", history: wschannels.HistoryLimits{Len: 2}, after: 2, want: []string{"5", "7"}},
		{name: "evicted before it", history: wschannels.HistoryLimits{Len: 2}, after: 3, want: []string{"5", "7"}, recovered: true},
		{name: "evicted all but one", history: wschannels.HistoryLimits{Len: 1}, after: 0, want: []string{"7"}},
		{
			name: "flush", after: 3,
			before: func(t *testing.T, b *wschannels.ChannelBox) {
				if err := b.FlushHistory(t.Context(), "g"); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "flush and more", after: 3, want: []string{"9"}, at: 9,
			before: func(t *testing.T, b *wschannels.ChannelBox) {
				if err := b.FlushHistory(t.Context()); err != nil {
					t.Fatal(err)
				}
				boxSend(t, b, "g", "9", boxSave)
			},
		},
		{
			name: "flush before it", after: 9, want: []string{"10"}, recovered: true, at: 10,
			before: func(t *testing.T, b *wschannels.ChannelBox) {
				if err := b.FlushHistory(t.Context()); err != nil {
					t.Fatal(err)
				}
				boxSend(t, b, "g", "9", boxSave)
				boxSend(t, b, "g", "10", boxSave)
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, epoch := boxFilled(t, 8, &wschannels.Options{History: tt.history})
			if tt.before != nil {
				tt.before(t, b)
			}
			after := wschannels.Position{Epoch: epoch, Seq: tt.after}
			if tt.epoch != "" {
				after.Epoch = strings.Trim(tt.epoch, "-")
			}
			c, conn := boxMember(t, b, nil)
			res := boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayAfter: &after})
			if tt.at == 0 {
				tt.at = 8
			}
			want := wschannels.JoinResult{
				Status: wschannels.ChannelAdded, Position: wschannels.Position{Epoch: epoch, Seq: tt.at},
				Replayed: len(tt.want), Recovered: tt.recovered,
			}
			if res != want {
				t.Errorf("Join = %+v, want %+v", res, want)
			}
			boxSend(t, b, "g", "live", nil)
			boxWant(t, "received", boxFlushed(t, c, conn), append(tt.want, "live"))
		})
	}
}

func TestJoinReplayLast(t *testing.T) {
	for _, tt := range []struct {
		last int
		want []string
	}{{0, nil}, {1, []string{"7"}}, {3, []string{"3", "5", "7"}}, {4, []string{"1", "3", "5", "7"}}, {9, []string{"1", "3", "5", "7"}}} {
		b, epoch := boxFilled(t, 8, nil)
		c, conn := boxMember(t, b, nil)
		res := boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayLast: tt.last})
		want := wschannels.JoinResult{
			Status: wschannels.ChannelAdded, Position: wschannels.Position{Epoch: epoch, Seq: 8}, Replayed: len(tt.want),
		}
		if res != want {
			t.Errorf("Join = %+v, want %+v", res, want)
		}
		boxWant(t, "received", boxFlushed(t, c, conn), tt.want)
	}
}

func TestJoinReplaysNothingToAMember(t *testing.T) {
	b, _ := boxFilled(t, 8, nil)
	c, conn := boxMember(t, b, nil, "g")
	res := boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayLast: 4})
	if res.Status != wschannels.ChannelExists || res.Replayed != 0 || res.Position.Seq != 8 {
		t.Errorf("Join again = %+v, want EXISTS at 8, nothing replayed", res)
	}
	boxWant(t, "received", boxFlushed(t, c, conn), nil)
}

// Data is encoded anew for the member's type; what it cannot carry is left out, and
// that is said.
func TestJoinReplaySkipsWhatAMemberCannotCarry(t *testing.T) {
	b := boxOf(t, nil)
	boxSend(t, b, "g", "text", boxSave)
	boxSend(t, b, "g", []byte("\xff"), boxSave)
	boxSend(t, b, "g", []byte("ok"), boxSave)
	boxSend(t, b, "g", map[string]int{"n": 1}, boxSave)
	at, _ := b.Position(t.Context(), "g")
	for _, tt := range []struct {
		opts      wschannels.ChannelOptions
		want      []string
		recovered bool
	}{
		{wschannels.ChannelOptions{PayloadType: wschannels.Text}, []string{"text", "ok", `{"n":1}`}, false},
		{wschannels.ChannelOptions{PayloadType: wschannels.JSON}, []string{`"text"`, `"/w=="`, `"b2s="`, `{"n":1}`}, true},
		{wschannels.ChannelOptions{PayloadType: wschannels.Bytes}, []string{"text", "\xff", "ok", `{"n":1}`}, true},
		{wschannels.ChannelOptions{PayloadType: wschannels.Bytes, QueueBytes: 6}, []string{"text", "\xff", "ok"}, false},
	} {
		c, conn := boxMember(t, b, &tt.opts)
		res := boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayAfter: &wschannels.Position{Epoch: at.Epoch}})
		if res.Replayed != len(tt.want) || res.Recovered != tt.recovered {
			t.Errorf("%v: %+v, want %d replayed, Recovered = %t", tt.opts.PayloadType, res, len(tt.want), tt.recovered)
		}
		boxWant(t, tt.opts.PayloadType.String(), boxFlushed(t, c, conn), tt.want)
	}
}

// boxSlowJoin is a join whose replay does not fit into the member's queue: 10
// messages of 4 bytes, and room for 3.
type boxSlowJoin struct {
	b      *wschannels.ChannelBox
	c      *wschannels.Channel
	gate   *boxGate
	cancel context.CancelCauseFunc
	done   chan struct{}
	res    wschannels.JoinResult
	err    error
}

func boxStartSlowJoin(t *testing.T, policy wschannels.SlowPolicy) *boxSlowJoin {
	j := &boxSlowJoin{b: boxOf(t, nil), gate: boxGated(), done: make(chan struct{})}
	for i := range 10 {
		boxSend(t, j.b, "g", fmt.Sprint("old", i), boxSave)
	}
	var err error
	j.c, err = wschannels.NewChannel(j.gate, &wschannels.ChannelOptions{
		PayloadType: wschannels.Text, QueueBytes: 12, Slow: policy, WriteTimeout: time.Hour, Heartbeat: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.b.Add(j.c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	j.cancel = cancel
	go func() {
		defer close(j.done)
		j.res, j.err = j.b.Join(ctx, j.c, "g", &wschannels.JoinOptions{ReplayLast: 10})
	}()
	synctest.Wait()
	return j
}

func (j *boxSlowJoin) open(t *testing.T) []string {
	t.Helper()
	close(j.gate.pass)
	synctest.Wait()
	return boxWritten(j.gate.Conn)
}

// A replay that is larger than the queue waits for room, and what comes meanwhile
// waits behind it.
func TestJoinReplayWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := boxStartSlowJoin(t, wschannels.SlowDisconnect)
		defer j.c.CloseNow()
		select {
		case <-j.done:
			t.Fatalf("Join returned %+v, %v with a replay that does not fit", j.res, j.err)
		default:
		}
		if s := j.b.Stats(); s.QueuedBytes != 12 || s.QueuedMessages != 3 {
			t.Errorf("Stats: %+v, want 12 bytes queued", s)
		}
		for i := range 3 {
			if res := boxSend(t, j.b, "g", fmt.Sprint("new", i), nil); res.Queued != 1 {
				t.Errorf("live message: %+v, want queued", res)
			}
		}
		if s := j.b.Stats(); s.QueuedMessages != 6 || s.QueuedBytes != 24 {
			t.Errorf("Stats: %+v, want the live ones to be seen: 6 queued", s)
		}
		got := j.open(t)
		<-j.done
		if j.err != nil || j.res.Replayed != 10 || j.res.Position.Seq != 10 {
			t.Errorf("Join = %+v, %v, want 10 replayed at 10", j.res, j.err)
		}
		want := []string{}
		for i := range 10 {
			want = append(want, fmt.Sprint("old", i))
		}
		boxWant(t, "received", got, append(want, "new0", "new1", "new2"))
		boxSend(t, j.b, "g", "end", nil)
		boxWant(t, "later", boxFlushed(t, j.c, j.gate.Conn), []string{"end"})
		if s := j.b.Stats(); s.Sent != 14 || s.QueuedMessages != 0 || s.QueuedBytes != 0 || s.Dropped != 0 {
			t.Errorf("Stats: %+v, want 14 sent and nothing else", s)
		}
	})
}

func TestJoinWhoseContextEndsInTheReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := boxStartSlowJoin(t, wschannels.SlowDisconnect)
		defer j.c.CloseNow()
		boxSend(t, j.b, "g", "held", nil)
		cause := errors.New("enough")
		j.cancel(cause)
		<-j.done
		if !errors.Is(j.err, cause) {
			t.Errorf("Join: %v, want the context's cause", j.err)
		}
		if j.c.Err() != nil || len(j.b.Groups()) != 0 || len(j.c.Groups()) != 0 {
			t.Errorf("after that: channel %v, groups %v", j.c.Err(), j.b.Groups())
		}
		if res := boxSend(t, j.b, "g", "nobody", nil); res.Queued != 0 {
			t.Errorf("it is still a member: %+v", res)
		}
		boxWant(t, "received", j.open(t), []string{"old0", "old1", "old2", "old3"})
		if s := j.b.Stats(); s.Sent != 4 || s.Dropped != 1 || s.QueuedMessages != 0 || s.QueuedBytes != 0 {
			t.Errorf("Stats: %+v, want 4 sent and the one that was held dropped", s)
		}
	})
}

func TestJoinOfAChannelThatClosesInTheReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := boxStartSlowJoin(t, wschannels.SlowDisconnect)
		boxSend(t, j.b, "g", "held", nil)
		j.c.CloseNow()
		<-j.done
		if !errors.Is(j.err, wschannels.ErrClosed) {
			t.Errorf("Join: %v, want ErrClosed", j.err)
		}
		synctest.Wait()
		boxNothingLeft(t, j.b)
		// old0 was in the write call, 3 waited, one was held.
		if s := j.b.Stats(); s.Dropped != 5 || s.Sent != 0 {
			t.Errorf("Stats: %+v, want 5 dropped", s)
		}
	})
}

// Leaving ends a join that is under way, wherever it waits: nothing of the group
// comes after that.
func TestLeaveDuringTheReplay(t *testing.T) {
	for _, let := range []int{0, 6} { // in the replay itself; with live messages waiting behind it
		t.Run(fmt.Sprint(let), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := boxStartSlowJoin(t, wschannels.SlowDisconnect)
				defer j.c.CloseNow()
				boxSend(t, j.b, "g", "new0", nil)
				boxSend(t, j.b, "g", "new1", nil)
				j.gate.let(let)
				synctest.Wait()
				if status, err := j.b.Leave(t.Context(), j.c, "g"); err != nil || status != wschannels.GroupRemoved {
					t.Fatalf("Leave = %v, %v", status, err)
				}
				synctest.Wait()
				select {
				case <-j.done:
					if !errors.Is(j.err, context.Canceled) {
						t.Errorf("Join: %v, want context.Canceled", j.err)
					}
				default:
					t.Error("Join still waits")
				}
				already := 4 + let // written, being written, and 3 in the queue
				got := j.open(t)
				if len(got) > already {
					t.Errorf("received %q: more than the %d that had been queued", got, already)
				}
				if s := j.b.Stats(); int(s.Sent) != len(got) || s.QueuedMessages != 0 || s.QueuedBytes != 0 {
					t.Errorf("Stats: %+v after %d messages", s, len(got))
				}
			})
		})
	}
}

// What is held behind a replay is bounded like the queue, and treated by the policy.
func TestJoinReplayHoldsNoMoreThanQueueBytes(t *testing.T) {
	for _, tt := range []struct {
		policy  wschannels.SlowPolicy
		fourth  wschannels.SendResult // of the 4th live message, for which there is no room
		live    []string
		dropped uint64
	}{
		{wschannels.SlowDropNewest, wschannels.SendResult{Dropped: 1}, []string{"new0", "new1", "new2"}, 2},
		{wschannels.SlowDropOldest, wschannels.SendResult{Queued: 1, Evicted: 1}, []string{"new2", "new3", "new4"}, 2},
		{wschannels.SlowDisconnect, wschannels.SendResult{Closed: 1}, nil, 7},
	} {
		t.Run(fmt.Sprint(tt.policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := boxStartSlowJoin(t, tt.policy)
				defer j.c.CloseNow()
				var closed int
				for i := range 5 {
					res := boxSend(t, j.b, "g", fmt.Sprint("new", i), nil)
					closed += res.Closed
					tt.fourth.ID, tt.fourth.Seq = res.ID, res.Seq
					if i == 3 && res != tt.fourth {
						t.Errorf("the 4th: %+v, want %+v", res, tt.fourth)
					}
				}
				if s := j.b.Stats(); s.QueuedBytes > 24 {
					t.Errorf("QueuedBytes = %d, over 12 of the queue and 12 held", s.QueuedBytes)
				}
				if tt.policy == wschannels.SlowDisconnect {
					if got := boxEnd(t, j.c); got != wschannels.StatusSlowConsumer || closed != 1 {
						t.Errorf("closed with %v, and Closed says %d, want 4004 and 1", got, closed)
					}
					<-j.done
					synctest.Wait()
				} else {
					got := j.open(t)
					<-j.done
					if j.err != nil || j.res.Replayed != 10 {
						t.Fatalf("Join = %+v, %v", j.res, j.err)
					}
					boxWant(t, "live", got[10:], tt.live)
				}
				if s := j.b.Stats(); s.Dropped != tt.dropped || s.QueuedMessages != 0 || s.QueuedBytes != 0 {
					t.Errorf("Stats: %+v, want %d dropped and nothing queued", s, tt.dropped)
				}
			})
		})
	}
}

// A flush takes nothing from who was up to date, or came after it.
func TestRecoveredAtTheTipOfAFlush(t *testing.T) {
	b, _ := boxFilled(t, 3, nil)
	if err := b.FlushHistory(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	tip, err := b.Position(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	boxSend(t, b, "g", "after", &wschannels.SendOptions{SaveHistory: true})
	for behind, want := range []bool{true, false} {
		c, _ := boxMember(t, b, &boxText)
		at := tip
		at.Seq -= uint64(behind)
		if res := boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayAfter: &at}); res.Recovered != want || res.Replayed != 1 {
			t.Errorf("%d behind the flush: %+v, want recovered %v and 1 replayed", behind, res, want)
		}
	}
}

// A replay may fill the queue. Until there is room for what comes live, that is held: a
// member that has just come is not closed for what it was given.
func TestAReplayThatFillsTheQueueClosesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		for i := range 10 {
			boxSend(t, b, "g", fmt.Sprint("old", i), boxSave)
		}
		gate := boxGated()
		opts := boxText
		opts.QueueBytes, opts.Heartbeat, opts.WriteTimeout = 36, -1, time.Hour // all of it, with the one being written
		c, err := wschannels.NewChannel(gate, &opts)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		if err := b.Add(c); err != nil {
			t.Fatal(err)
		}
		joined := make(chan error, 1)
		go func() {
			_, err := b.Join(t.Context(), c, "g", &wschannels.JoinOptions{ReplayLast: 10})
			joined <- err
		}()
		synctest.Wait()
		want := boxNumbers(0, 9)
		for i := range want {
			want[i] = "old" + want[i]
		}
		send := func(text string) {
			t.Helper()
			want = append(want, text)
			if res := boxSend(t, b, "g", text, nil); res.Queued != 1 || res.Closed != 0 {
				t.Errorf("%s: %+v, want queued", text, res)
			}
		}
		send("new0") // behind a full queue
		send("new1")
		for range 5 {
			if len(joined) > 0 {
				t.Errorf("joined with a queue that is more than three quarters full: %+v", b.Stats())
			}
			gate.let(1)
			synctest.Wait()
		}
		if len(joined) != 1 {
			t.Fatalf("not joined, with a quarter of the queue free: %+v", b.Stats())
		}
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
		send("new2")
		close(gate.pass)
		boxWant(t, "received", boxFlushed(t, c, gate.Conn), want)
	})
}

// Who fills the queue all the time, by sends that wait for room, keeps no join waiting.
func TestAJoinIsNotHeldUpByBusySenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		for range 10 {
			boxSend(t, b, "g", "four", boxSave)
		}
		gate := boxGated()
		opts := boxText
		opts.QueueBytes, opts.Heartbeat, opts.WriteTimeout = 40, -1, time.Hour
		c, err := wschannels.NewChannel(gate, &opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Add(c); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			go func() { // ends with the channel
				for c.SendText(context.Background(), "busy") == nil {
				}
			}()
		}
		synctest.Wait()
		joined := make(chan error, 1)
		go func() {
			_, err := b.Join(t.Context(), c, "g", &wschannels.JoinOptions{ReplayLast: 10})
			joined <- err
		}()
		for range 200 {
			gate.let(1)
			synctest.Wait()
		}
		if len(joined) != 1 {
			t.Fatal("not joined after 200 messages")
		}
		if err := <-joined; err != nil {
			t.Error(err)
		}
		c.CloseNow()
	})
}
