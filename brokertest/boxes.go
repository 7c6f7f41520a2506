package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

var boxPromises = []promise{
	{"MembersOnAllNodesGetEachMessageOnceInTheOrderOfTheHistory", testBoxFanout},
	{"AResultCountsTheLocalMembers", testBoxResult},
	{"WhoIsExceptedOnAnotherNodeGetsNothing", testBoxExcept},
	{"AJoinAtFullSpeedHasNeitherGapNorDuplicate", testBoxJoin},
	{"WhoComesBackOnAnotherNodeIsRecoveredIfNothingIsMissing", testBoxRecovered},
	{"WhoHasLeftGetsNothingMore", testBoxLeave},
	{"StalledClientsOfANodeHoldUpNoOther", testBoxStalled},
	{"BoxesShutDownAtOnceWhileSending", testBoxShutdown},
}

func testBoxFanout(t *testing.T, s *suite) {
	const senders, each = 6, 30
	bs := boxes(t, s.nodes(t, 3), 0)
	var cs []*client
	for i := range 6 {
		cs = append(cs, member(t, bs[i%3], "g"))
	}
	together(senders, func(k int) {
		for i := range each {
			if _, err := bs[k%3].GroupSend(patient(t), "g", fmt.Sprint(k, " ", i), keep); err != nil {
				t.Errorf("GroupSend: %v", err)
			}
		}
	})
	if t.Failed() {
		return
	}
	want := slices.Clone(cs[0].await(t, senders*each))
	if s.f.Lacks&History == 0 {
		history, err := bs[1].History(patient(t), "g", nil)
		if err != nil {
			t.Fatal(err)
		}
		wantTexts(t, "the history", messageTexts(history), want...)
	}
	for _, cl := range cs {
		cl.await(t, len(want))
	}
	settleBoxes(t, bs)
	for i, cl := range cs {
		wantTexts(t, fmt.Sprint("member ", i), cl.rest(t), want...)
	}
}

func testBoxResult(t *testing.T, s *suite) {
	bs := boxes(t, s.nodes(t, 2), 0)
	for i := range 5 {
		member(t, bs[min(i, 1)], "g") // one and four
	}
	for i, want := range []int{1, 4, 1, 4} {
		res := send(t, bs[i%2], "g", "x", keep)
		if saved := s.f.Lacks&History == 0; res.Queued != want || res.Seq != uint64(i+1) || res.Saved != saved || res.ID == uuid.Nil {
			t.Errorf("result %+v, want %d Queued at %d, Saved = %v", res, want, i+1, saved)
		}
	}
}

func testBoxExcept(t *testing.T, s *suite) {
	bs := boxes(t, s.nodes(t, 2), 0)
	a, b, c := member(t, bs[0], "g"), member(t, bs[1], "g"), member(t, bs[1], "g")
	send(t, bs[0], "g", "1", nil)
	send(t, bs[0], "g", "2", &wschannels.SendOptions{Except: []uuid.UUID{b.c.ID()}})
	send(t, bs[0], "g", "3", &wschannels.SendOptions{Except: []uuid.UUID{a.c.ID(), uuid.New()}})
	send(t, bs[1], "g", "4", nil)
	for _, cl := range []*client{a, b, c} {
		cl.awaitText(t, "4")
	}
	settleBoxes(t, bs)
	wantTexts(t, "a", a.rest(t), "1", "2", "4")
	wantTexts(t, "b, on another node", b.rest(t), "1", "3", "4")
	wantTexts(t, "c", c.rest(t), "1", "2", "3", "4")
}

// All messages are saved, so that what a client gets has no hole.
func testBoxJoin(t *testing.T, s *suite) {
	s.needs(t, History)
	const each, joins = 300, 24
	bs := boxes(t, s.nodes(t, 3), 0)
	send(t, bs[0], "g", "first", keep)
	start, err := bs[0].Position(patient(t), "g")
	if err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup
	for _, box := range bs {
		busy.Go(func() {
			for i := range each {
				if _, err := box.GroupSend(patient(t), "g", fmt.Sprint(i), keep); err != nil {
					t.Errorf("GroupSend: %v", err)
					return
				}
			}
		})
	}
	var cs []*client
	var froms []uint64
	for i := range joins {
		box := bs[i%3]
		cl := connect(t, box, true)
		if i%2 == 0 {
			if res := cl.join(t, "g", &wschannels.JoinOptions{ReplayAfter: &start}); !res.Recovered {
				t.Errorf("join %d from %+v is not Recovered: %+v", i, start, res)
			}
			froms = append(froms, start.Seq+1)
		} else {
			res := cl.join(t, "g", &wschannels.JoinOptions{ReplayLast: 10})
			froms = append(froms, max(1, res.Position.Seq-uint64(res.Replayed)+1))
		}
		cs = append(cs, cl)
	}
	busy.Wait()
	if t.Failed() {
		return
	}
	for i, cl := range cs {
		next := froms[i]
		for _, e := range cl.awaitPosition(t, wschannels.Position{Epoch: start.Epoch, Seq: 3*each + 1}) {
			if e.Seq != next || e.Epoch != start.Epoch || e.Group != "g" {
				t.Fatalf("client %d gets %d of %q where %d is next", i, e.Seq, e.Epoch, next)
			}
			next++
		}
	}
}

