package wschannels_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

type (
	chanText       struct{} // a fmt.Stringer
	chanBinary     struct{} // an encoding.BinaryMarshaler
	chanBad        struct{} // whose methods panic
	chanFailing    struct{} // whose methods return an error
	chanCyclic     struct{ Next *chanCyclic }
	chanWithFields struct {
		A int    `json:"a"`
		B string `json:"b,omitempty"`
	}
)

var errChanFailing = errors.New("cannot be marshalled")

func (chanText) String() string                    { return "I am text" }
func (chanBinary) MarshalBinary() ([]byte, error)  { return []byte{0, 1, 0xfe}, nil }
func (chanBad) String() string                     { panic("String") }
func (chanBad) MarshalBinary() ([]byte, error)     { panic("MarshalBinary") }
func (chanBad) MarshalJSON() ([]byte, error)       { panic("MarshalJSON") }
func (chanFailing) MarshalBinary() ([]byte, error) { return nil, errChanFailing }
func (chanFailing) MarshalJSON() ([]byte, error)   { return nil, errChanFailing }

// chanFails, in place of what the peer is to get, is a *PayloadError.
const chanFails = "\x00fails"

var chanUUID = uuid.MustParse("00010203-0405-0607-0809-0a0b0c0d0e0f")

// What channels of each type make of payloads of many types.
func TestSendEncodesByThePayloadType(t *testing.T) {
	cyclic := new(chanCyclic)
	cyclic.Next = cyclic
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	message := func(t wschannels.PayloadType, s string) wschannels.Message {
		return wschannels.Message{Type: t, Data: []byte(s)}
	}
	pointer := message(wschannels.Text, "t")
	for _, tt := range []struct {
		name              string
		payload           any
		json, text, bytes string
	}{
		{"map", map[string]int{"a": 1}, `{"a":1}`, `{"a":1}`, `{"a":1}`},
		{"struct", chanWithFields{A: 1}, `{"a":1}`, `{"a":1}`, `{"a":1}`},
		{"number", 1.5, `1.5`, `1.5`, `1.5`},
		{"nil", nil, `null`, `null`, `null`},
		{"string", "h\"é\n", `"h\"é\n"`, "h\"é\n", "h\"é\n"},
		{"empty string", "", `""`, "", ""},
		{"string, not UTF-8", "a\xff", `"a\ufffd"`, chanFails, "a\xff"},
		{"bytes", []byte("ok"), `"b2s="`, "ok", "ok"},
		{"no bytes", []byte{}, `""`, "", ""},
		{"bytes, not UTF-8", []byte{0, 255}, `"AP8="`, chanFails, "\x00\xff"},
		{"NaN", math.NaN(), chanFails, chanFails, chanFails},
		{"chan", make(chan int), chanFails, chanFails, chanFails},
		{"cyclic", cyclic, chanFails, chanFails, chanFails},
		{"RawMessage", raw(`{"a": [1 ] }`), `{"a": [1 ] }`, `{"a": [1 ] }`, `{"a": [1 ] }`},
		{"empty RawMessage", raw(""), chanFails, chanFails, chanFails},
		{"RawMessage(nil)", json.RawMessage(nil), `null`, `null`, `null`},
		{"malformed RawMessage", raw(`{"a"`), chanFails, chanFails, chanFails},
		{"two RawMessages", raw(`1 2`), chanFails, chanFails, chanFails},
		{"RawMessage, not UTF-8", raw("\"\xff\""), chanFails, chanFails, "\"\xff\""},
		{"JSON Message", message(wschannels.JSON, `{"a": 1}`), `{"a": 1}`, `{"a": 1}`, `{"a": 1}`},
		{"Text Message", message(wschannels.Text, "h\"é"), `"h\"é"`, "h\"é", "h\"é"},
		{"*Message", &pointer, `"t"`, "t", "t"},
		{"Bytes Message", message(wschannels.Bytes, "\x00\xff"), `"AP8="`, chanFails, "\x00\xff"},
		{"Bytes Message of text", message(wschannels.Bytes, "ok"), `"b2s="`, "ok", "ok"},
		{"malformed JSON Message", message(wschannels.JSON, "{"), chanFails, chanFails, chanFails},
		{"Text Message, not UTF-8", message(wschannels.Text, "\xff"), chanFails, chanFails, chanFails},
		{"Message of no type", message(9, "{}"), chanFails, chanFails, chanFails},
		{"Stringer", chanText{}, `{}`, "I am text", `{}`},
		{"BinaryMarshaler", chanBinary{}, `{}`, `{}`, "\x00\x01\xfe"},
		{"both", chanUUID, `"` + chanUUID.String() + `"`, chanUUID.String(), string(chanUUID[:])},
		{"panics", chanBad{}, chanFails, chanFails, chanFails},
		{"nil pointer with methods", (*chanText)(nil), `null`, chanFails, `null`},
		{"marshals to an error", chanFailing{}, chanFails, chanFails, chanFails},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for pt, want := range map[wschannels.PayloadType]string{
					wschannels.JSON: tt.json, wschannels.Text: tt.text, wschannels.Bytes: tt.bytes,
				} {
					c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: pt})
					chanCheckSent(t, c, conn, c.Send(t.Context(), tt.payload), pt, want)
				}
			})
		})
	}
}

