package wschannels_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
)

// A contextOf is a context of the application's, which uses the box.
type contextOf struct {
	context.Context
	use func()
}

func (c contextOf) Value(key any) any {
	c.use()
	return c.Context.Value(key)
}

// No lock is held while a context is asked for anything: its methods may be the
// application's.
func TestContextsMayUseTheBox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, nil)
		c, conn := boxMember(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 1})
		boxSend(t, b, "g", "1", boxSave)
		boxSend(t, b, "g", "2", boxSave)
		boxSend(t, b, "g", "3", boxSave)
		var uses atomic.Int32
		use := func() { uses.Add(1); b.Stats(); b.Members("g") }
		ctx := func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return contextOf{ctx, use}
		}
		replay := &wschannels.JoinOptions{ReplayLast: 3}

		conn.Stall()
		if _, err := b.Join(ctx(), c, "g", replay); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Join that waits for room: %v", err)
		}
		if err := c.Send(ctx(), "4"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send that waits for room: %v", err)
		}
		if err := c.Flush(ctx()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush: %v", err)
		}
		go func() {
			time.Sleep(time.Millisecond)
			_, _ = b.Leave(t.Context(), c, "g")
		}()
		if _, err := b.Join(ctx(), c, "g", replay); !errors.Is(err, context.Canceled) {
			t.Errorf("Join, and a Leave meanwhile: %v", err)
		}
		if uses.Load() == 0 {
			t.Error("the contexts were not used")
		}
		conn.Resume()
	})
}
