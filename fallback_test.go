package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

var fallback = wschannels.Options{LocalFallback: true}

// The engine is away: what fails without LocalFallback reaches the local members with it.
func TestASendFallsBackToTheMembersHere(t *testing.T) {
	for _, silent := range []bool{false, true} {
		for _, on := range []bool{false, true} {
			t.Run(fmt.Sprint("silent ", silent, ", fallback ", on), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					boxes, nodes := farCluster(t, 2, wschannels.Options{LocalFallback: on})
					b := boxes[0]
					_, conn := boxMember(t, b, nil, "g")
					_, there := boxMember(t, boxes[1], nil, "g")
					opts := boxText
					opts.Envelope = true
					_, envelopes := boxMember(t, b, &opts, "g")
					one, oneConn := boxMember(t, b, nil, "g")
					nodes[0].cut(silent)
					start := time.Now()
					res, err := b.GroupSend(t.Context(), "g", "x", &wschannels.SendOptions{SaveHistory: true, Except: boxIDs(one)})
					want := 0 * time.Second
					if silent {
						want = 5 * time.Second
					}
					if d := time.Since(start); d != want {
						t.Errorf("it took %v, want %v", d, want)
					}
					synctest.Wait()
					s := b.Stats()
					if !on {
						if !errors.Is(err, wschannels.ErrUnavailable) && !errors.Is(err, wschannels.ErrUnknownOutcome) || res != (wschannels.SendResult{}) {
							t.Errorf("GroupSend: %+v, %v", res, err)
						}
						boxWant(t, "here", boxWritten(conn), nil)
						if s.LocalSends != 0 {
							t.Errorf("%d local sends", s.LocalSends)
						}
						return
					}
					if err != nil || res != (wschannels.SendResult{ID: res.ID, Queued: 2, Local: true}) || s.LocalSends != 1 {
						t.Errorf("GroupSend: %+v, %v; %d local sends", res, err, s.LocalSends)
					}
					boxWant(t, "here", boxWritten(conn), []string{"x"})
					boxWant(t, "in an envelope", boxWritten(envelopes), []string{fmt.Sprintf(`{"group":"g","id":"%s","data":"x"}`, res.ID)})
					boxWant(t, "Except", boxWritten(oneConn), nil)
					boxWant(t, "there", boxWritten(there), nil)
					nodes[0].restore()
					time.Sleep(time.Second)
					if res := boxSend(t, b, "g", "y", nil); res.Seq != 1 || res.Local || res.Queued != 3 {
						t.Errorf("GroupSend, later: %+v", res)
					}
				})
			})
		}
	}
}

// Whose caller gave up gets an error, whose deadline ended does not.
func TestASendFallsBackUnlessItsCallerGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, nodes := farCluster(t, 1, fallback)
		_, conn := boxMember(t, boxes[0], nil, "g")
		nodes[0].cut(true)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if res, err := boxes[0].GroupSend(ctx, "g", "no", nil); !errors.Is(err, context.Canceled) || !errors.Is(err, wschannels.ErrUnknownOutcome) || res.Local {
			t.Errorf("cancelled: %+v, %v", res, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if res, err := boxes[0].GroupSend(ctx, "g", "yes", nil); err != nil || !res.Local || res.Queued != 1 {
			t.Errorf("out of time: %+v, %v", res, err)
		}
		synctest.Wait()
		boxWant(t, "the member", boxWritten(conn), []string{"yes"})
	})
}

// Who came to an empty group while a send was on its way, and got it, does not get it again
// when its outcome turns out to be unknown.
func TestALocalSendIsNotForWhoCameMeanwhileAndHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, nodes := farCluster(t, 1, fallback)
		b, n := boxes[0], nodes[0]
		var conn *wschannelstest.Conn
		n.before = func(context.Context, *wschannels.Publication) error {
			_, conn = boxMember(t, b, nil, "g")
			return nil
		}
		n.after = func(context.Context, *wschannels.Publication) error {
			time.Sleep(time.Second)
			return wschannels.ErrUnknownOutcome
		}
		if res, err := b.GroupSend(t.Context(), "g", "x", nil); err != nil || !res.Local || res.Queued != 0 {
			t.Errorf("GroupSend: %+v, %v", res, err)
		}
		synctest.Wait()
		boxWant(t, "who came", boxWritten(conn), []string{"x"})
	})
}

