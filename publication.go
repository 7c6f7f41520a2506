package wschannels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// The binary form of a publication, for engines that carry bytes:
//
//	version   1 byte
//	type      1 byte, a PayloadType; 0x80 set: Save
//	id        16 bytes
//	created   8 bytes, nanoseconds since 1970, big-endian
//	except    uvarint, and as many IDs of 16 bytes
//	data      the rest
const (
	publicationVersion = 1
	publicationFixed   = 2 + 16 + 8
	publicationSave    = 0x80
	maxExcept          = 1 << 16 // of one publication that is read
)

var errNotPublication = errors.New("wschannels: not a publication")

// AppendBinary appends the binary form of p to b: all but Group, Seq, Epoch and Saved, which
// are the broker's to carry. Nodes of one cluster may be of different versions of this
// package: a form, once released, is read by all later ones.
func (p *Publication) AppendBinary(b []byte) ([]byte, error) {
	if !p.Type.valid() {
		return b, &PayloadError{Op: "encode", Type: p.Type, Err: fmt.Errorf("unknown payload type %d", uint8(p.Type))}
	}
	kind := byte(p.Type)
	if p.Save {
		kind |= publicationSave
	}
	b = append(b, publicationVersion, kind)
	b = append(b, p.ID[:]...)
	b = appendTime(b, p.Created)
	b = binary.AppendUvarint(b, uint64(len(p.Except)))
	for _, id := range p.Except {
		b = append(b, id[:]...)
	}
	return append(b, p.Data...), nil
}

// MarshalBinary returns the binary form of p; see [Publication.AppendBinary].
func (p *Publication) MarshalBinary() ([]byte, error) {
	return p.AppendBinary(make([]byte, 0, publicationFixed+1+16*len(p.Except)+len(p.Data)))
}

// UnmarshalBinary sets p to what AppendBinary wrote, but for Group, Seq, Epoch and Saved,
// which it leaves alone. p.Data is part of b, which must not be changed afterwards, nor
// Except. Bytes that nothing could have been written as are an error, and leave p as it was.
//
// p.Message remembers Except: a box that gets it from a [HistoryBroker], in place of one
// that did not come, does not give it to these channels.
func (p *Publication) UnmarshalBinary(b []byte) error {
	if len(b) <= publicationFixed || b[0] != publicationVersion {
		return errNotPublication
	}
	t := PayloadType(b[1] &^ publicationSave)
	n, size := binary.Uvarint(b[publicationFixed:])
	rest := b[publicationFixed:]
	if !t.valid() || size <= 0 || n > maxExcept || uint64(len(rest)-size) < 16*n {
		return errNotPublication
	}
	rest = rest[size:]
	data := rest[16*n:]
	if t != Bytes && !utf8.Valid(data) { // it would go out in text frames
		return errNotPublication
	}
	var except []uuid.UUID
	for range n {
		except = append(except, uuid.UUID(rest[:16]))
		rest = rest[16:]
	}
	p.ID = uuid.UUID(b[2:18])
	p.Created = parseTime(b[18:publicationFixed])
	p.Type, p.Save, p.Except, p.Data = t, b[1]&publicationSave != 0, except, data[:len(data):len(data)]
	if p.except = nil; len(except) > 0 {
		kept := except // or what most have not would be in the heap
		p.except = &kept
	}
	return nil
}

// appendTime appends t as nanoseconds since 1970, in 8 bytes. Other nodes have other clocks.
func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
}

func parseTime(b []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(b))) }
