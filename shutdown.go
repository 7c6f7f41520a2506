package wschannels

import (
	"cmp"
	"context"

	"github.com/coder/websocket"
)

// CloseAll closes all channels of the box, at the same time, as [Channel.Close] does
// one, and waits until their last events have returned. Those that are left when ctx
// ends are closed by force, and its cause is returned. closed is how many this call
// closed. The box stays usable; channels that come meanwhile are not closed.
//
// It must not be called from an event or a handler of the box: it waits for them.
func (b *ChannelBox) CloseAll(ctx context.Context, code websocket.StatusCode, reason string) (closed int, err error) {
	if b.isShutDown() {
		return 0, ErrClosed
	}
	end, bad := closing(code, reason)
	closed, err = b.closeLive(ctx, *end)
	if err == nil {
		err = bad
	}
	return closed, err
}

// Shutdown closes the box for good: new requests get 503, all channels get what is
// queued for them and are closed with 1001, and Shutdown waits until their last events
// have returned, and whatever the box still called of its Broker. Channels that are left
// when ctx ends are closed by force, and its cause is returned. Afterwards everything
// returns [ErrClosed].
//
// [http.Server.Shutdown] neither closes nor waits for WebSockets: call this after it,
// or with [http.Server.RegisterOnShutdown]. It must not be called from an event or a
// handler of the box: it waits for them.
func (b *ChannelBox) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	b.phase.CompareAndSwap(running, draining) // under mu: who was adopted before is live
	b.mu.Unlock()
	_, err := b.closeLive(ctx, CloseError{Code: websocket.StatusGoingAway, Reason: "shutting down"})
	if b.phase.Swap(shutDown) == shutDown {
		return err
	}
	err = cmp.Or(err, b.direct.close(ctx))
	err = cmp.Or(err, b.rooms.close(ctx))
	if b.presence != nil {
		err = cmp.Or(err, b.presence.close(ctx))
	}
	b.timers.close()
	if b.ours {
		_ = b.engine.broker.Close(ctx) // in memory: nothing can fail
	}
	return err
}

// closeLive closes all live channels with copies of end and waits for their last
// events, or for ctx.
func (b *ChannelBox) closeLive(ctx context.Context, end CloseError) (closed int, err error) {
	b.mu.Lock()
	all := make([]*Channel, 0, len(b.live))
	for c := range b.live {
		all = append(all, c)
	}
	b.mu.Unlock()
	for _, c := range all {
		own := end
		if c.closeAsync(&own, graceful) {
			closed++
		}
	}
	for i, c := range all {
		select {
		case <-c.whenRetired():
		case <-ctx.Done():
			for _, c := range all[i:] {
				c.link.abort()
			}
			return closed, context.Cause(ctx)
		}
	}
	return closed, nil
}
