package natsbroker

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// A request may be on its way to this node while its last listener goes. So NATS is told
// first, what it has sent by then still comes, and the answer to that is that nobody is here.

const (
	// absenceTime is how long that answer waits for another node's, as the first one
	// counts, and NATS does not say how many there will be.
	absenceTime = 250 * time.Millisecond

	maxAbsences = 1024 // answers that wait
)

// leave ends sub once NATS has confirmed that nothing more comes. r.mu is held.
func (r *requests) leave(sub *nats.Subscription) {
	// Where there is no connection, nothing comes: and what a drain tells NATS would be
	// undone by the client when there is one again.
	if r.b.nc.IsConnected() && sub.Drain() == nil && r.b.nc.IsConnected() {
		if len(r.leaving) == cap(r.leaving) {
			r.leaving = slices.DeleteFunc(r.leaving, func(s *nats.Subscription) bool { return !s.IsValid() })
		}
		r.leaving = append(r.leaving, sub)
		return
	}
	_ = sub.Unsubscribe() // an error says that nc is closed
}

// abandon ends what is to end without waiting for NATS.
func (r *requests) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sub := range r.leaving {
		_ = sub.Unsubscribe() // an error says that nc is closed
	}
	r.leaving = nil
}

// absence answers that nobody listens here, in a while.
func (r *requests) absence(m *nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.absences) >= maxAbsences {
		_ = m.Respond([]byte{absent})
		return
	}
	r.absences[m] = time.AfterFunc(absenceTime, func() {
		r.mu.Lock()
		_, waits := r.absences[m]
		delete(r.absences, m)
		r.mu.Unlock()
		if waits && r.b.nc.IsConnected() {
			_ = m.Respond([]byte{absent}) // who asked sees that none comes
		}
	})
}
