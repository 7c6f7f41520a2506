package wschannels

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// Opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	bitFin  = 0x80
	bitRSV1 = 0x40
	bitMask = 0x80

	maxControl = 125 // payload of a control frame (section 5.5)
)

// A frame is one outgoing message: an unfragmented, unmasked data frame (RFC 6455
// section 5.2). It never changes, and any number of queues may hold it.
type frame struct {
	typ     websocket.MessageType
	payload []byte // as it is sent: compressed, perhaps
	plain   int    // bytes of the payload before it was compressed
	header  [10]byte
	hlen    uint8

	mail *mail // of a message to a user: it goes back to the mailbox if unwritten
}

func newFrame(typ websocket.MessageType, payload []byte) *frame {
	f := &frame{typ: typ, payload: payload, plain: len(payload)}
	f.header[0] = bitFin | byte(typ)
	switch n := len(payload); {
	case n <= maxControl:
		f.header[1] = byte(n)
		f.hlen = 2
	case n <= 0xFFFF:
		f.header[1] = 126
		binary.BigEndian.PutUint16(f.header[2:], uint16(n))
		f.hlen = 4
	default:
		f.header[1] = 127
		binary.BigEndian.PutUint64(f.header[2:], uint64(n))
		f.hlen = 10
	}
	return f
}

// newDeflated is newFrame for a payload that was compressed.
func newDeflated(typ websocket.MessageType, deflated []byte, plain int) *frame {
	f := newFrame(typ, deflated)
	f.header[0] |= bitRSV1 // RFC 7692 section 6
	f.plain = plain
	return f
}

// size is what f counts in a queue: its payload, whether or not it is compressed, and
// 1 for an empty one, so that no number of messages is free.
func (f *frame) size() int { return max(1, f.plain) }

// appendTo appends f as it goes over the wire.
func (f *frame) appendTo(b []byte) []byte {
	b = append(b, f.header[:f.hlen]...)
	return append(b, f.payload...)
}

// controlFrame returns an unmasked control frame (RFC 6455 section 5.5).
func controlFrame(op byte, payload []byte) []byte {
	return append([]byte{bitFin | op, byte(len(payload))}, payload...)
}

// closePayload is the body of a close frame (RFC 6455 section 5.5.1).
func closePayload(code websocket.StatusCode, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

// place says where in a group's order a message stands, for its envelope. The
// prefix is the JSON text {"group":…,"epoch":…, without epoch if seq is 0: no place in
// the order. The zero place is no group.
type place struct {
	prefix []byte
	seq    uint64
}

func placePrefix(group, epoch string) []byte {
	b := append(groupPrefix(group), `"epoch":`...)
	return append(append(b, quote(epoch)...), ',')
}

func groupPrefix(group string) []byte {
	return append(append([]byte(`{"group":`), quote(group)...), ',')
}

// envelope wraps the data of a message, as enveloped returned it, so that a client
// knows the message's ID and place.
func envelope(at place, id uuid.UUID, data []byte) []byte {
	b := at.appendHead(make([]byte, 0, len(at.prefix)+len(data)+80), id)
	return append(append(b, data...), '}')
}

// enveloped returns the payload of a channel of type t (JSON or Text) as the data of
// an envelope.
func enveloped(t PayloadType, payload []byte) []byte {
	if t == Text {
		return quote(string(payload))
	}
	return payload
}

// envelopeDeflated is envelope for data that is compressed already. The rest, which is
// short and different each time, is not compressed. plain is the whole's size without
// compression, but for the data.
func envelopeDeflated(at place, id uuid.UUID, deflated []byte) (b []byte, plain int) {
	head := at.appendHead(make([]byte, 0, len(at.prefix)+80), id)
	b = appendStored(make([]byte, 0, len(head)+len(deflated)+16), head)
	b = appendStored(append(b, deflated...), []byte{'}'})
	return append(b, 0), len(head) + 1 // an empty block, of which emptyBlock is left out
}

// appendHead appends an envelope up to its data.
func (at place) appendHead(b []byte, id uuid.UUID) []byte {
	if at.prefix == nil {
		b = append(b, '{')
	}
	b = append(b, at.prefix...)
	if at.seq != 0 {
		b = append(b, `"seq":`...)
		b = append(strconv.AppendUint(b, at.seq, 10), ',')
	}
	b = append(b, `"id":"`...)
	var text [36]byte
	encodeUUID(text[:], id)
	return append(append(b, text[:]...), `","data":`...)
}

// encodeUUID writes id in its 36-byte form, without the allocation of String.
func encodeUUID(dst []byte, id uuid.UUID) {
	const hex = "0123456789abcdef"
	i := 0
	for n, b := range id {
		if n == 4 || n == 6 || n == 8 || n == 10 {
			dst[i] = '-'
			i++
		}
		dst[i], dst[i+1] = hex[b>>4], hex[b&0xf]
		i += 2
	}
}

// quote returns s, which is valid UTF-8, as JSON.
func quote(s string) []byte {
	p, _ := json.Marshal(s)
	return p
}

// validName is the rule for names of groups and users.
func validName(s string) bool {
	if len(s) == 0 || len(s) > 255 || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7F && r <= 0x9F { // C0, DEL and C1 controls
			return false
		}
	}
	return true
}
