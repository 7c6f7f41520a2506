package wschannels

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// memoryDesk is the [RequestBroker] of a [MemoryBroker].
type memoryDesk struct {
	mu        sync.Mutex // guards what follows; not held while anybody hears
	listeners map[string][]Listener
	closed    bool
}

// Listen is [RequestBroker]'s.
func (b *MemoryBroker) Listen(ctx context.Context, address string, l Listener) error {
	return b.desk.change(ctx, func(all map[string][]Listener) {
		if !slices.Contains(all[address], l) {
			all[address] = append(slices.Clip(all[address]), l) // who is being read stays as it is
		}
	})
}

// Unlisten is [RequestBroker]'s.
func (b *MemoryBroker) Unlisten(ctx context.Context, address string, l Listener) error {
	return b.desk.change(ctx, func(all map[string][]Listener) {
		left := slices.DeleteFunc(slices.Clone(all[address]), func(o Listener) bool { return o == l })
		if all[address] = left; len(left) == 0 {
			delete(all, address)
		}
	})
}

// Request is [RequestBroker]'s. It hands data over before it waits for the answer.
func (b *MemoryBroker) Request(ctx context.Context, address string, data []byte) ([]byte, error) {
	listeners, err := b.desk.at(ctx, address)
	switch {
	case err != nil:
		return nil, err
	case len(listeners) == 0:
		return nil, ErrNobody
	}
	first := make(chan []byte, 1)
	hear(listeners, address, data, func(data []byte) {
		select {
		case first <- data:
		default: // somebody was faster
		}
	})
	select {
	case answer := <-first:
		return answer, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: no answer: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

// hear hands a request to all of ls, also if one of them panics: that panic is the
// sender's, afterwards.
func hear(ls []Listener, address string, data []byte, answer func([]byte)) {
	i := 0
	defer func() {
		if i < len(ls) {
			hear(ls[i+1:], address, data, answer)
		}
	}()
	for ; i < len(ls); i++ {
		ls[i].Hear(address, data, answer)
	}
}

func (d *memoryDesk) change(ctx context.Context, f func(map[string][]Listener)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if d.listeners == nil {
		d.listeners = make(map[string][]Listener)
	}
	f(d.listeners)
	return nil
}

func (d *memoryDesk) at(ctx context.Context, address string) ([]Listener, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	return d.listeners[address], nil
}

func (d *memoryDesk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed, d.listeners = true, nil
}
