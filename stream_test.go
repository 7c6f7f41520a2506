package wschannels_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
)

func TestAMessageThatComesTwiceIsDeliveredOnce(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1, 1, 2, 1, 2, 3)
		s.want("the member", scriptTexts("a", 1, 3)...)
		s.publish("a", 6, 4)
		s.hear("a", 5, 6, 5, 6) // behind a hole
		s.want("the member", scriptTexts("a", 4, 6)...)
		asked := s.asked
		s.hear("a", 4, 6)
		s.want("the member")
		if s.asked != asked {
			t.Errorf("the history was asked %d times for what came before", s.asked-asked)
		}
		s.wantLost()
	})
}

func TestAHoleIsFilledFromTheHistory(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.publish("a", 6, 2, 3, 5)
		block := make(chan struct{})
		s.block = block
		s.hear("a", 4, 6)
		s.want("the member, while the history is asked", "a1")
		s.hear("a", 7)
		close(block)
		s.want("the member", scriptTexts("a", 2, 7)...)
		s.hear("a", 8)
		s.want("the member", "a8")
		s.wantLost()
		if n := s.box.Stats().Lost; n != 0 {
			t.Errorf("%d lost", n)
		}
	})
}

// A copy that comes late, but is missing, ends the wait.
func TestAHoleIsFilledByWhatComesLate(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.block = make(chan struct{})
		s.hear("a", 3, 4, 2)
		s.want("the member", scriptTexts("a", 1, 4)...)
		s.wantLost()
	})
}

func TestWhatTheHistoryDoesNotHaveIsReportedAsLost(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.publish("a", 9, 3, 6)
		s.hear("a", 7, 10) // 2, 4, 5, 8 and 9 were not saved
		s.want("the member", "a1", "a3", "a6", "a7", "a10")
		s.wantLost(lost("a", 2, 9, 5, nil))
		if n := s.box.Stats(); n.Lost != 5 || n.BrokerErrors != 1 {
			t.Errorf("%d lost, %d errors; want 5, 1", n.Lost, n.BrokerErrors)
		}
	})
}

// Position alone says what there is.
func TestAHoleWithoutAHistoryIsReportedAsLost(t *testing.T) {
	runScriptWith(t, func(s *script, o *wschannels.Options) { o.Broker = struct{ wschannels.Broker }{s.scriptBroker} }, func(s *script) {
		s.hear("a", 1, 4)
		s.want("the member", "a1", "a4")
		s.wantLost(lost("a", 2, 3, 2, nil))
	})
}

func TestAHoleRightAfterJoiningIsNoticed(t *testing.T) {
	runScript(t, func(s *script) {
		s.publish("a", 3, 2, 3)
		s.hear("a", 4)
		s.want("the member", "a2", "a3", "a4")
		s.wantLost(lost("a", 1, 1, 1, nil))
	})
}

// The history is asked again while it is away, and for no longer than BrokerTimeout.
func TestAMessageBehindAHoleWaitsNoLongerThanBrokerTimeout(t *testing.T) {
	errOther := errors.New("no history today")
	for name, tt := range map[string]struct {
		set  func(s *script)
		took time.Duration
		why  error
	}{
		"away":   {func(s *script) { s.err = wschannels.ErrUnavailable }, scriptTimeout, wschannels.ErrUnavailable},
		"silent": {func(s *script) { s.block = make(chan struct{}) }, scriptTimeout, wschannels.ErrUnavailable},
		"broken": {func(s *script) { s.err = errOther }, 0, errOther},
	} {
		t.Run(name, func(t *testing.T) {
			runScript(t, func(s *script) {
				s.hear("a", 1)
				tt.set(s)
				start := time.Now()
				s.hear("a", 3)
				for synctest.Wait(); len(s.reported()) == 0; synctest.Wait() {
					time.Sleep(100 * time.Millisecond)
				}
				if d := time.Since(start).Truncate(time.Second); d != tt.took {
					t.Errorf("it took %v, want %v", d, tt.took)
				}
				s.want("the member", "a1", "a3")
				s.wantLost(lost("a", 2, 2, 1, tt.why))
			})
		})
	}
}

func TestAHistoryThatIsBackInTimeFillsTheHole(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.publish("a", 2, 2)
		s.err = wschannels.ErrUnavailable
		s.hear("a", 3)
		s.want("the member", "a1")
		s.mu.Lock()
		s.err = nil
		s.mu.Unlock()
		time.Sleep(time.Second)
		s.want("the member", "a2", "a3")
		s.wantLost()
	})
}

