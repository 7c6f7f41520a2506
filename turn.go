package wschannels

import "context"

// Whoever changes a room's subscription has its turn. Rooms have a channel for that only while
// somebody does: there are many rooms.

// maxTurns is how many turns that nobody needs are kept.
const maxTurns = 64

// takeTurn waits until nobody else changes r's subscription, first come, first served. The
// error is ctx's.
func (rs *roomTable) takeTurn(ctx context.Context, r *room) error {
	rs.mu.Lock()
	if r.inTurn == 0 {
		if n := len(rs.turns); n > 0 {
			r.turn, rs.turns = rs.turns[n-1], rs.turns[:n-1]
		} else {
			r.turn = make(chan struct{}, 1)
		}
	}
	r.inTurn++
	turn := r.turn
	rs.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		rs.mu.Lock()
		defer rs.mu.Unlock()
		r.leaveTurn()
		return context.Cause(ctx)
	}
}

func (rs *roomTable) giveTurn(r *room) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	<-r.turn
	r.leaveTurn()
}

// leaveTurn ends a wait for the turn, or its use. rooms.mu is held.
func (r *room) leaveTurn() {
	if r.inTurn--; r.inTurn == 0 {
		if rs := r.rooms; len(rs.turns) < maxTurns {
			rs.turns = append(rs.turns, r.turn)
		}
		r.turn = nil
	}
}
