package wschannels

import (
	"fmt"
	"sync"
)

// maxReports is how many errors of the Broker may wait to be told.
const maxReports = 256

// A reporter tells OnError and the log what went wrong with the Broker and no call
// returned: one error at a time, in order, on a goroutine that exists only while there is
// something to tell.
type reporter struct {
	mu      sync.Mutex // guards what follows; taken around no other lock
	waiting []error
	omitted int // that found no room, since then
	running bool
}

// brokerFailed counts an error of the Broker that no call returns, and has it reported.
// It calls nothing of the application's, and may be called under any lock.
func (b *ChannelBox) brokerFailed(err error) {
	b.counters.brokerErrors.Add(1)
	r := &b.reporter
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.omitted > 0 || len(r.waiting) >= maxReports {
		r.omitted++
		return
	}
	r.waiting = append(r.waiting, err)
	if !r.running {
		r.running = true
		go b.reportAll()
	}
}

// next returns what is to be told next, nil if that is all for now. What found no room
// came after all that did.
func (r *reporter) next() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.waiting) > 0:
		err, r.waiting[0] = r.waiting[0], nil
		r.waiting = r.waiting[1:]
	case r.omitted > 0:
		err = fmt.Errorf("wschannels: %d more errors of the Broker are not reported", r.omitted)
		r.omitted = 0
	default:
		r.waiting, r.running = nil, false
	}
	return err
}

func (b *ChannelBox) reportAll() {
	done := false
	defer func() {
		if !done { // OnError, or the Logger, has ended the goroutine
			go b.reportAll()
		}
	}()
	for err := b.reporter.next(); err != nil; err = b.reporter.next() {
		b.report(err)
	}
	done = true
}

// report tells the box's OnError, and the log, an error that is no single channel's.
func (b *ChannelBox) report(err error) {
	if sound(err) { // it may be the application's, and must not break who prints it
		_ = counted(err, &b.counters.panics)
	} else {
		err = fmt.Errorf("wschannels: an error of the Broker, a %T, that cannot be printed", err)
	}
	if f := b.opts.Events.OnError; f != nil {
		if p := guard(func() error { f(nil, err); return nil }); p != nil {
			_ = counted(p, &b.counters.panics)
			b.logError("wschannels: panic in OnError", p)
		}
	}
	b.logError("wschannels: Broker", err)
}
