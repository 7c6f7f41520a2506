package wschannels

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// PayloadType is how a channel's payloads travel.
type PayloadType uint8

// The payload types.
const (
	JSON  PayloadType = iota // text frames holding JSON (the default)
	Text                     // text frames
	Bytes                    // binary frames

	payloadTypes = iota
)

var payloadNames = [payloadTypes]string{"json", "text", "bytes"}

// ParsePayloadType returns the type called s: "json", "text" or "bytes".
func ParsePayloadType(s string) (PayloadType, error) {
	for t, name := range payloadNames {
		if s == name {
			return PayloadType(t), nil
		}
	}
	return 0, fmt.Errorf("wschannels: unknown payload type %q", s)
}

func (t PayloadType) valid() bool { return t < payloadTypes }

// String returns "json", "text" or "bytes".
func (t PayloadType) String() string {
	if t.valid() {
		return payloadNames[t]
	}
	return fmt.Sprintf("PayloadType(%d)", uint8(t))
}

// MarshalText writes what [PayloadType.String] returns.
func (t PayloadType) MarshalText() ([]byte, error) {
	if !t.valid() {
		return nil, fmt.Errorf("wschannels: unknown payload type %d", uint8(t))
	}
	return []byte(payloadNames[t]), nil
}

// UnmarshalText reads what [PayloadType.MarshalText] wrote.
func (t *PayloadType) UnmarshalText(p []byte) error {
	parsed, err := ParsePayloadType(string(p))
	if err == nil {
		*t = parsed
	}
	return err
}

// frameType is the kind of data frame that carries t.
func (t PayloadType) frameType() websocket.MessageType {
	if t == Bytes {
		return websocket.MessageBinary
	}
	return websocket.MessageText
}

// A Message is one payload, received from a peer or sent to a group.
type Message struct {
	ID      uuid.UUID   // of a group or user message; unique. Zero on a message received from a peer
	Group   string      // "" outside a group
	Seq     uint64      // place in its group's order, from 1. 0 outside a group
	Created time.Time   // when it was sent to the group or user, or received
	Type    PayloadType // what the payload was: string Text, []byte Bytes, all else JSON
	Data    []byte      // its bytes; never modified after the message exists, by nobody

	codec Codec // nil: encoding/json

	// except, if not nil, are channels that a group message is not for: one that was read
	// from an engine's history may still fill a hole.
	except *[]uuid.UUID
}

// Decode decodes JSON with the codec of the channel or box that m came from. An
// error is a *[PayloadError].
func (m Message) Decode(v any) error {
	if err := unmarshal(m.codec, m.Data, v); err != nil {
		return &PayloadError{Op: "decode", Type: m.Type, Data: m.Data, Err: err}
	}
	return nil
}

// Text returns the payload as a string.
func (m Message) Text() string { return string(m.Data) }

// A Codec turns values into JSON and back, in place of encoding/json. Its methods
// may be called concurrently. What Marshal returns belongs to the caller; what
// Unmarshal is given must not be kept or changed.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(p []byte, v any) error
}

func marshal(codec Codec, v any) (p []byte, err error) {
	if codec == nil {
		codec = stdCodec{}
	}
	err = guard(func() error {
		p, err = codec.Marshal(v)
		return err
	})
	return p, err
}

func unmarshal(codec Codec, p []byte, v any) error {
	if codec == nil {
		codec = stdCodec{}
	}
	return guard(func() error { return codec.Unmarshal(p, v) })
}

type stdCodec struct{}

func (stdCodec) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (stdCodec) Unmarshal(p []byte, v any) error { return json.Unmarshal(p, v) }
