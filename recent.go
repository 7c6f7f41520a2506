package wschannels

import "github.com/google/uuid"

// maxRecent is how many messages a box remembers to have had for its users: some 600 KB.
const maxRecent = 1 << 13

// recent remembers the IDs of the last messages for users that came to this box. Another
// box may put back what a channel of its own had not written, as it does not know that
// one of this box has it.
type recent struct {
	ids   map[uuid.UUID]int // their places in order
	order []uuid.UUID       // a ring, once full; Nil: forgotten
	next  int               // in the ring: the oldest
}

// add remembers id, and reports whether it was new.
func (r *recent) add(id uuid.UUID) bool {
	if r.has(id) {
		return false
	}
	if r.ids == nil {
		r.ids = make(map[uuid.UUID]int)
	}
	if len(r.order) < maxRecent {
		r.ids[id] = len(r.order)
		r.order = append(r.order, id)
		return true
	}
	delete(r.ids, r.order[r.next])
	r.ids[id], r.order[r.next] = r.next, id
	r.next = (r.next + 1) % maxRecent
	return true
}

func (r *recent) has(id uuid.UUID) bool {
	_, ok := r.ids[id]
	return ok
}

// forget is for what leaves this box again.
func (r *recent) forget(id uuid.UUID) {
	if i, ok := r.ids[id]; ok {
		r.order[i] = uuid.Nil
		delete(r.ids, id)
	}
}