// One more than what may be held, and nothing waits any longer: by number and by size.
func TestWhatIsHeldBehindAHoleIsBounded(t *testing.T) {
	t.Run("messages", func(t *testing.T) {
		runScript(t, func(s *script) {
			s.hear("a", 1)
			s.block = make(chan struct{})
			for n := range uint64(1024) {
				s.hear("a", 3+n)
			}
			s.want("the member", "a1")
			s.hear("a", 1027)
			s.want("the member", scriptTexts("a", 3, 1027)...)
			if len(s.reported()) != 1 || !errors.As(s.reported()[0], new(*wschannels.LostError)) {
				t.Errorf("reported: %v", s.reported())
			}
			if n := s.box.Stats().Lost; n != 1 {
				t.Errorf("%d lost, want 1", n)
			}
			s.hear("a", 1028) // and it goes on
			s.want("the member", "a1028")
		})
	})
	t.Run("bytes", func(t *testing.T) {
		runScript(t, func(s *script) {
			s.hear("a", 1)
			s.block = make(chan struct{})
			big := scriptMessage("a", 3)
			big.Data = bytes.Repeat([]byte("x"), 1<<19)
			for n := range uint64(2) {
				big.Seq = 3 + n
				s.to.Deliver(&wschannels.Publication{Message: big, Epoch: "a"})
			}
			synctest.Wait()
			if got := boxFlushed(s.t, s.c, s.conn); len(got) != 3 || len(s.reported()) != 1 { // with 128 for each, two are too many
				t.Errorf("%d messages, and %v was reported; want 3 and the loss", len(got), s.reported())
			}
		})
	})
}

// The subscription was broken: what was saved meanwhile is delivered although nothing
// comes that would show the hole, the rest is lost.
func TestAnInterruptionIsFilledUpToThePosition(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.publish("a", 6, 2, 4, 5)
		s.to.Interrupted("g")
		s.want("the member", "a1", "a2")
		s.wantLost() // it may be on its way
		time.Sleep(scriptGrace)
		s.want("the member", "a4", "a5")
		s.wantLost(lost("a", 3, 6, 2, nil))
		s.hear("a", 7)
		s.want("the member", "a7")
		s.to.Interrupted("g") // nothing was missed
		s.to.Interrupted("elsewhere")
		s.want("the member") // asked before the next one is published
		s.hear("a", 8)
		s.want("the member", "a8")
		s.wantLost()
	})
}

// What comes after the interruption comes by itself: the position may be that of messages
// that are still on their way.
func TestWhatIsOnItsWayAfterAnInterruptionIsNotLost(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.publish("a", 6, 2)
		block := make(chan struct{})
		s.block = block
		s.to.Interrupted("g")
		s.hear("a", 4)
		close(block)
		s.want("the member", "a1", "a2", "a4")
		s.wantLost(lost("a", 3, 3, 1, nil))
		s.hear("a", 5, 6)
		s.want("the member", "a5", "a6")
		s.wantLost()
	})
}