// The outcome was unknown, and the message comes after all: those who had it do not get it
// again, those who came meanwhile do, and its place is taken.
func TestALocalSendThatWasPublishedAllTheSameComesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, nodes := farCluster(t, 2, fallback)
		b, n := boxes[0], nodes[0]
		_, conn := boxMember(t, b, nil, "g")
		_, there := boxMember(t, boxes[1], nil, "g")
		n.delay = 10 * time.Second // more than BrokerTimeout
		n.after = func(ctx context.Context, _ *wschannels.Publication) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		res, err := b.GroupSend(t.Context(), "g", "x", boxSave)
		if err != nil || !res.Local || res.Seq != 0 || res.Saved || res.Queued != 1 {
			t.Errorf("GroupSend: %+v, %v", res, err)
		}
		n.after = nil
		c, late := boxMember(t, b, nil)
		boxJoin(t, b, c, "g", &wschannels.JoinOptions{ReplayLast: 1}) // has it from the history
		n.set(func() { n.delay = 0 })
		time.Sleep(10 * time.Second)
		boxSend(t, b, "g", "y", nil)
		time.Sleep(time.Second)
		boxWant(t, "here", boxWritten(conn), []string{"x", "y"})
		boxWant(t, "who joined", boxWritten(late), []string{"x", "y"})
		boxWant(t, "there", boxWritten(there), []string{"x", "y"})
		if s := b.Stats(); s.Lost != 0 {
			t.Errorf("%d lost", s.Lost)
		}
	})
}

// The same for one who joined without the history, between the two.
func TestWhoCameAfterALocalSendGetsItsCopy(t *testing.T) {
	runScriptWith(t, func(_ *script, o *wschannels.Options) { o.LocalFallback = true }, func(s *script) {
		s.publishErr = wschannels.ErrUnknownOutcome
		var ids []wschannels.SendResult
		for _, text := range []string{"x", "y"} {
			res, err := s.box.GroupSend(s.t.Context(), "g", text, nil)
			if err != nil || !res.Local {
				s.t.Fatalf("GroupSend: %+v, %v", res, err)
			}
			ids = append(ids, res)
		}
		c, conn := boxMember(s.t, s.box, nil, "g")
		m := scriptMessage("a", 1)
		m.ID, m.Data = ids[0].ID, []byte("x")
		s.at.Seq = 1
		s.to.Deliver(&wschannels.Publication{Message: m, Epoch: "a"})
		s.to.Deliver(&wschannels.Publication{Message: m, Epoch: "a"})
		s.want("the old member", "x", "y")
		boxWant(s.t, "the new one", boxFlushed(s.t, c, conn), []string{"x"})
		s.hear("a", 2)
		s.want("the old member", "a2")
		s.wantLost()
	})
}

// What is remembered for such copies is bounded.
func TestLocalSendsAreRememberedToABound(t *testing.T) {
	runScriptWith(t, func(_ *script, o *wschannels.Options) { o.LocalFallback = true }, func(s *script) {
		s.publishErr = wschannels.ErrUnavailable // nothing was done: nothing can come
		boxSend(s.t, s.box, "g", "x", nil)
		if n := wschannels.Echoes(s.box); n != 0 {
			s.t.Errorf("%d are remembered, and none can come", n)
		}
		s.publishErr = wschannels.ErrUnknownOutcome
		for range 3000 {
			if _, err := s.box.GroupSend(s.t.Context(), "g", "x", nil); err != nil {
				s.t.Fatal(err)
			}
		}
		if n := wschannels.Echoes(s.box); n != 1024 {
			s.t.Errorf("%d are remembered, want 1,024", n)
		}
	})
}

