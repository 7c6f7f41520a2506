package wschannels_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/coder/websocket"
)

const wireLimit = 1000

// A wireBreach is something that no peer may send, and the code that it is told. With
// bare set it is also found on a *websocket.Conn that was given to NewChannel.
type wireBreach struct {
	name string
	send []byte
	code websocket.StatusCode
	bare bool
}

// wireBreaches is the whole table, a function for each part of RFC 6455.
var wireBreaches = slices.Concat(
	wireBadBits(), wireBadOpcodes(), wireBadMasks(), wireBadLengths(), wireBadControls(), wireBadOrder(),
	wireBadCloses(), wireBadText(), wireTooMuch(),
)

var wireOpcodes = []struct {
	name string
	op   byte
}{
	{"continuation", wireCont}, {"text", wireText}, {"binary", wireBinary}, {"close", wireClose}, {"ping", wirePing}, {"pong", wirePong},
}

// Section 5.2: a reserved bit that no extension has given a meaning. None is agreed on.
func wireBadBits() (rows []wireBreach) {
	for _, o := range wireOpcodes {
		var begun []byte
		if o.op == wireCont {
			begun = wireFrame(wireText, []byte("h"))
		}
		for rsv := range byte(7) {
			bits := (rsv + 1) << 4
			rows = append(rows, wireBreach{
				fmt.Sprintf("reserved bits %03b on %s", rsv+1, o.name), slices.Concat(begun, wireFrame(wireFin|bits|o.op, nil)), 1002, true,
			})
		}
	}
	return append(rows,
		wireBreach{"RSV1 on text with a payload", wireFrame(0xC1, []byte("hi")), 1002, true},
		wireBreach{"RSV1 on a first fragment", slices.Concat(wireFrame(0x41, []byte("h")), wireFrame(wireFin|wireCont, []byte("i"))), 1002, true},
	)
}

// Section 5.2: opcodes without a meaning, also in the middle of a message.
func wireBadOpcodes() (rows []wireBreach) {
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		rows = append(rows,
			wireBreach{fmt.Sprintf("opcode %d", op), wireFrame(wireFin|op, []byte("hi")), 1002, true},
			wireBreach{fmt.Sprintf("opcode %d, empty", op), wireFrame(wireFin|op, nil), 1002, true},
			wireBreach{fmt.Sprintf("opcode %d, a fragment", op), wireFrame(op, []byte("hi")), 1002, true},
			wireBreach{fmt.Sprintf("opcode %d inside a message", op), slices.Concat(wireFrame(wireText, []byte("h")), wireFrame(wireFin|op, nil)), 1002, true},
		)
	}
	return rows
}

// Section 5.1: a client masks every frame.
func wireBadMasks() (rows []wireBreach) {
	for _, o := range wireOpcodes {
		var begun []byte
		if o.op == wireCont {
			begun = wireFrame(wireText, []byte("h"))
		}
		rows = append(rows, wireBreach{"unmasked " + o.name, slices.Concat(begun, []byte{wireFin | o.op, 0}), 1002, true})
	}
	return append(rows,
		wireBreach{"unmasked text with a payload", []byte{0x81, 0x02, 'h', 'i'}, 1002, true},
		wireBreach{"unmasked close with a code", []byte{0x88, 0x02, 0x03, 0xE8}, 1002, true},
		wireBreach{"unmasked 16-bit length", append([]byte{0x82, 126, 0, 126}, make([]byte, 126)...), 1002, true},
		wireBreach{"unmasked 64-bit length", append([]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 1<<16)...), 1002, true},
	)
}

// Section 5.2: the shortest form, and the top bit clear.
func wireBadLengths() (rows []wireBreach) {
	for _, n := range []uint16{0, 1, 124, 125} {
		rows = append(rows, wireBreach{
			fmt.Sprintf("16-bit length of %d", n),
			wireOdd(binary.BigEndian.AppendUint16([]byte{0x82, 0xFE}, n), make([]byte, n)), 1002, false,
		})
	}
	for _, n := range []uint64{0, 1, 125, 126, 127, wireLimit, 0xFFFF} {
		rows = append(rows, wireBreach{
			fmt.Sprintf("64-bit length of %d", n),
			wireOdd(binary.BigEndian.AppendUint64([]byte{0x82, 0xFF}, n), make([]byte, n)), 1002, false,
		})
	}
	for _, n := range []uint64{1 << 63, 1<<63 + 5, 1<<63 + 1<<16, 1<<64 - 1} {
		header := binary.BigEndian.AppendUint64([]byte{0x82, 0xFF}, n)
		rows = append(rows,
			wireBreach{fmt.Sprintf("length %#x, with the top bit", n), wireOdd(header, []byte("hello")), 1002, true},
			wireBreach{fmt.Sprintf("length %#x of a continuation", n),
				slices.Concat(wireFrame(wireBinary, []byte("h")), wireOdd(append([]byte{0x80}, header[1:]...), nil)), 1002, true},
		)
	}
	return rows
}