func testBoxRecovered(t *testing.T, s *suite) {
	s.needs(t, History)
	bs := boxes(t, s.nodes(t, 2), 0)
	members := []*client{member(t, bs[0], "g"), member(t, bs[1], "g")}
	save := func(text string) {
		t.Helper()
		send(t, bs[0], "g", text, keep)
		for _, cl := range members { // it is live for nobody any more
			cl.awaitText(t, text)
		}
	}
	for i := 1; i <= 4; i++ {
		save(fmt.Sprint(i))
	}
	at, err := bs[0].Position(patient(t), "g")
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, after wschannels.Position, recovered bool, want ...string) {
		t.Helper()
		for _, box := range bs {
			cl := connect(t, box, false)
			res := cl.join(t, "g", &wschannels.JoinOptions{ReplayAfter: &after})
			if res.Recovered != recovered || res.Replayed != len(want) || res.Position != at {
				t.Errorf("%s: %+v, want Recovered = %v, %d Replayed, at %+v", what, res, recovered, len(want), at)
			}
			wantTexts(t, what, cl.await(t, len(want)), want...)
		}
	}
	check("nothing missed", at, true)
	check("two missed", wschannels.Position{Epoch: at.Epoch, Seq: 2}, true, "3", "4")
	check("another epoch", wschannels.Position{Epoch: "another", Seq: 2}, false, "1", "2", "3", "4")
	check("the future", wschannels.Position{Epoch: at.Epoch, Seq: 5}, false, "1", "2", "3", "4")
	if err := bs[1].FlushHistory(patient(t), "g"); err != nil {
		t.Fatal(err)
	}
	save("5")
	at.Seq = 5
	check("flushed", wschannels.Position{Epoch: at.Epoch, Seq: 3}, false, "5")
	check("not flushed", wschannels.Position{Epoch: at.Epoch, Seq: 4}, true, "5")
}

func testBoxLeave(t *testing.T, s *suite) {
	nodes := s.nodes(t, 2)
	bs := boxes(t, nodes, 0)
	goes, stays := member(t, bs[0], "g"), member(t, bs[1], "g")
	send(t, bs[1], "g", "1", nil)
	goes.await(t, 1)
	if _, err := bs[0].Leave(patient(t), goes.c, "g"); err != nil {
		t.Fatal(err)
	}
	send(t, bs[0], "g", "2", nil)
	send(t, bs[1], "g", "3", nil)
	wantTexts(t, "who stays", stays.await(t, 3), "1", "2", "3")
	settleBoxes(t, bs)
	wantTexts(t, "who has left", goes.rest(t), "1")
	goes.join(t, "g", nil)
	send(t, bs[1], "g", "4", nil)
	wantTexts(t, "who is back", goes.await(t, 2), "1", "4")
	if s.f.Subscribed == nil {
		return
	}
	for _, cl := range []*client{goes, stays} {
		_ = cl.c.Close(websocket.StatusNormalClosure, "")
	}
	eventually(t, "the engine has no subscription", func() bool { return !s.f.Subscribed(t, nodes[0], "g") })
}

func testBoxStalled(t *testing.T, s *suite) {
	const n = 200
	bs := boxes(t, s.nodes(t, 3), 0)
	var stalled []*client
	for range 5 {
		cl := member(t, bs[2], "g")
		cl.conn.Stall()
		stalled = append(stalled, cl)
	}
	others := []*client{member(t, bs[0], "g"), member(t, bs[1], "g"), member(t, bs[2], "g")}
	for i := range n {
		send(t, bs[i%2], "g", fmt.Sprint(i), nil)
	}
	for _, cl := range others {
		wantTexts(t, "another member", cl.await(t, n), numbers(0, n-1)...)
	}
	for _, cl := range stalled {
		cl.conn.Resume()
		wantTexts(t, "a member that had stalled", cl.await(t, n), numbers(0, n-1)...)
	}
}

func testBoxShutdown(t *testing.T, s *suite) {
	bs := boxes(t, s.nodes(t, 6), 0)
	var busy sync.WaitGroup
	for _, box := range bs {
		for range 3 {
			member(t, box, "g")
		}
		busy.Go(func() {
			for {
				if _, err := box.GroupSend(context.Background(), "g", "x", keep); err != nil {
					if !errors.Is(err, wschannels.ErrClosed) {
						t.Errorf("GroupSend: %v, want ErrClosed", err)
					}
					return
				}
			}
		})
	}
	eventually(t, "messages are sent", func() bool {
		at, err := bs[0].Position(patient(t), "g")
		return err == nil && at.Seq > 100
	})
	together(len(bs), func(k int) {
		if err := bs[k].Shutdown(patient(t)); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	busy.Wait()
}
