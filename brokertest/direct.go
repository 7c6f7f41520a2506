package brokertest

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

var directPromises = []promise{
	{"AMessageToOneChannelReachesItOnAnyNodeInOrder", testSendTo},
	{"AMessageToAUserReachesAllChannelsOfTheUserOnce", testSendToUser},
	{"MailWaitsForTheUserOnWhicheverNodeTheyCome", testUserMail},
	{"AUserWhoMovesFromNodeToNodeGetsEachMessageOnce", testUserMoves},
}

// as makes cl a client of user.
func (cl *client) as(t *testing.T, user string) *client {
	t.Helper()
	if err := cl.c.SetUser(user); err != nil {
		t.Fatal(err)
	}
	return cl
}

func testSendTo(t *testing.T, s *suite) {
	s.needs(t, Requests)
	const n = 30
	bs := boxes(t, s.nodes(t, 3), 0)
	cl, other := connect(t, bs[1], false), connect(t, bs[1], false)
	for i := range n {
		eventually(t, "the channel is reached", func() bool { // its node may have yet to say that it has it
			err := bs[i%3].SendTo(patient(t), cl.c.ID(), fmt.Sprint(i))
			if err != nil && (i > 0 || !errors.Is(err, wschannels.ErrNoSuchChannel)) {
				t.Fatalf("SendTo: %v", err)
			}
			return err == nil
		})
	}
	wantTexts(t, "the channel", cl.await(t, n), numbers(0, n-1)...)
	wantTexts(t, "another one", other.rest(t))
	for _, box := range bs {
		if err := box.SendTo(patient(t), uuid.New(), "x"); !errors.Is(err, wschannels.ErrNoSuchChannel) {
			t.Errorf("SendTo nobody: %v, want ErrNoSuchChannel", err)
		}
	}
	_ = cl.c.Close(websocket.StatusNormalClosure, "")
	eventually(t, "the channel is gone", func() bool {
		return errors.Is(bs[0].SendTo(patient(t), cl.c.ID(), "x"), wschannels.ErrNoSuchChannel)
	})
}

func testSendToUser(t *testing.T, s *suite) {
	s.needs(t, Requests)
	bs := boxes(t, s.nodes(t, 3), 0)
	var cs []*client
	for i := range 4 {
		cs = append(cs, connect(t, bs[i%2], false).as(t, "ann")) // on two nodes of three
	}
	bob := connect(t, bs[1], false).as(t, "bob")
	// A node may have yet to say that it has a user: until then mail waits, and comes.
	s.reachUsers(t, bs, "ann", cs)
	s.reachUsers(t, bs, "bob", []*client{bob})
	for i := range 15 {
		if _, err := bs[i%3].SendToUser(patient(t), "ann", fmt.Sprint(i)); err != nil {
			t.Fatalf("SendToUser: %v", err)
		}
	}
	for _, cl := range cs {
		for _, text := range numbers(0, 14) {
			cl.awaitText(t, text)
		}
	}
	settleBoxes(t, bs)
	for i, cl := range cs { // those of each sender in their order
		from := make([][]string, 3)
		for _, text := range without(cl.rest(t), "ready") {
			k, _ := strconv.Atoi(text)
			from[k%3] = append(from[k%3], text)
		}
		for k, got := range from {
			wantTexts(t, fmt.Sprintf("channel %d, from box %d", i, k), got, numbersBy(3, k, 14)...)
		}
	}
	wantTexts(t, "somebody else", without(bob.rest(t), "ready"))
}

// reachUsers sends "ready" to user from each box until all of cs have got it.
func (s *suite) reachUsers(t *testing.T, bs []*wschannels.ChannelBox, user string, cs []*client) {
	t.Helper()
	for _, box := range bs {
		eventually(t, user+" is reached everywhere", func() bool {
			for _, cl := range cs {
				cl.rest(t)
				cl.got = nil
			}
			if _, err := box.SendToUser(patient(t), user, "ready"); err != nil {
				t.Fatalf("SendToUser: %v", err)
			}
			for _, cl := range cs {
				if !within(patience/100, func() bool { return len(cl.rest(t)) > 0 }) {
					return false
				}
			}
			return true
		})
	}
}

// without returns what is not text.
func without(all []string, text string) (rest []string) {
	for _, s := range all {
		if s != text {
			rest = append(rest, s)
		}
	}
	return rest
}

func testUserMail(t *testing.T, s *suite) {
	s.needs(t, Requests|Mailboxes)
	bs := boxes(t, s.nodes(t, 3), 0)
	for i := range 9 {
		res, err := bs[i%3].SendToUser(patient(t), "ann", fmt.Sprint(i))
		if err != nil || res.Waiting != 1 {
			t.Fatalf("SendToUser: %+v, %v, want it to wait", res, err)
		}
	}
	cl := connect(t, bs[2], false).as(t, "ann")
	wantTexts(t, "who comes", cl.await(t, 9), numbers(0, 8)...)
	again := connect(t, bs[0], false).as(t, "ann")
	settleBoxes(t, bs)
	wantTexts(t, "a second channel", again.rest(t))
	wantTexts(t, "the first channel", cl.rest(t), numbers(0, 8)...)
}

// Messages are sent while the user comes, goes, and comes on another node: what became of
// each is known.
func testUserMoves(t *testing.T, s *suite) {
	s.needs(t, Requests|Mailboxes)
	const n, moves = 200, 3
	bs := boxes(t, s.nodes(t, 3), 0)
	turns, done := make(chan struct{}, n), make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			<-turns
			if _, err := bs[0].SendToUser(patient(t), "ann", fmt.Sprint(i)); err != nil {
				t.Errorf("SendToUser: %v", err)
			}
		}
		if _, err := bs[0].SendToUser(patient(t), "ann", "last"); err != nil {
			t.Errorf("SendToUser: %v", err)
		}
	}()
	times := make(map[string]int)
	for round := range moves + 1 {
		for range n / (moves + 1) { // some for each round, or the first might get them all
			turns <- struct{}{}
		}
		cl := connect(t, bs[1+round%2], false).as(t, "ann")
		if round == moves {
			cl.awaitText(t, "last")
		} else {
			cl.await(t, 5)
		}
		_ = cl.c.Close(websocket.StatusNormalClosure, "")
		for _, text := range cl.drain() { // what it had not written goes to the next
			times[text]++
		}
	}
	<-done
	for _, text := range append(numbers(0, n-1), "last") {
		if k := times[text]; k != 1 {
			t.Errorf("message %q was delivered %d times", text, k)
		}
	}
}

// numbersBy returns the texts of the numbers from first to last, in these steps.
func numbersBy(step, first, last int) (all []string) {
	for i := first; i <= last; i += step {
		all = append(all, fmt.Sprint(i))
	}
	return all
}