// Section 5.5: control frames are whole, and of at most 125 bytes.
func wireBadControls() (rows []wireBreach) {
	for _, o := range wireOpcodes[3:] {
		body := func(n int) []byte { return append(wireCloseBody(1000, ""), bytes.Repeat([]byte("x"), n-2)...) }
		rows = append(rows,
			wireBreach{"fragmented " + o.name, wireFrame(o.op, nil), 1002, true},
			wireBreach{"fragmented " + o.name + " with a payload", slices.Concat(wireFrame(o.op, body(5)), wireFrame(wireFin|wireCont, []byte("x"))), 1002, true},
			wireBreach{"fragmented " + o.name + " inside a message", slices.Concat(wireFrame(wireText, []byte("h")), wireFrame(o.op, nil)), 1002, true},
			wireBreach{o.name + " of 126 bytes", wireFrame(wireFin|o.op, body(126)), 1002, true},
			wireBreach{o.name + " of 126 bytes inside a message", slices.Concat(wireFrame(wireText, []byte("h")), wireFrame(wireFin|o.op, body(126))), 1002, true},
			wireBreach{o.name + " of 65,536 bytes", wireFrame(wireFin|o.op, body(1<<16)), 1002, true},
			wireBreach{o.name + " with a 16-bit length of 5", wireOdd([]byte{wireFin | o.op, 0xFE, 0, 5}, body(5)), 1002, false},
			wireBreach{o.name + " with a 64-bit length of 5", wireOdd([]byte{wireFin | o.op, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5}, body(5)), 1002, false},
		)
	}
	return rows
}

// Section 5.4: a message's fragments follow each other.
func wireBadOrder() []wireBreach {
	begun, ended := wireFrame(wireText, []byte("a")), wireFrame(wireFin|wireCont, []byte("b"))
	return []wireBreach{
		{"continuation of nothing", ended, 1002, true},
		{"continuation of nothing, empty", wireFrame(wireFin|wireCont, nil), 1002, true},
		{"continuation of nothing, to be continued", wireFrame(wireCont, []byte("a")), 1002, true},
		{"continuation after a ping", slices.Concat(wireFrame(wireFin|wirePing, nil), ended), 1002, true},
		{"text inside text", slices.Concat(begun, wireString("b")), 1002, true},
		{"binary inside text", slices.Concat(begun, wireFrame(wireFin|wireBinary, []byte("b"))), 1002, true},
		{"fragmented text inside text", slices.Concat(begun, begun, ended), 1002, true},
		{"text inside text, after a ping", slices.Concat(begun, wireFrame(wireFin|wirePing, nil), wireString("b")), 1002, true},
		{"text inside empty text", slices.Concat(wireFrame(wireText, nil), wireString("b")), 1002, true},
	}
}

// Sections 5.5.1 and 7.4: what a close frame may hold.
func wireBadCloses() (rows []wireBreach) {
	closing := func(body []byte) []byte { return wireFrame(wireFin|wireClose, body) }
	for b := range 2 {
		rows = append(rows, wireBreach{fmt.Sprintf("close body of 1 byte, %d", b*3), closing([]byte{byte(b * 3)}), 1002, true})
	}
	for _, code := range []websocket.StatusCode{
		0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 5001, 9999, 65535,
	} {
		rows = append(rows,
			wireBreach{fmt.Sprintf("close code %d", code), closing(wireCloseBody(code, "")), 1002, true},
			wireBreach{fmt.Sprintf("close code %d with a reason", code), closing(wireCloseBody(code, "why")), 1002, true},
		)
	}
	for _, bad := range wireNotUTF8 {
		rows = append(rows, wireBreach{"close reason with " + bad.name, closing(wireCloseBody(1000, "bye "+bad.text)), 1007, false})
	}
	return append(rows,
		wireBreach{"close reason cut inside a rune at 123 bytes", closing(wireCloseBody(1000, strings.Repeat("x", 122)+"\xc3")), 1007, false},
		wireBreach{"close reason of 124 bytes", closing(wireCloseBody(1000, strings.Repeat("x", 124))), 1002, true},
		wireBreach{"close inside a message, with a bad code", slices.Concat(wireFrame(wireText, []byte("h")), closing(wireCloseBody(1005, ""))), 1002, true},
	)
}

