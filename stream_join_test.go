package wschannels_test

import (
	"testing"
	"testing/synctest"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// joining starts a join that waits for the history, and returns what to wait for.
func (s *script) joining(opts *wschannels.JoinOptions) (conn *wschannelstest.Conn, end func() (wschannels.JoinResult, []string)) {
	c, conn := boxMember(s.t, s.box, &boxRoomy)
	done := make(chan wschannels.JoinResult)
	go func() {
		res, err := s.box.Join(s.t.Context(), c, "g", opts)
		if err != nil {
			s.t.Errorf("Join: %v", err)
		}
		done <- res
	}()
	synctest.Wait()
	return conn, func() (wschannels.JoinResult, []string) {
		res := <-done
		synctest.Wait()
		return res, boxFlushed(s.t, c, conn)
	}
}

// The history has given the new member what is missing here: it does not come again when
// the hole is filled, and nothing is left out.
func TestWhoJoinsDuringAHoleHasNeitherGapNorDuplicate(t *testing.T) {
	for name, ahead := range map[string]uint64{"the hole is before the join": 0, "the hole goes on after it": 2} {
		t.Run(name, func(t *testing.T) {
			runScript(t, func(s *script) {
				s.hear("a", 1, 2)
				s.want("the member", "a1", "a2")
				s.publish("a", 6, 3, 4, 5, 6)
				block := make(chan struct{})
				s.block = block
				s.hear("a", 6+ahead)
				after := wschannels.Position{Epoch: "a", Seq: 1}
				s.publish("a", 6+ahead, 7, 8)
				s.scriptBroker.saved = append([]wschannels.Message{scriptMessage("a", 2)}, s.scriptBroker.saved...)
				_, end := s.joining(&wschannels.JoinOptions{ReplayAfter: &after})
				close(block)
				last := int(6 + ahead)
				s.want("the old member", scriptTexts("a", 3, last)...)
				s.hear("a", uint64(last)+1)
				res, got := end()
				boxWant(s.t, "the new member", got, scriptTexts("a", 2, last+1))
				if res.Status != wschannels.ChannelAdded {
					s.t.Errorf("Join: %+v", res)
				}
				s.wantLost()
			})
		})
	}
}

// A channel comes from a node that was ahead of this one: what it had there does not come
// again, although it is live news here.
func TestWhoComesFromANodeThatIsAheadGetsNothingTwice(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1, 2)
		s.publish("a", 6, 1, 2, 3, 4, 5, 6)
		block := make(chan struct{})
		s.block = block
		after := wschannels.Position{Epoch: "a", Seq: 4}
		_, end := s.joining(&wschannels.JoinOptions{ReplayAfter: &after})
		s.hear("a", 3, 4, 5) // while the join waits for the history
		close(block)
		res, got := end()
		if !res.Recovered || res.Position.Seq != 4 {
			s.t.Errorf("Join: %+v, want Recovered, and live from 5 on", res)
		}
		s.hear("a", 6)
		boxWant(s.t, "the new member", got, []string{"a5"})
		s.want("the old member", scriptTexts("a", 1, 6)...)
		if st := s.box.Stats(); st.Dropped != 0 || st.QueuedMessages != 0 {
			s.t.Errorf("%d dropped, %d queued; want none", st.Dropped, st.QueuedMessages)
		}
	})
}

// The same where the news comes only when the join is done.
func TestWhoComesFromANodeThatIsAheadSkipsWhatIsLate(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1, 2)
		s.publish("a", 6, 1, 2, 3, 4, 5, 6)
		after := wschannels.Position{Epoch: "a", Seq: 4}
		_, end := s.joining(&wschannels.JoinOptions{ReplayAfter: &after})
		res, got := end()
		if !res.Recovered || res.Position.Seq != 6 || res.Replayed != 2 {
			s.t.Errorf("Join: %+v", res)
		}
		boxWant(s.t, "the new member", got, []string{"a5", "a6"})
		s.hear("a", 3, 4, 5, 6, 7)
		s.want("the old member", scriptTexts("a", 1, 7)...)
	})
}

// A place that nobody has had yet, of the same order: nothing is left out for it.
func TestWhoComesFromTheFutureIsNotRecovered(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1, 2)
		block := make(chan struct{})
		s.block = block
		after := wschannels.Position{Epoch: "a", Seq: 100}
		_, end := s.joining(&wschannels.JoinOptions{ReplayAfter: &after})
		s.hear("a", 3, 4)
		close(block)
		res, got := end()
		if res.Recovered {
			s.t.Errorf("Join: %+v", res)
		}
		boxWant(s.t, "the new member", got, []string{"a3", "a4"})
	})
}

// Two join a group that nobody was in, and the one whose page is newer is done first. What
// is between the pages is not live any more: the other asks again.
func TestOneWhoJoinsDoesNotMakeAnotherMissAnything(t *testing.T) {
	runScript(t, func(s *script) {
		if _, err := s.box.Leave(s.t.Context(), s.c, "g"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.publish("a", 2, 1, 2)
		gate := make(chan struct{})
		late := &latePage{scriptBroker: s.scriptBroker, gate: gate}
		box := boxOf(s.t, &wschannels.Options{Broker: late})
		c, conn := boxMember(s.t, box, &boxRoomy)
		joined := make(chan wschannels.JoinResult)
		go func() {
			res, err := box.Join(s.t.Context(), c, "g", &wschannels.JoinOptions{ReplayLast: 10})
			if err != nil {
				s.t.Errorf("Join: %v", err)
			}
			joined <- res
		}()
		synctest.Wait() // it has its page, at 2, and yet to see it
		s.publish("a", 4, 3, 4)
		first, firstConn := boxMember(s.t, box, &boxRoomy)
		boxJoin(s.t, box, first, "g", &wschannels.JoinOptions{ReplayLast: 10})
		close(gate)
		<-joined
		s.hear("a", 3, 4, 5) // copies that were on their way, and a new one
		synctest.Wait()
		boxWant(s.t, "the first", boxFlushed(s.t, first, firstConn), scriptTexts("a", 1, 5))
		boxWant(s.t, "the second", boxFlushed(s.t, c, conn), scriptTexts("a", 1, 5))
	})
}

// Recovered is not said where a hole is open that the page would have shown to be none.
func TestNobodyIsRecoveredAcrossAnOpenHole(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.publish("a", 5, 1, 2, 3, 4, 5)
		after := wschannels.Position{Epoch: "a", Seq: 1}
		gate := make(chan struct{})
		s.block = gate
		_, end := s.joining(&wschannels.JoinOptions{ReplayAfter: &after})
		s.hear("a", 2) // live for who joins
		hung := make(chan struct{})
		s.block = hung
		s.hear("a", 5) // a hole, and the history hangs
		close(gate)
		res, _ := end()
		if res.Recovered || res.Position.Seq != 1 {
			s.t.Errorf("Join: %+v, want not Recovered at 1", res)
		}
		close(hung)
		s.want("the old member", scriptTexts("a", 1, 5)...)
	})
}
