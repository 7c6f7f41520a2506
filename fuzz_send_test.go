package wschannels_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// FuzzSend sends payloads of every kind on channels of every type, alone and to a group,
// and compares what leaves with what encoding/json and unicode/utf8 say.
func FuzzSend(f *testing.F) {
	for kind := range uint8(7) {
		for _, s := range []string{"", "hello", `{"a":[1,2.5e3,null],"b":"\u2028"}`, " [1] ", "\"\x00\u2028<&>\"", "\xff", `"` + "\xff" + `"`, `"\ud800"`, "1 2", "\ufeff1"} {
			f.Add(kind, []byte(s), "room")
		}
		f.Add(kind, bytes.Repeat([]byte("12"), 70), "Zürich \u2028 <🙂>\"\\")
	}
	f.Fuzz(func(t *testing.T, kind uint8, payload []byte, group string) {
		if _, err := NewGroup(group, nil); err != nil || len(payload) > 64<<10 {
			t.Skip("FuzzGroupName has names that are not valid")
		}
		s := &fuzzSent{t: t, group: group, payload: fuzzPayload(kind, payload)}
		box := boxOf(t, nil)
		for _, opts := range []ChannelOptions{
			{PayloadType: JSON}, {PayloadType: Text}, {PayloadType: Bytes}, {PayloadType: JSON, Envelope: true}, {PayloadType: Text, Envelope: true},
		} {
			opts.Heartbeat = -1
			c, conn := boxMember(t, box, &opts, group)
			s.members = append(s.members, fuzzMember{opts, c, conn})
		}
		for _, m := range s.members {
			err := m.channel.Send(t.Context(), s.payload)
			s.check(m, err, s.wantsAlone(m.opts.PayloadType), SendResult{})
		}
		at, err := box.Position(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		s.epoch = at.Epoch
		res, err := box.GroupSend(t.Context(), group, s.payload, boxSave)
		canSend := true
		for _, m := range s.members {
			canSend = canSend && s.wants(m.opts.PayloadType).valid
		}
		for _, m := range s.members {
			want := s.wants(m.opts.PayloadType)
			want.valid = canSend // nobody gets what somebody cannot
			s.check(m, err, want, res)
		}
		if saved := boxHistory(t, box, group, nil); canSend != (len(saved) == 1) {
			t.Errorf("saved %q, and the payload can be sent: %v", saved, canSend)
		}
	})
}

// fuzzPayload is data as one of the kinds of payloads.
func fuzzPayload(kind uint8, data []byte) any {
	switch kind % 7 {
	case 0:
		return string(data)
	case 1:
		return append([]byte{}, data...)
	case 2:
		return append(json.RawMessage{}, data...)
	case 3:
		return map[string]any{"text": string(data), "bytes": data}
	}
	return Message{Type: PayloadType(kind%7 - 4), Data: data}
}

// A fuzzMember is a channel and its peer.
type fuzzMember struct {
	opts    ChannelOptions
	channel *Channel
	conn    *wschannelstest.Conn
}

// A fuzzSent is a payload on its way.
type fuzzSent struct {
	t       *testing.T
	group   string
	epoch   string
	payload any
	members []fuzzMember
}

// A fuzzWant is what a channel is to send of a payload.
type fuzzWant struct {
	valid   bool
	exactly []byte // or nil:
	decoded any    // what it is as JSON
}

// wantsAlone is wants for a channel alone, which need not be fit for others: a string
// may be what encoding/json makes of it, and bytes need not be UTF-8.
func (s *fuzzSent) wantsAlone(to PayloadType) fuzzWant {
	want := s.wants(to)
	switch v := s.payload.(type) {
	case string:
		want.valid = want.valid || to != Text
		if to == JSON {
			want.decoded = string([]rune(v)) // with U+FFFD for what is no UTF-8
		}
	case json.RawMessage:
		want.valid = want.valid || to == Bytes && json.Valid(v)
	}
	return want
}

// wants says what a channel of type to sends of a group message, without an envelope.
func (s *fuzzSent) wants(to PayloadType) fuzzWant {
	from, data := JSON, []byte(nil)
	switch v := s.payload.(type) {
	case string:
		from, data = Text, []byte(v)
	case []byte:
		from, data = Bytes, v
	case json.RawMessage:
		data = v
	case Message:
		from, data = v.Type, v.Data
	default:
		data, _ = json.Marshal(v)
	}
	text := utf8.Valid(data)
	want := fuzzWant{valid: true, exactly: append([]byte{}, data...)}
	switch from {
	case JSON:
		want.valid = text && json.Valid(data)
	case Text:
		want.valid = text
		if to == JSON {
			want.exactly, want.decoded = nil, string(data)
		}
	case Bytes:
		want.valid = text || to != Text
		if to == JSON {
			want.exactly, want.decoded = nil, data
		}
	}
	return want
}

// check compares what m's peer got, after a send that returned err and res.
func (s *fuzzSent) check(m fuzzMember, err error, want fuzzWant, res SendResult) {
	t, what := s.t, fmt.Sprintf("%T on a channel of %v (envelope: %v)", s.payload, m.opts.PayloadType, m.opts.Envelope)
	t.Helper()
	if err := m.channel.Flush(t.Context()); err != nil {
		t.Fatalf("%s: Flush: %v", what, err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	typ, got, none := m.conn.Next(ended)
	if !want.valid {
		var bad *PayloadError
		if !errors.As(err, &bad) || bad.Op != "encode" {
			t.Errorf("%s: %v, want a *PayloadError", what, err)
		}
		if none == nil {
			t.Errorf("%s: refused, and %q was sent", what, got)
		}
		return
	}
	if err != nil || none != nil {
		t.Fatalf("%s: %v, %v, want it sent", what, err, none)
	}
	if wantType := (m.opts.PayloadType == Bytes); wantType != (typ == websocket.MessageBinary) {
		t.Errorf("%s: sent as %v", what, typ)
	}
	if typ == websocket.MessageText && !utf8.Valid(got) {
		t.Errorf("%s: sent %q, which is not UTF-8", what, got)
	}
	if m.opts.Envelope {
		got = s.open(got, res)
		if m.opts.PayloadType == Text { // its data is a JSON string
			want.exactly, want.decoded = nil, string(want.exactly)
		} else if want.exactly != nil {
			want.exactly = bytes.Trim(want.exactly, " \t\r\n")
		}
	}
	if want.exactly != nil {
		if !bytes.Equal(got, want.exactly) {
			t.Errorf("%s: sent %q, want %q", what, got, want.exactly)
		}
		return
	}
	switch want := want.decoded.(type) {
	case string:
		var s string
		if err := json.Unmarshal(got, &s); err != nil || s != want {
			t.Errorf("%s: sent %q, want %q as JSON", what, got, want)
		}
	case []byte:
		var p []byte
		if err := json.Unmarshal(got, &p); err != nil || !bytes.Equal(p, want) {
			t.Errorf("%s: sent %q, want %q as base64", what, got, want)
		}
	}
}

// open returns the data of an envelope, after a look at the rest of it.
func (s *fuzzSent) open(p []byte, res SendResult) []byte {
	s.t.Helper()
	var e struct {
		Group, Epoch *string
		Seq          *uint64
		ID           uuid.UUID
		Data         json.RawMessage
	}
	d := json.NewDecoder(bytes.NewReader(p))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil || d.More() {
		s.t.Fatalf("the envelope is %q: %v", p, err)
	}
	switch {
	case e.ID == uuid.Nil:
		s.t.Errorf("no ID in %q", p)
	case res.ID == uuid.Nil: // not of a group
		if e.Group != nil || e.Epoch != nil || e.Seq != nil {
			s.t.Errorf("an envelope of no group is %q", p)
		}
	case e.ID != res.ID || e.Group == nil || *e.Group != s.group || e.Epoch == nil || *e.Epoch != s.epoch || e.Seq == nil || *e.Seq != res.Seq:
		s.t.Errorf("the envelope is %q, want group %q and %+v", p, s.group, res)
	}
	return e.Data
}
