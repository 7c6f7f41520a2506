package wschannelstest

import (
	"context"
	"net"
	"slices"
)

// A frame is on its way to the peer.
type frame struct {
	arrive  func() // called with mu held
	arrived bool
}

// deliver waits until the peer has read a frame, for which arrive is then called;
// after an error it never is. The caller holds c.mu.
func (c *Conn) deliver(ctx context.Context, arrive func()) error {
	if err := c.broken(ctx); err != nil {
		return err
	}
	f := &frame{arrive: arrive}
	c.blocked = append(c.blocked, f)
	c.unblock()
	for !f.arrived {
		if err := c.broken(ctx); err != nil {
			c.blocked = slices.DeleteFunc(c.blocked, func(b *frame) bool { return b == f })
			return err
		}
		c.mu.wait(ctx.Done())
	}
	return nil
}

// broken says why a frame cannot be sent, if so. The caller holds c.mu.
func (c *Conn) broken(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case c.ended != nil:
		return net.ErrClosed
	default:
		return c.writeErr
	}
}

// unblock has the peer read what waits, if it reads. The caller holds c.mu.
func (c *Conn) unblock() {
	for !c.stalled && len(c.blocked) > 0 {
		f := c.blocked[0]
		c.blocked = c.blocked[1:]
		f.arrived = true
		f.arrive()
	}
	c.mu.changed()
}