// The methods that name the type do what they say on any channel.
func TestSendOfANamedType(t *testing.T) {
	const text, binary = websocket.MessageText, websocket.MessageBinary
	for _, tt := range []struct {
		name  string
		send  func(*testing.T, *wschannels.Channel) error
		frame websocket.MessageType // on JSON and Text channels
		op    wschannels.PayloadType
		want  string
	}{
		{"JSON string", func(t *testing.T, c *wschannels.Channel) error { return c.SendJSON(t.Context(), "a") }, text, wschannels.JSON, `"a"`},
		{"JSON []byte", func(t *testing.T, c *wschannels.Channel) error { return c.SendJSON(t.Context(), []byte("ok")) }, text, wschannels.JSON, `"b2s="`},
		{"JSON Stringer", func(t *testing.T, c *wschannels.Channel) error { return c.SendJSON(t.Context(), chanText{}) }, text, wschannels.JSON, `{}`},
		{"JSON NaN", func(t *testing.T, c *wschannels.Channel) error { return c.SendJSON(t.Context(), math.NaN()) }, text, wschannels.JSON, chanFails},
		{"text", func(t *testing.T, c *wschannels.Channel) error { return c.SendText(t.Context(), "é") }, text, wschannels.Text, "é"},
		{"no text", func(t *testing.T, c *wschannels.Channel) error { return c.SendText(t.Context(), "") }, text, wschannels.Text, ""},
		{"text, not UTF-8", func(t *testing.T, c *wschannels.Channel) error { return c.SendText(t.Context(), "\xff") }, text, wschannels.Text, chanFails},
		{"bytes", func(t *testing.T, c *wschannels.Channel) error { return c.SendBytes(t.Context(), []byte{0, 255}) }, binary, wschannels.Bytes, "\x00\xff"},
		{"no bytes", func(t *testing.T, c *wschannels.Channel) error { return c.SendBytes(t.Context(), nil) }, binary, wschannels.Bytes, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, pt := range []wschannels.PayloadType{wschannels.JSON, wschannels.Text, wschannels.Bytes} {
					c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: pt})
					err := tt.send(t, c)
					if tt.want == chanFails {
						chanCheckSent(t, c, conn, err, tt.op, tt.want)
						continue
					}
					if err != nil {
						t.Fatalf("on a %v channel: %v", pt, err)
					}
					want := tt.frame
					if pt == wschannels.Bytes && tt.op == wschannels.JSON {
						want = binary
					}
					if typ, got := chanNext(t, conn); typ != want || got != tt.want {
						t.Errorf("on a %v channel the peer got %v %q, want %v %q", pt, typ, got, want, tt.want)
					}
				}
			})
		})
	}
}

// chanCheckSent checks what became of a payload that was sent as type pt.
func chanCheckSent(t *testing.T, c *wschannels.Channel, conn *wschannelstest.Conn, err error, pt wschannels.PayloadType, want string) {
	t.Helper()
	if want != chanFails {
		if err != nil {
			t.Fatalf("%v: Send: %v", pt, err)
		}
		frame := websocket.MessageText
		if pt == wschannels.Bytes {
			frame = websocket.MessageBinary
		}
		if typ, got := chanNext(t, conn); typ != frame || got != want {
			t.Errorf("%v: the peer got %v %q, want %v %q", pt, typ, got, frame, want)
		}
		return
	}
	var bad *wschannels.PayloadError
	if !errors.As(err, &bad) || bad.Op != "encode" || bad.Type != pt || bad.Data != nil {
		t.Errorf("%v: Send = %#v, want a PayloadError of encoding", pt, err)
	}
	chanIsOpen(t, c)
	chanWants(t, conn)
}

func TestSendRecoversPanicsOfMarshalers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for pt, want := range map[wschannels.PayloadType]string{
			wschannels.JSON: "MarshalJSON", wschannels.Text: "String", wschannels.Bytes: "MarshalBinary",
		} {
			c, _ := chanOpen(t, &wschannels.ChannelOptions{PayloadType: pt})
			err := c.Send(t.Context(), chanBad{})
			var p *wschannels.PanicError
			if !errors.As(err, &p) || p.Value != want || len(p.Stack) == 0 {
				t.Errorf("%v: Send = %v, want the panic of %s with its stack", pt, err, want)
			}
		}
	})
}

func TestSendErrorWrapsTheMarshalersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Bytes})
		if err := c.Send(t.Context(), chanFailing{}); !errors.Is(err, errChanFailing) {
			t.Errorf("Send = %v, want it to wrap %v", err, errChanFailing)
		}
	})
}

// The caller may go on to use its buffers.
func TestSendKeepsNoReferenceToThePayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Bytes})
		conn.Stall() // so that nothing is written before the buffers change
		data, raw, own := []byte("data"), json.RawMessage(`"raw"`), chanOwnBuffer("own!")
		for _, err := range []error{
			c.Send(t.Context(), data), c.SendBytes(t.Context(), data), c.Send(t.Context(), raw), c.Send(t.Context(), own),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		copy(data, "####")
		copy(raw, `"###"`)
		copy(own, "####")
		conn.Resume()
		chanWants(t, conn, "data", "data", `"raw"`, "own!")
	})
}

// chanOwnBuffer marshals to a buffer that it goes on to use.
type chanOwnBuffer []byte

func (b chanOwnBuffer) MarshalBinary() ([]byte, error) { return b, nil }

func TestBigMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Text})
		big := strings.Repeat("x", 10<<20)
		if err := c.Send(t.Context(), big); !errors.Is(err, wschannels.ErrTooLarge) {
			t.Fatalf("10 MiB to a queue of 1 MiB: %v, want ErrTooLarge", err)
		}
		chanWants(t, conn)
		wide, conn := chanOpen(t, &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 10 << 20})
		if err := wide.Send(t.Context(), big); err != nil {
			t.Fatalf("10 MiB to a queue of 10 MiB: %v", err)
		}
		chanWants(t, conn, big)
	})
}