// wireNotUTF8 is every way of not being UTF-8 (RFC 3629).
var wireNotUTF8 = []struct{ name, text string }{
	{"FF", "\xff"},
	{"FE", "\xfe"},
	{"a lone continuation byte", "\x80"},
	{"one continuation byte too many", "\xc3\xa9\xa9"},
	{"a two-byte rune cut", "\xc3"},
	{"a three-byte rune cut", "\xe2\x82"},
	{"a four-byte rune cut", "\xf0\x9f\x99"},
	{"a rune cut by ASCII", "\xe2\x82A"},
	{"an overlong slash of two bytes", "\xc0\xaf"},
	{"an overlong NUL of two bytes", "\xc0\x80"},
	{"an overlong rune of two bytes", "\xc1\xbf"},
	{"an overlong rune of three bytes", "\xe0\x9f\xbf"},
	{"an overlong rune of four bytes", "\xf0\x8f\xbf\xbf"},
	{"the first surrogate", "\xed\xa0\x80"},
	{"the last surrogate", "\xed\xbf\xbf"},
	{"a pair of surrogates", "\xed\xa0\xbd\xed\xb9\x82"},
	{"U+110000", "\xf4\x90\x80\x80"},
	{"a lead byte of F5", "\xf5\x80\x80\x80"},
	{"five bytes", "\xf8\x88\x80\x80\x80"},
	{"six bytes", "\xfc\x84\x80\x80\x80\x80"},
}

// Section 8.1: text is UTF-8, however it is cut.
func wireBadText() (rows []wireBreach) {
	for _, bad := range wireNotUTF8 {
		rows = append(rows,
			wireBreach{"text with " + bad.name, wireString("ok " + bad.text), 1007, true},
			wireBreach{"fragmented text with " + bad.name, wirePieces("é "+bad.text+" tail", nil), 1007, true},
			wireBreach{"text in two with " + bad.name + " last", slices.Concat(
				wireFrame(wireText, []byte(bad.text)), wireFrame(wireFin|wireCont, nil)), 1007, true},
		)
	}
	return append(rows,
		wireBreach{"text of the limit, cut inside a rune", wireString(strings.Repeat("x", wireLimit-1) + "\xc3"), 1007, true},
		wireBreach{"a rune across fragments that goes wrong, with pings between", wirePieces("\xe2\x82\xff", wireFrame(wireFin|wirePing, nil)), 1007, true},
	)
}

// wirePieces is text in a fragment for each byte, with between between them.
func wirePieces(text string, between []byte) (frames []byte) {
	for i := range len(text) {
		op := byte(wireCont)
		if i == 0 {
			op = wireText
		} else {
			frames = append(frames, between...)
		}
		if i == len(text)-1 {
			op |= wireFin
		}
		frames = append(frames, wireFrame(op, []byte{text[i]})...)
	}
	return frames
}

// Sections 7.4.1 and 10.4: what is legal and too much.
func wireTooMuch() []wireBreach {
	endless := wireOdd([]byte{0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, nil)
	full := wireFrame(wireBinary, make([]byte, wireLimit))
	return []wireBreach{
		{"a size over the limit", wireFrame(wireFin|wireBinary, make([]byte, wireLimit+1)), 1009, true},
		{"a declared size over the limit", wireOdd([]byte{0x82, 0xFE, (wireLimit + 1) >> 8, (wireLimit + 1) & 0xFF}, nil), 1009, false},
		{"the largest size there is, declared", endless, 1009, false},
		{"a sum of fragments over the limit", slices.Concat(full, wireFrame(wireFin|wireCont, []byte{1})), 1009, true},
		{"a sum of fragments over the limit, to be continued", slices.Concat(full, wireFrame(wireCont, []byte{1})), 1009, false},
		{"a sum of declared sizes that overflows", slices.Concat(wireFrame(wireBinary, []byte{1}), append([]byte{0x80}, endless[1:]...)), 1009, false},
		{"too many empty fragments", slices.Concat(wireFrame(wireText, []byte("a")), bytes.Repeat(wireFrame(wireCont, nil), 101)), 1008, false},
		{"too many pings", bytes.Repeat(wireFrame(wireFin|wirePing, nil), 101), 1008, false},
		{"too many pongs", bytes.Repeat(wireFrame(wireFin|wirePong, nil), 101), 1008, false},
		{"too many of both", bytes.Repeat(slices.Concat(wireFrame(wireFin|wirePong, nil), wireFrame(wireFin|wirePing, nil)), 51), 1008, false},
	}
}
