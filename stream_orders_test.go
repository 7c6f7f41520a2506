package wschannels_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
)

// What becomes of messages of an order that had ended: an engine may come back to one, as
// when it failed over to an empty replica, and back.

// late delivers messages of the epoch, whatever order the engine is in.
func (s *script) late(epoch string, seqs ...uint64) {
	for _, n := range seqs {
		s.to.Deliver(&wschannels.Publication{Message: scriptMessage(epoch, n), Epoch: epoch})
	}
}

// ended brings the member to "b", 1, where it goes on from "a", 1.
func (s *script) ended() {
	s.t.Helper()
	s.hear("a", 1)
	s.hear("b", 1)
	s.want("the member", "a1", "b1")
	s.wantLost(lost("a", 0, 0, 0, wschannels.ErrNewOrder))
}

func TestAnEngineThatIsBackInAnOrderThatHadEndedIsFollowed(t *testing.T) {
	again := lost("b", 0, 0, 0, wschannels.ErrNewOrder)
	for name, test := range map[string]func(s *script){
		"with its next message": func(s *script) {
			s.hear("a", 2, 3)
			s.want("the member", "a2", "a3")
			s.wantLost(again)
		},
		"what was missed, too": func(s *script) {
			s.publish("a", 4, 2, 4)
			s.hear("a", 5)
			s.want("the member", "a2", "a4", "a5")
			s.wantLost(again, lost("a", 3, 3, 1, nil))
		},
		"while the history is silent": func(s *script) {
			block := make(chan struct{})
			s.set(block, nil)
			s.hear("a", 2)
			time.Sleep(scriptTimeout / 2)
			s.hear("a", 3)
			s.want("the member")
			close(block)
			s.want("the member", "a2", "a3")
			s.wantLost(again)
		},
		"when the history is silent for too long": func(s *script) {
			block := make(chan struct{})
			s.set(block, nil)
			s.hear("a", 2, 3)
			time.Sleep(scriptTimeout + time.Second)
			s.want("the member")
			s.wantLost(lost("a", 2, 3, 2, wschannels.ErrNewOrder))
			close(block)
			s.hear("a", 4)
			s.want("the member", "a4")
			s.wantLost(again)
		},
		"after an interruption": func(s *script) {
			s.publish("a", 3, 1, 2)
			s.to.Interrupted("g")
			time.Sleep(5 * time.Second)
			s.want("the member", "a2")
			s.wantLost(again, lost("a", 3, 3, 1, nil))
			s.hear("a", 4)
			s.want("the member", "a4")
		},
		"with data that is older still": func(s *script) {
			s.hear("a", 2, 3)
			s.want("the member", "a2", "a3")
			s.hear("c", 1)
			s.want("the member", "c1")
			s.publish("a", 2)
			s.to.Interrupted("g")
			time.Sleep(5 * time.Second)
			s.hear("a", 3)
			s.want("the member", "a3")
			s.wantLost(again, lost("a", 0, 0, 0, wschannels.ErrNewOrder),
				lost("c", 0, 0, 0, wschannels.ErrNewOrder), lost("a", 0, 0, 0, wschannels.ErrNewOrder))
		},
		"as one who joins learns": func(s *script) {
			s.publish("a", 3, 2, 3)
			after := wschannels.Position{Epoch: "a", Seq: 1}
			c, conn := boxMember(s.t, s.box, &boxRoomy)
			if res := boxJoin(s.t, s.box, c, "g", &wschannels.JoinOptions{ReplayAfter: &after}); res.Position != s.at {
				s.t.Errorf("Join: %+v, want it at %+v", res, s.at)
			}
			s.hear("a", 4)
			synctest.Wait()
			boxWant(s.t, "who joined", boxFlushed(s.t, c, conn), scriptTexts("a", 2, 4))
			s.want("the member", "a2", "a3", "a4")
			s.wantLost(again)
		},
		"as one who joins learns during a hole": func(s *script) {
			s.set(nil, wschannels.ErrUnavailable)
			s.hear("b", 3)
			s.want("the member")
			s.publish("a", 2, 2)
			s.set(nil, nil)
			c, conn := boxMember(s.t, s.box, &boxRoomy)
			boxJoin(s.t, s.box, c, "g", nil)
			time.Sleep(time.Second)
			s.want("the member", "b3", "a2")
			boxWant(s.t, "who joined", boxFlushed(s.t, c, conn), []string{"b3"}) // which came after it
			s.wantLost(lost("b", 2, 2, 1, nil), again)
		},
		"and leaves it once more": func(s *script) {
			s.hear("a", 2)
			s.want("the member", "a2")
			s.hear("b", 2, 3)
			s.want("the member", "b2", "b3")
			s.late("a", 2, 1, 2)
			s.late("b", 1, 2)
			s.want("the member")
			s.hear("b", 4)
			s.want("the member", "b4")
			s.wantLost(again, lost("a", 0, 0, 0, wschannels.ErrNewOrder))
		},
	} {
		t.Run(name, func(t *testing.T) {
			runScript(t, func(s *script) {
				s.ended()
				test(s)
				time.Sleep(2 * scriptGrace)
				s.want("the member")
				s.wantLost()
			})
		})
	}
}

