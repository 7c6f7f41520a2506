package wschannels

import (
	"context"
	"testing"

	"github.com/coder/websocket"
)

type instantConn struct{ Conn }

func (instantConn) Read(context.Context) (websocket.MessageType, []byte, error) {
	return websocket.MessageText, nil, nil
}
func (instantConn) Write(context.Context, websocket.MessageType, []byte) error { return nil }

// What catches the panics of a Conn costs a message no allocation.
func TestMessagesOverAConnAllocateNothing(t *testing.T) {
	opts, err := (*ChannelOptions)(nil).resolve()
	if err != nil {
		t.Fatal(err)
	}
	a := newAnyConn(instantConn{}, newChannel(opts, t.Context()))
	defer a.cancel()
	f := new(frame)
	if n := testing.AllocsPerRun(1000, func() { _ = a.writeFrame(f) }); n > 0 {
		t.Errorf("a write makes %v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _, _ = a.receive() }); n > 0 {
		t.Errorf("a read makes %v allocations", n)
	}
}
