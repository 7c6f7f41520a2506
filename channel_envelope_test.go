package wschannels_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/wschannels/wschannels"
)

// chanEnvelopeID returns the ID in an envelope.
func chanEnvelopeID(t *testing.T, envelope string) uuid.UUID {
	t.Helper()
	var e struct{ ID uuid.UUID }
	if err := json.Unmarshal([]byte(envelope), &e); err != nil || e.ID == uuid.Nil {
		t.Fatalf("the envelope %q has no ID: %v", envelope, err)
	}
	return e.ID
}

func TestEnvelopeOfDirectMessages(t *testing.T) {
	type channel = *wschannels.Channel
	for _, tt := range []struct {
		name       string
		send       func(*testing.T, channel) error
		json, text string // the data
	}{
		{"Send a map", func(t *testing.T, c channel) error { return c.Send(t.Context(), map[string]int{"a": 1}) }, `{"a":1}`, `"{\"a\":1}"`},
		{"Send a string", func(t *testing.T, c channel) error { return c.Send(t.Context(), "h\"é") }, `"h\"é"`, `"h\"é"`},
		{"Send RawMessage", func(t *testing.T, c channel) error { return c.Send(t.Context(), json.RawMessage(`[1, 2]`)) }, `[1, 2]`, `"[1, 2]"`},
		{"SendJSON", func(t *testing.T, c channel) error { return c.SendJSON(t.Context(), []int{1}) }, `[1]`, `"[1]"`},
		{"SendText", func(t *testing.T, c channel) error { return c.SendText(t.Context(), "t\n") }, `"t\n"`, `"t\n"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for pt, data := range map[wschannels.PayloadType]string{wschannels.JSON: tt.json, wschannels.Text: tt.text} {
					c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: pt, Envelope: true})
					if err := tt.send(t, c); err != nil {
						t.Fatalf("%v: %v", pt, err)
					}
					typ, got := chanNext(t, conn)
					want := fmt.Sprintf(`{"id":"%s","data":%s}`, chanEnvelopeID(t, got), data)
					if typ != websocket.MessageText || got != want {
						t.Errorf("%v: the peer got %v %s, want a text frame %s", pt, typ, got, want)
					}
				}
			})
		})
	}
}

func TestEnvelopeHasNoBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, pt := range []wschannels.PayloadType{wschannels.JSON, wschannels.Text} {
			c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: pt, Envelope: true})
			err := c.SendBytes(t.Context(), []byte("ok"))
			var bad *wschannels.PayloadError
			if !errors.As(err, &bad) || bad.Op != "encode" {
				t.Errorf("%v: SendBytes = %v, want a PayloadError", pt, err)
			}
			chanIsOpen(t, c)
			chanWants(t, conn)
		}
	})
}

func TestEnvelopeOfGroupMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const group = `a "group" é`
		box := chanBox(t, nil)
		j, jsonConn := chanOpen(t, &wschannels.ChannelOptions{Envelope: true})
		x, textConn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Text, Envelope: true})
		plain, plainConn := chanOpen(t, nil)
		for _, c := range []*wschannels.Channel{j, x, plain} {
			if err := box.Add(c); err != nil {
				t.Fatal(err)
			}
			if _, err := box.Join(t.Context(), c, group, nil); err != nil {
				t.Fatal(err)
			}
		}
		at, err := box.Position(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := json.Marshal(group)
		epoch, _ := json.Marshal(at.Epoch)
		for seq, payload := range []any{"one", map[string]int{"a": 1}} {
			res, err := box.GroupSend(t.Context(), group, payload, nil)
			if err != nil || res.Queued != 3 {
				t.Fatalf("GroupSend = %+v, %v", res, err)
			}
			data, _ := json.Marshal(payload)
			text := "one"
			if seq == 1 {
				text = string(data)
			}
			quoted, _ := json.Marshal(text)
			envelope := fmt.Sprintf(`{"group":%s,"epoch":%s,"seq":%d,"id":"%s","data":`, name, epoch, seq+1, res.ID)
			chanWants(t, jsonConn, envelope+string(data)+"}")
			chanWants(t, textConn, envelope+string(quoted)+"}")
			chanWants(t, plainConn, string(data))
		}
	})
}

func TestEnvelopesHaveDifferentIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{Envelope: true})
		seen := make(map[uuid.UUID]bool)
		for range 100 {
			if err := c.Send(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			_, got := chanNext(t, conn)
			seen[chanEnvelopeID(t, got)] = true
		}
		if len(seen) != 100 {
			t.Errorf("100 envelopes have %d IDs", len(seen))
		}
	})
}