// The engine is still in the newer order: what is late is lost, and told, each once.
func TestWhatIsLateOfAnOrderThatHasEndedIsLost(t *testing.T) {
	newOrder := wschannels.ErrNewOrder
	for name, test := range map[string]func(s *script){
		"a copy": func(s *script) {
			asked := s.asked
			s.late("a", 1, 1)
			s.want("the member")
			if s.asked != asked {
				s.t.Errorf("the engine was asked %d times for what came before", s.asked-asked)
			}
			s.wantLost()
		},
		"news": func(s *script) {
			s.late("a", 3, 3, 2, 3)
			s.want("the member")
			s.wantLost(lost("a", 2, 3, 2, newOrder))
			s.late("a", 2, 3)
			s.want("the member")
		},
		"before a hole of the newer one": func(s *script) {
			s.publish("b", 3, 2, 3)
			block := make(chan struct{})
			s.set(block, nil)
			s.late("a", 2)
			s.hear("b", 4)
			close(block)
			s.want("the member", "b2", "b3", "b4")
			s.wantLost(lost("a", 2, 2, 1, newOrder))
		},
		"behind a hole of the newer one": func(s *script) {
			s.publish("b", 3, 2, 3)
			block := make(chan struct{})
			s.set(block, nil)
			s.hear("b", 4)
			s.late("a", 2)
			close(block)
			s.want("the member", "b2", "b3", "b4")
			s.wantLost(lost("a", 2, 2, 1, newOrder))
		},
		"after an interruption": func(s *script) {
			s.publish("b", 3, 2)
			block := make(chan struct{})
			s.set(block, nil)
			s.to.Interrupted("g")
			s.late("a", 2)
			close(block)
			s.want("the member", "b2")
			time.Sleep(scriptGrace)
			s.want("the member")
			s.wantLost(lost("a", 2, 2, 1, newOrder), lost("b", 3, 3, 1, nil))
		},
		"and the history is silent": func(s *script) {
			s.publish("b", 2, 2)
			block := make(chan struct{})
			s.set(block, nil)
			s.to.Interrupted("g")
			s.late("a", 2)
			time.Sleep(scriptTimeout + time.Second)
			s.wantLost(lost("a", 2, 2, 1, newOrder))
			close(block)
			time.Sleep(5 * time.Second)
			s.want("the member", "b2")
		},
		"and a hole is not filled either": func(s *script) {
			s.set(nil, wschannels.ErrUnavailable)
			s.late("a", 2)
			s.hear("b", 4)
			s.late("a", 3)
			time.Sleep(scriptTimeout + time.Second)
			s.set(nil, nil)
			s.want("the member", "b4")
			s.wantLost(lost("a", 2, 2, 1, newOrder), lost("b", 2, 3, 2, nil), lost("a", 3, 3, 1, newOrder))
		},
		"before a third": func(s *script) {
			block := make(chan struct{})
			s.set(block, nil)
			s.late("a", 2)
			s.hear("c", 1)
			close(block)
			s.want("the member", "c1")
			s.wantLost(lost("a", 2, 2, 1, newOrder), lost("b", 0, 0, 0, newOrder))
		},
	} {
		t.Run(name, func(t *testing.T) {
			runScript(t, func(s *script) {
				s.ended()
				test(s)
				before := s.box.Stats().Lost
				s.late("a", 1)
				s.hear(s.at.Epoch, s.at.Seq+1)
				synctest.Wait()
				boxWant(s.t, "the member", boxFlushed(s.t, s.c, s.conn), scriptTexts(s.at.Epoch, int(s.at.Seq), int(s.at.Seq)))
				time.Sleep(2 * scriptTimeout)
				s.want("the member")
				s.wantLost()
				if n := s.box.Stats().Lost; n != before {
					s.t.Errorf("%d more lost", n-before)
				}
			})
		})
	}
}

// A page that is older than what came since says nothing of the engine.
func TestALatePageDoesNotBringBackAnOrderThatHasEnded(t *testing.T) {
	for name, ask := range map[string]func(s *script) (end func()){
		"for a hole": func(s *script) func() {
			s.to.Interrupted("g")
			return func() {}
		},
		"for one who joins": func(s *script) func() {
			_, end := s.joining(&wschannels.JoinOptions{ReplayLast: 1})
			return func() { end() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			var gate chan struct{}
			runScriptWith(t, func(s *script, o *wschannels.Options) {
				gate = make(chan struct{})
				o.Broker = &latePage{scriptBroker: s.scriptBroker, gate: gate}
			}, func(s *script) {
				s.hear("a", 1, 2, 3)
				end := ask(s)
				synctest.Wait() // the page is of "a"
				s.hear("b", 1)
				s.late("a", 4)
				close(gate)
				end()
				s.want("the member", "a1", "a2", "a3", "b1")
				s.hear("b", 2)
				time.Sleep(scriptTimeout)
				s.want("the member", "b2")
				s.wantLost(lost("a", 0, 0, 0, wschannels.ErrNewOrder), lost("a", 4, 4, 1, wschannels.ErrNewOrder))
			})
		})
	}
}

// A replica may answer with what was long ago: it is asked again.
func TestAReplicaThatIsBehindIsNotFollowed(t *testing.T) {
	began := lost("a", 0, 0, 0, wschannels.ErrNewOrder)
	t.Run("in the order of now", func(t *testing.T) {
		runScript(t, func(s *script) {
			s.ended()
			for range 2 {
				s.publish("a", 1)
				s.to.Interrupted("g")
				synctest.Wait()
				s.publish("b", 1)
				time.Sleep(5 * time.Second)
			}
			s.hear("b", 2)
			s.want("the member", "b2")
			s.wantLost()
		})
	})
	t.Run("in the one that the engine is back in", func(t *testing.T) {
		runScript(t, func(s *script) {
			s.hear("a", 1, 2, 3)
			s.hear("b", 1)
			s.want("the member", "a1", "a2", "a3", "b1")
			s.publish("a", 2)
			s.late("a", 4)
			s.want("the member")
			s.publish("a", 4, 3, 4)
			time.Sleep(scriptTimeout)
			s.want("the member", "a4")
			s.wantLost(began, lost("b", 0, 0, 0, wschannels.ErrNewOrder))
		})
	})
}