// Joining works without the engine, and what is sent after that is back comes.
func TestAJoinFallsBack(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprint("silent ", silent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				boxes, nodes := farCluster(t, 2, fallback)
				b := boxes[0]
				old, oldConn := boxMember(t, b, nil, "old")
				boxSend(t, boxes[1], "g", "missed", boxSave)
				nodes[0].cut(silent)
				c, conn := boxMember(t, b, nil)
				after := wschannels.Position{Epoch: "a", Seq: 7}
				for _, g := range []string{"g", "old"} {
					res := boxJoin(t, b, c, g, &wschannels.JoinOptions{ReplayAfter: &after})
					if res != (wschannels.JoinResult{Status: wschannels.ChannelAdded}) {
						t.Errorf("Join %q: %+v", g, res)
					}
					res = boxJoin(t, b, c, g, nil)
					if res != (wschannels.JoinResult{Status: wschannels.ChannelExists}) {
						t.Errorf("Join %q again: %+v", g, res)
					}
				}
				synctest.Wait()
				tried := nodes[0].called()
				start := time.Now()
				second, secondConn := boxMember(t, b, nil, "g") // somebody else has tried already
				if d := time.Since(start); d != 0 {
					t.Errorf("the second join took %v", d)
				}
				synctest.Wait()
				if n := nodes[0].called() - tried; n != 0 {
					t.Errorf("the second join asked the engine %d times", n)
				}
				if res := boxSend(t, b, "g", "here", nil); !res.Local || res.Queued != 2 {
					t.Errorf("GroupSend: %+v", res)
				}
				nodes[0].restore()
				time.Sleep(10 * time.Second)
				if n := wschannels.CatchingUp(b); n != 0 {
					t.Errorf("%d groups are still catching up", n)
				}
				calls := nodes[0].called()
				time.Sleep(time.Minute)
				if n := nodes[0].called() - calls; n != 0 {
					t.Errorf("the engine is asked %d times, and nothing is to be done", n)
				}
				boxSend(t, boxes[1], "g", "back", nil)
				boxSend(t, boxes[1], "old", "back too", nil)
				time.Sleep(time.Second)
				boxWant(t, "the first", boxFlushed(t, c, conn), []string{"here", "back", "back too"})
				boxWant(t, "the second", boxFlushed(t, second, secondConn), []string{"here", "back"})
				boxWant(t, "the old one", boxFlushed(t, old, oldConn), []string{"back too"})
				if s := b.Stats(); s.Lost != 0 {
					t.Errorf("%d lost", s.Lost)
				}
			})
		})
	}
}

// Channels that come and go while the engine is away leave nothing behind, and the engine
// is tried no more often for them.
func TestNothingGrowsWhileTheEngineIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boxes, nodes := farCluster(t, 1, fallback)
		b := boxes[0]
		nodes[0].cut(false)
		c, _ := boxMember(t, b, nil)
		for i := range 1000 {
			g := fmt.Sprint("g", i)
			boxJoin(t, b, c, g, nil)
			synctest.Wait() // it has been tried, in vain
			if _, err := b.Leave(t.Context(), c, g); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // no time passes: nothing is tried that would find out
		if n, rooms := wschannels.CatchingUp(b), wschannels.Rooms(b); n != 0 || rooms != 0 {
			t.Errorf("%d groups are waiting, %d are in the table; want none", n, rooms)
		}
		for i := range 100 {
			boxJoin(t, b, c, fmt.Sprint("g", i), nil)
		}
		time.Sleep(10 * time.Second)
		calls := nodes[0].called()
		time.Sleep(time.Minute)
		if n := nodes[0].called() - calls; n == 0 || n > 16*31 {
			t.Errorf("%d calls in a minute, want 16 each 2 s", n)
		}
		nodes[0].restore()
		time.Sleep(3 * time.Second)
		if n := wschannels.CatchingUp(b); n != 0 {
			t.Errorf("%d groups are still waiting", n)
		}
	})
}
