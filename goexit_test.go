package wschannels_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A handler or an event that ends its goroutine, as t.Fatal does, takes its channel with
// it and nothing else.
func TestGoexit(t *testing.T) {
	exit := func(context.Context, *wschannels.Channel) error { runtime.Goexit(); return nil }
	exits := map[string]struct {
		events  wschannels.Events
		handler wschannels.Handler
	}{
		"handler":   {handler: exit},
		"OnConnect": {events: wschannels.Events{OnConnect: exit}},
		"OnMessage": {events: wschannels.Events{OnMessage: func(context.Context, *wschannels.Channel, wschannels.Message) error { runtime.Goexit(); return nil }}},
		"OnError": {
			events:  wschannels.Events{OnError: func(*wschannels.Channel, error) { runtime.Goexit() }},
			handler: func(context.Context, *wschannels.Channel) error { return errors.New("to be told") },
		},
		"OnDisconnect": {events: wschannels.Events{OnDisconnect: func(*wschannels.Channel, error) { runtime.Goexit() }}},
	}
	for name, tt := range exits {
		t.Run(name, func(t *testing.T) {
			ends := make(chan struct{}, 10)
			box, err := wschannels.New(&wschannels.Options{Events: tt.events, Channel: wschannels.ChannelOptions{
				Events: wschannels.Events{OnDisconnect: func(*wschannels.Channel, error) { ends <- struct{}{} }},
			}})
			if err != nil {
				t.Fatal(err)
			}
			conn := wschannelstest.Dial(t, box.Handler(tt.handler), "/")
			if err := conn.Write(t.Context(), websocket.MessageText, []byte("1")); err != nil {
				t.Fatal(err)
			}
			if name == "OnDisconnect" {
				conn.Close(websocket.StatusNormalClosure, "")
			}
			_, _, err = conn.Read(t.Context())
			if code := websocket.CloseStatus(err); name != "OnDisconnect" && code != websocket.StatusInternalError {
				t.Errorf("the peer saw %v, want 1011", err)
			}
			if err := box.Shutdown(t.Context()); err != nil { // waits for every channel's last event
				t.Errorf("Shutdown: %v", err)
			}
			if len(ends) != 1 && name != "OnDisconnect" {
				t.Errorf("OnDisconnect: %d times, want once", len(ends))
			}
			if s := box.Stats(); s.Channels != 0 || s.Accepted != 1 || s.Disconnected != 1 {
				t.Errorf("Stats: %+v", s)
			}
		})
	}
}

// The same where OnError is told of what ended the channel: OnDisconnect still comes.
func TestGoexitOfOnErrorAtTheEnd(t *testing.T) {
	ends := make(chan error, 10)
	box, err := wschannels.New(&wschannels.Options{Events: wschannels.Events{
		OnError:      func(*wschannels.Channel, error) { runtime.Goexit() },
		OnDisconnect: func(_ *wschannels.Channel, err error) { ends <- err },
	}})
	if err != nil {
		t.Fatal(err)
	}
	conn := wschannelstest.Dial(t, box, "/")
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusInvalidFramePayloadData {
		t.Errorf("the peer saw %v, want 1007", err)
	}
	if err := box.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if len(ends) != 1 {
		t.Errorf("OnDisconnect: %d times, want once", len(ends))
	}
}