// Nor need it come before the history has answered.
func TestWhatIsOnItsWayWhenTheHistoryAnswersIsNotLost(t *testing.T) {
	began := lost("a", 0, 0, 0, wschannels.ErrNewOrder)
	for name, test := range map[string]func(s *script){
		"all of it": func(s *script) {
			s.publish("a", 3)
			s.to.Interrupted("g")
			s.want("the member", "a1")
			s.hear("a", 2, 3)
			s.want("the member", "a2", "a3")
		},
		"some of it": func(s *script) {
			s.publish("a", 3)
			s.to.Interrupted("g")
			s.want("the member", "a1")
			s.hear("a", 3) // so 2 does not come
			s.want("the member", "a3")
			s.wantLost(lost("a", 2, 2, 1, nil))
		},
		"before what is saved": func(s *script) {
			s.publish("a", 4, 2, 4)
			s.to.Interrupted("g")
			s.want("the member", "a1", "a2")
			s.hear("a", 2, 3)
			s.want("the member", "a3")
			time.Sleep(scriptGrace)
			s.want("the member", "a4")
			s.hear("a", 4)
			s.want("the member")
		},
		"of a new order": func(s *script) {
			s.publish("b", 2)
			s.to.Interrupted("g")
			s.want("the member", "a1")
			s.wantLost(began)
			s.hear("b", 1, 2)
			s.want("the member", "b1", "b2")
		},
		"of an order that one who joins learned of": func(s *script) {
			s.publish("b", 1)
			_, end := s.joining(nil)
			s.want("the member", "a1")
			s.wantLost(began)
			s.hear("b", 1)
			s.want("the member", "b1")
			if _, got := end(); len(got) > 0 {
				s.t.Errorf("who joined after it got %q", got)
			}
		},
		"through two interruptions": func(s *script) {
			s.publish("a", 2)
			s.to.Interrupted("g")
			s.want("the member", "a1")
			time.Sleep(scriptGrace / 2)
			s.publish("a", 4)
			s.to.Interrupted("g")
			s.want("the member")
			time.Sleep(scriptGrace * 3 / 4)
			s.wantLost()
			s.hear("a", 4)
			s.want("the member", "a4")
			s.wantLost(lost("a", 2, 3, 2, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			runScript(t, func(s *script) {
				s.hear("a", 1)
				test(s)
				time.Sleep(2 * scriptGrace)
				s.want("the member")
				s.wantLost()
			})
		})
	}
}

// One who joined without the engine does not miss what is on its way when that answers.
func TestWhatIsOnItsWayIsTheFirstForWhoJoinedWithoutTheEngine(t *testing.T) {
	for name, first := range map[string]uint64{"it comes": 2, "it does not": 3} {
		t.Run(name, func(t *testing.T) {
			runScriptWith(t, func(s *script, o *wschannels.Options) {
				s.err, o.LocalFallback = wschannels.ErrUnavailable, true
			}, func(s *script) {
				s.publish("a", 2)
				s.set(nil, nil)
				time.Sleep(scriptGrace / 4)
				if first == 3 {
					time.Sleep(scriptGrace)
					s.hear("a", 2) // before the place that it has now
				}
				s.hear("a", first, first+1)
				s.want("the member", scriptTexts("a", int(first), int(first)+1)...)
				s.wantLost()
			})
		})
	}
}

// What was held before the interruption says nothing of what came during it.
func TestAnInterruptionBehindAHoleIsFilledUpToThePosition(t *testing.T) {
	for name, err := range map[string]error{"with a history": nil, "that answers late": wschannels.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			runScript(t, func(s *script) {
				s.hear("a", 1)
				s.publish("a", 3, 2)
				block := make(chan struct{})
				s.set(block, err)
				s.hear("a", 3)
				s.want("the member", "a1")
				s.publish("a", 5, 5)
				s.to.Interrupted("g")
				close(block)
				if err == nil {
					s.want("the member", "a2", "a3")
				} else {
					time.Sleep(scriptTimeout + time.Second)
					s.want("the member", "a3")
					s.wantLost(lost("a", 2, 2, 1, err))
					s.set(nil, nil)
					time.Sleep(5 * time.Second) // it is tried again
				}
				time.Sleep(scriptGrace)
				s.want("the member", "a5")
				s.wantLost(lost("a", 4, 4, 1, nil))
			})
		})
	}
}

// While the engine is away again, nothing is lost for good: it is asked until it answers.
func TestAnInterruptionIsFilledOnceTheHistoryAnswers(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.publish("a", 2, 2)
		s.err = wschannels.ErrUnavailable
		s.to.Interrupted("g")
		time.Sleep(time.Minute)
		s.want("the member", "a1")
		s.mu.Lock()
		s.err = nil
		asked := s.asked
		s.mu.Unlock()
		if asked < 20 || asked > 60 {
			t.Errorf("the history was asked %d times in a minute, want every 2 s", asked)
		}
		time.Sleep(2 * time.Second)
		s.want("the member", "a2")
		s.wantLost()
	})
}

func TestANewOrderBeginsWithItsFirstMessage(t *testing.T) {
	began := lost("a", 0, 0, 0, wschannels.ErrNewOrder)
	t.Run("which comes", func(t *testing.T) {
		runScript(t, func(s *script) {
			s.hear("a", 1, 2)
			s.hear("b", 1, 2)
			s.want("the member", "a1", "a2", "b1", "b2")
			s.wantLost(began)
			s.late("a", 2) // late, and a duplicate
			s.want("the member")
			s.wantLost()
			s.late("a", 3) // late, and of no use
			s.want("the member")
			s.wantLost(lost("a", 3, 3, 1, wschannels.ErrNewOrder))
		})
	})
	t.Run("which was missed", func(t *testing.T) {
		runScript(t, func(s *script) {
			s.hear("a", 1, 2)
			s.publish("b", 3, 1, 3)
			s.hear("b", 4)
			s.want("the member", "a1", "a2", "b1", "b3", "b4")
			s.wantLost(began, lost("b", 2, 2, 1, nil))
		})
	})
	t.Run("as the history says", func(t *testing.T) {
		runScript(t, func(s *script) {
			s.hear("a", 1, 2)
			s.publish("b", 2, 1, 2)
			s.to.Interrupted("g")
			s.want("the member", "a1", "a2", "b1", "b2")
			s.wantLost(began)
		})
	})
	t.Run("as one who joins learns", func(t *testing.T) {
		runScript(t, func(s *script) {
			s.hear("a", 1, 2)
			s.publish("b", 2, 1, 2)
			c, conn := boxMember(s.t, s.box, &boxRoomy)
			after := wschannels.Position{Epoch: "a", Seq: 2}
			res := boxJoin(s.t, s.box, c, "g", &wschannels.JoinOptions{ReplayAfter: &after})
			if res.Recovered || res.Replayed != 2 || res.Position != (wschannels.Position{Epoch: "b", Seq: 2}) {
				t.Errorf("Join: %+v", res)
			}
			s.want("the member", "a1", "a2", "b1", "b2")
			s.hear("b", 3)
			s.want("the member", "b3")
			boxWant(s.t, "who joined", boxFlushed(s.t, c, conn), []string{"b1", "b2", "b3"})
			s.wantLost(began)
		})
	})
}

