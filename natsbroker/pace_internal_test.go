package natsbroker

import (
	"testing"
	"testing/synctest"
	"time"
)

// fill takes all seats there are.
func fill(p *pace) (taken []seat) {
	for s, ok := p.try(); ok; s, ok = p.try() {
		taken = append(taken, s)
	}
	return taken
}

func TestWhoComesFirstGetsTheNextSeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace()
		taken := fill(p)
		if len(taken) != minFlying {
			t.Fatalf("%d seats, want %d", len(taken), minFlying)
		}
		seats := make(chan int, 3)
		for i := range 3 {
			go func() { // ends with its seat
				p.enter()
				seats <- i
			}()
			synctest.Wait()
		}
		for i := range 3 {
			taken[i].leave()
			taken[i].leave() // does nothing
			synctest.Wait()
			if len(seats) != 1 {
				t.Fatalf("%d got a seat, want one", len(seats))
			}
			if got := <-seats; got != i {
				t.Errorf("number %d got a seat, want %d", got, i)
			}
		}
	})
}

func TestMoreAreOnTheirWayWhereThatIsNoBurden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace()
		fill(p)
		for range 2 * maxFlying {
			go p.enter() // ends with its seat
		}
		synctest.Wait()
		for range 2 * maxFlying {
			p.note(29*time.Millisecond, time.Now())
			p.note(10*time.Millisecond, time.Now())
		}
		if p.limit != maxFlying || p.flying != maxFlying {
			t.Errorf("%d of %d are on their way, want %d", p.flying, p.limit, maxFlying)
		}
		for range maxFlying {
			p.note(31*time.Millisecond, time.Now())
		}
		if p.limit != minFlying {
			t.Errorf("when answers take long, %d may be on their way, want %d", p.limit, minFlying)
		}
		for range 2*maxFlying + minFlying { // all get a seat, and leave it
			s := seat{p}
			s.leave()
		}
		synctest.Wait()
		if p.flying != 0 || len(p.waiting) != 0 {
			t.Errorf("%d are on their way, and %d wait, when all have left", p.flying, len(p.waiting))
		}
	})
}

func TestNoMoreAreOnTheirWayThanAreNeeded(t *testing.T) {
	p := newPace()
	for range 100 {
		p.note(time.Millisecond, time.Now())
	}
	if p.limit != minFlying {
		t.Errorf("%d may be on their way, though nobody waits", p.limit)
	}
}

func TestTheQuickestAnswerIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace()
		p.note(time.Millisecond, time.Now())
		time.Sleep(leastTime + 1)
		p.note(50*time.Millisecond, time.Now()) // the way is another one
		p.waiting = append(p.waiting, make(chan struct{}))
		p.note(60*time.Millisecond, time.Now())
		if p.limit != minFlying+1 {
			t.Errorf("%d may be on their way, want one more than %d", p.limit, minFlying)
		}
	})
}

func TestNobodyWaitsForAnswersThatDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace()
		fill(p)
		for range 10 {
			go p.enter() // ends with its seat
		}
		synctest.Wait()
		p.open()
		synctest.Wait() // all have a seat, or the bubble does not end
		if p.flying != minFlying+10 {
			t.Errorf("%d are on their way, want %d", p.flying, minFlying+10)
		}
	})
}
