package wschannels

import (
	"slices"
	"sync"

	"github.com/google/uuid"
)

// A Registry finds channels by their ID. Channels that close leave it by themselves.
// All methods may be called concurrently; none blocks.
type Registry struct {
	mu       sync.RWMutex // guards channels
	channels map[uuid.UUID]*Channel
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{channels: make(map[uuid.UUID]*Channel)} }

// Add puts c in the registry. Another channel with its ID is [ErrDuplicateID]; c
// itself may be there already. A channel that has closed is refused with its
// [Channel.Err].
func (r *Registry) Add(c *Channel) error {
	if c == nil {
		return errNilChannel
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.channels[c.id] {
	case c:
		return nil
	case nil:
	default:
		return ErrDuplicateID
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.registry = append(c.registry, r)
	r.channels[c.id] = c
	return nil
}

// Remove takes c out, and reports whether it was in. Another channel with the same
// ID stays.
func (r *Registry) Remove(c *Channel) bool {
	if c == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.channels[c.id] != c {
		return false
	}
	delete(r.channels, c.id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registry = slices.DeleteFunc(c.registry, func(o *Registry) bool { return o == r })
	return true
}

// Get returns the channel with that ID.
func (r *Registry) Get(id uuid.UUID) (*Channel, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.channels[id]
	return c, ok
}

// All returns the channels as they are now, in no order.
func (r *Registry) All() []*Channel {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*Channel, 0, len(r.channels))
	for _, c := range r.channels {
		all = append(all, c)
	}
	return all
}

// Len returns how many there are.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.channels)
}
