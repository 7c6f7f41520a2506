package wschannels

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

var (
	errNotJSON   = errors.New("not one JSON value")
	errNotUTF8   = errors.New("not valid UTF-8")
	errFrameType = errors.New("wrong type of frame")
)

// encode returns v as a channel of type t sends it, in bytes of its own. An error
// is a *PayloadError. It calls the application's code.
func encode(codec Codec, t PayloadType, v any) ([]byte, error) {
	p, err := encodeAs(codec, t, v)
	if err == nil && t != Bytes && !utf8.Valid(p) {
		err = errNotUTF8 // RFC 6455 section 5.6
	}
	if err != nil {
		return nil, &PayloadError{Op: "encode", Type: t, Err: err}
	}
	return p, nil
}

func encodeAs(codec Codec, t PayloadType, v any) ([]byte, error) {
	switch v := v.(type) {
	case Message:
		if err := v.check(); err != nil {
			return nil, err
		}
		return carry(v, t)
	case *Message:
		if v != nil {
			return encodeAs(codec, t, *v)
		}
	case string:
		if t != JSON {
			return []byte(v), nil
		}
	case []byte:
		if t != JSON {
			return append([]byte{}, v...), nil
		}
	case json.RawMessage:
		if v != nil {
			if !json.Valid(v) {
				return nil, errNotJSON
			}
			return bytes.Clone(v), nil
		}
	case encoding.BinaryMarshaler:
		if t == Bytes {
			return marshalBinary(v)
		}
		if s, ok := v.(fmt.Stringer); ok && t == Text {
			return stringText(s)
		}
	case fmt.Stringer:
		if t == Text {
			return stringText(v)
		}
	}
	return marshal(codec, v)
}

func marshalBinary(v encoding.BinaryMarshaler) (p []byte, err error) {
	err = guard(func() error {
		p, err = v.MarshalBinary()
		return err
	})
	return append([]byte{}, p...), err // it may be the application's own buffer
}

func stringText(v fmt.Stringer) (p []byte, err error) {
	err = guard(func() error {
		p = []byte(v.String())
		return nil
	})
	return p, err
}

// carry returns m's payload as a channel of type t sends it. It calls no code but
// ours, so that it may run under a group's lock; the result may be m.Data itself.
func carry(m Message, t PayloadType) ([]byte, error) {
	switch {
	case m.Type == t, t == Bytes, m.Type == JSON:
		return m.Data, nil
	case t == JSON && m.Type == Text:
		return json.Marshal(string(m.Data))
	case t == JSON:
		return json.Marshal(m.Data) // Bytes: base64, as []byte always is in JSON
	}
	if !utf8.Valid(m.Data) { // Bytes to Text
		return nil, errNotUTF8
	}
	return m.Data, nil
}

// canonical returns the type and the bytes under which payload is kept: as string,
// []byte or JSON, whatever a single channel would be sent.
func canonical(codec Codec, payload any) (PayloadType, []byte, error) {
	switch v := payload.(type) {
	case Message:
		if err := v.check(); err != nil {
			return 0, nil, &PayloadError{Op: "encode", Type: v.Type, Err: err}
		}
		return v.Type, v.Data, nil
	case *Message:
		if v != nil {
			return canonical(codec, *v)
		}
	case string:
		p, err := encode(codec, Text, payload) // v would be put in an interface again
		return Text, p, err
	case []byte:
		p, err := encode(codec, Bytes, payload)
		return Bytes, p, err
	}
	p, err := encode(codec, JSON, payload)
	return JSON, p, err
}

// check says why m, which the application may have made, cannot be passed on.
func (m Message) check() error {
	switch {
	case !m.Type.valid():
		return fmt.Errorf("unknown payload type %d", uint8(m.Type))
	case m.Type == Text && !utf8.Valid(m.Data):
		return errNotUTF8
	}
	return checkReceived(m.Type, m.Data)
}

// checkReceived says what is wrong with a payload of a channel of type t. Text was
// checked when it was read: a bad frame closes the connection.
func checkReceived(t PayloadType, p []byte) error {
	if t != JSON {
		return nil
	}
	if !utf8.Valid(p) {
		return errNotUTF8
	}
	if !json.Valid(p) {
		var v json.RawMessage
		if err := json.Unmarshal(p, &v); err != nil {
			return err // says where
		}
		return errNotJSON
	}
	return nil
}
