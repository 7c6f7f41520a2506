package wschannelstest

import "sync"

// A monitor is a mutex and a way to wait for a change of what it guards. The
// wait is on a Go channel, so that it can be given up, and so that a synctest
// bubble counts it as idle; a wait for a mutex would stop the bubble's clock.
type monitor struct {
	sync.Mutex
	next chan struct{} // closed by the next change; nil while nobody waits
}

// changed wakes all who wait. The caller holds the lock.
func (m *monitor) changed() {
	if m.next != nil {
		close(m.next)
		m.next = nil
	}
}

// wait returns after the next change, or once done is closed. The caller holds
// the lock, which is free meanwhile.
func (m *monitor) wait(done <-chan struct{}) {
	if m.next == nil {
		m.next = make(chan struct{})
	}
	next := m.next
	m.Unlock()
	defer m.Lock()
	select {
	case <-next:
	case <-done:
	}
}