// An engine that restarts with older data gives the same places again.
func TestAnEngineThatWentBackIsFollowed(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1, 2, 3, 4, 5)
		s.publish("a", 3)
		s.to.Interrupted("g")
		s.want("the member", scriptTexts("a", 1, 5)...)
		s.wantLost(lost("a", 0, 0, 0, wschannels.ErrNewOrder))
		s.hear("a", 4, 5, 6)
		s.want("the member", "a4", "a5", "a6")
		s.wantLost()
	})
}

// What a page has of a new order is not compared with what there was of the one before.
func TestALatePageOfANewOrderBringsNothingTwice(t *testing.T) {
	var gate chan struct{}
	runScriptWith(t, func(s *script, o *wschannels.Options) {
		gate = make(chan struct{})
		o.Broker = &latePage{scriptBroker: s.scriptBroker, gate: gate}
	}, func(s *script) {
		s.hear("a", 1, 2, 3, 4, 5)
		s.publish("b", 1, 1)
		s.to.Interrupted("g")
		synctest.Wait() // the page has b1
		s.publish("b", 3, 2, 3)
		s.hear("b", 1, 2)
		close(gate)
		synctest.Wait()
		s.hear("b", 3)
		s.want("the member", "a1", "a2", "a3", "a4", "a5", "b1", "b2", "b3")
		s.wantLost(lost("a", 0, 0, 0, wschannels.ErrNewOrder))
	})
}

// The last member has left: nobody asks any more, and who joins begins anew.
func TestARoomThatIsLeftStopsFilling(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.want("the member", "a1")
		s.block = make(chan struct{})
		s.hear("a", 3)
		synctest.Wait()
		if _, err := s.box.Leave(s.t.Context(), s.c, "g"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.mu.Lock()
		s.block = nil
		if s.unsubscribed != 1 {
			t.Errorf("unsubscribed %d times", s.unsubscribed)
		}
		s.mu.Unlock()
		boxJoin(s.t, s.box, s.c, "g", nil)
		s.hear("a", 4)
		time.Sleep(2 * scriptTimeout)
		s.want("the member", "a4")
		s.wantLost()
	})
}

// What an engine keeps in its own form knows whom it is not for.
func TestExceptHoldsForWhatFillsAHole(t *testing.T) {
	runScript(t, func(s *script) {
		other, conn := boxMember(s.t, s.box, &boxRoomy, "g")
		s.hear("a", 1)
		p := wschannels.Publication{Message: scriptMessage("a", 2), Save: true, Except: boxIDs(s.c)}
		b, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		read := wschannels.Publication{Message: wschannels.Message{Group: "g", Seq: 2}}
		if err := read.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		s.publish("a", 2)
		s.mu.Lock()
		s.saved = append(s.saved, read.Message)
		s.mu.Unlock()
		s.hear("a", 3)
		s.want("the one that it is not for", "a1", "a3")
		boxWant(s.t, "the other", boxFlushed(s.t, other, conn), scriptTexts("a", 1, 3))
		s.wantLost()

		late, conn := boxMember(s.t, s.box, &boxRoomy) // a replay is for whoever joins
		boxJoin(s.t, s.box, late, "g", &wschannels.JoinOptions{ReplayLast: 1})
		boxWant(s.t, "who joins later", boxFlushed(s.t, late, conn), []string{"a2"})
	})
}

// Except holds for what was held, too, whatever the caller does with p afterwards.
func TestExceptHoldsBehindAHole(t *testing.T) {
	runScript(t, func(s *script) {
		s.hear("a", 1)
		s.publish("a", 2, 2)
		p := &wschannels.Publication{Message: scriptMessage("a", 3), Epoch: "a", Except: boxIDs(s.c)}
		s.block = make(chan struct{})
		s.to.Deliver(p)
		clear(p.Except)
		close(s.block)
		s.hear("a", 4)
		s.want("the member", "a1", "a2", "a4")
		s.wantLost()
	})
}
