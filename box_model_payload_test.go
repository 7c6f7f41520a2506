package wschannels_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/wschannels/wschannels"
)

// A modelForm is the Go type of a payload, as the application hands it over.
type modelForm uint8

const (
	modelString   modelForm = iota
	modelBytes              // valid UTF-8
	modelBinary             // bytes that no Text channel can carry
	modelStruct             // marshalled
	modelRaw                // json.RawMessage
	modelStringer           // has a form of its own on Text channels
	modelMarshals           // has one of its own on Bytes channels
	modelMessage            // a Message of the type Text
	modelForms              // how many there are
	modelBroken             // cannot be encoded
	modelNotJSON            // a json.RawMessage that is none
)

// A modelPayload is one message's content: a text by which it is known again, and the
// form in which that is sent.
type modelPayload struct {
	n    int
	form modelForm
	text string // "m", n, ".", and padding
}

type (
	modelJSON         struct{ M string }
	modelJSONStringer struct{ M string }
	modelJSONMarshals struct{ M string }
)

func (s modelJSONStringer) String() string                 { return "string of " + s.M }
func (s modelJSONMarshals) MarshalBinary() ([]byte, error) { return []byte("binary of " + s.M), nil }

func newModelPayload(n int, form modelForm, padding int) modelPayload {
	return modelPayload{n, form, "m" + strconv.Itoa(n) + "." + strings.Repeat("x", padding)}
}

// value is what is handed to the package.
func (p modelPayload) value() any {
	switch p.form {
	case modelString:
		return p.text
	case modelBytes:
		return []byte(p.text)
	case modelBinary:
		return []byte(p.text + "\xff")
	case modelStruct:
		return modelJSON{p.text}
	case modelRaw:
		return json.RawMessage(`{"M":"` + p.text + `"}`)
	case modelStringer:
		return modelJSONStringer{p.text}
	case modelMarshals:
		return modelJSONMarshals{p.text}
	case modelMessage:
		return wschannels.Message{Type: wschannels.Text, Data: []byte(p.text)}
	case modelNotJSON:
		return json.RawMessage(`{"M":`)
	}
	return func() {}
}

func (p modelPayload) encodable() bool { return p.form < modelForms }

// canonical is how the message is kept in a history.
func (p modelPayload) canonical() (wschannels.PayloadType, []byte) {
	switch p.form {
	case modelString, modelMessage:
		return wschannels.Text, []byte(p.text)
	case modelBytes:
		return wschannels.Bytes, []byte(p.text)
	case modelBinary:
		return wschannels.Bytes, []byte(p.text + "\xff")
	}
	return wschannels.JSON, []byte(`{"M":"` + p.text + `"}`)
}

// kept is the payload on a channel of type t when it comes from where it was kept; nil
// if such a channel cannot carry it.
func (p modelPayload) kept(t wschannels.PayloadType) []byte {
	have, data := p.canonical()
	switch {
	case t == wschannels.Text && p.form == modelBinary:
		return nil
	case t != wschannels.JSON || have == wschannels.JSON:
		return data
	case have == wschannels.Text:
		return []byte(`"` + p.text + `"`)
	}
	return []byte(`"` + base64.StdEncoding.EncodeToString(data) + `"`)
}

// direct is the payload on a channel of type t that was known when it was sent.
func (p modelPayload) direct(t wschannels.PayloadType) []byte {
	switch {
	case t == wschannels.Text && p.form == modelStringer:
		return []byte("string of " + p.text)
	case t == wschannels.Bytes && p.form == modelMarshals:
		return []byte("binary of " + p.text)
	}
	return p.kept(t)
}

// modelEnvelope is what a client of an Envelope channel decodes.
type modelEnvelope struct {
	Group, Epoch, ID string
	Seq              uint64
	Data             json.RawMessage
}

// modelOpen returns what a peer of ch has got: the number of the message, its payload,
// and its envelope.
func modelOpen(ch *modelChannel, data []byte) (n int, payload []byte, env modelEnvelope, err error) {
	payload = data
	if ch.opts.Envelope {
		if err := json.Unmarshal(data, &env); err != nil {
			return 0, nil, env, err
		}
		payload = env.Data
		if ch.opts.PayloadType == wschannels.Text {
			var s string
			if err := json.Unmarshal(payload, &s); err != nil {
				return 0, nil, env, err
			}
			payload = []byte(s)
		}
	}
	if n, ok := modelNumber(payload); ok {
		return n, payload, env, nil
	}
	var inner []byte // in base64
	if err := json.Unmarshal(payload, &inner); err == nil {
		if n, ok := modelNumber(inner); ok {
			return n, payload, env, nil
		}
	}
	return 0, nil, env, fmt.Errorf("%.100q is no message that was sent", data)
}

func modelNumber(p []byte) (n int, ok bool) {
	for {
		i := bytes.IndexByte(p, 'm')
		if i < 0 {
			return 0, false
		}
		p = p[i+1:]
		digits := 0
		for n = 0; digits < len(p) && '0' <= p[digits] && p[digits] <= '9'; digits++ {
			n = n*10 + int(p[digits]-'0')
		}
		if digits > 0 && digits < len(p) && p[digits] == '.' {
			return n, true
		}
	}
}

// modelSize is what a payload counts in the queue of ch.
func modelSize(ch *modelChannel, payload []byte, group, epoch string, seq uint64) int {
	if !ch.opts.Envelope {
		return max(1, len(payload))
	}
	size := len(`{"id":"","data":}`) + 36 + len(payload)
	if ch.opts.PayloadType == wschannels.Text {
		quoted, _ := json.Marshal(string(payload))
		size += len(quoted) - len(payload)
	}
	if group != "" {
		size += len(fmt.Sprintf(`"group":%q,"epoch":%q,"seq":%d,`, group, epoch, seq))
	}
	return size
}
