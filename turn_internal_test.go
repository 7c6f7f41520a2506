package wschannels

import (
	"context"
	"testing"
	"testing/synctest"
)

// One has the turn at a time, first come, first served; who waits no longer leaves no trace,
// and a room that nobody changes has no channel.
func TestTurnsOfARoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, err := NewMemoryBroker(nil)
		if err != nil {
			t.Fatal(err)
		}
		rs := newRoomTable(newEngine(memory, 0, nil), nil)
		r := &room{rooms: rs}
		var order []int
		take := func(ctx context.Context, i int) {
			if err := rs.takeTurn(ctx, r); err != nil {
				order = append(order, -i)
				return
			}
			order = append(order, i)
		}
		take(t.Context(), 1)
		impatient, cancel := context.WithCancel(t.Context())
		for i := 2; i <= 4; i++ {
			ctx := t.Context()
			if i == 3 {
				ctx = impatient
			}
			go take(ctx, i)
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		for range 3 {
			if r.inTurn == 0 || r.turn == nil {
				t.Fatal("somebody has the turn, and nobody needs it")
			}
			rs.giveTurn(r)
			synctest.Wait()
		}
		if want := []int{1, -3, 2, 4}; len(order) != 4 || [4]int(order) != [4]int(want) {
			t.Errorf("the order is %v, want %v", order, want)
		}
		if r.turn != nil || r.inTurn != 0 || len(rs.turns) != 1 {
			t.Errorf("left: %v, %d; kept: %d", r.turn, r.inTurn, len(rs.turns))
		}
	})
}
