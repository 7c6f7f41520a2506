package redisbroker

import (
	"encoding/binary"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// An entry's form: its ID, 16 bytes; 1 byte of flags; Since and, if the flags say so, Until,
// nanoseconds since 1970, 8 bytes each, big-endian; User and Node, each a uvarint with its
// length before it.
const (
	entryGone = 1 << iota
	entrySince
	entryUntil
	entryFlags = 1<<iota - 1
)

func appendEntry(b []byte, e wschannels.PresenceEntry) []byte {
	b = append(b, e.ID[:]...)
	at := len(b)
	b = append(b, 0)
	if e.Gone {
		b[at] |= entryGone
	}
	if !e.Since.IsZero() {
		b[at] |= entrySince
		b = binary.BigEndian.AppendUint64(b, uint64(e.Since.UnixNano()))
	}
	if !e.Until.IsZero() {
		b[at] |= entryUntil
		b = binary.BigEndian.AppendUint64(b, uint64(e.Until.UnixNano()))
	}
	for _, s := range []string{e.User, e.Node} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// readEntry reads what appendEntry wrote, and returns what comes after it.
func readEntry(b []byte) (e wschannels.PresenceEntry, rest []byte, ok bool) {
	if len(b) < 17 || b[16]&^entryFlags != 0 {
		return e, nil, false
	}
	copy(e.ID[:], b)
	flags, b := b[16], b[17:]
	e.Gone = flags&entryGone != 0
	for _, f := range []struct {
		flag byte
		at   *time.Time
	}{{entrySince, &e.Since}, {entryUntil, &e.Until}} {
		if flags&f.flag == 0 {
			continue
		}
		if len(b) < 8 {
			return e, nil, false
		}
		*f.at = time.Unix(0, int64(binary.BigEndian.Uint64(b)))
		b = b[8:]
	}
	for _, s := range []*string{&e.User, &e.Node} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return e, nil, false
		}
		*s = string(b[size : size+int(n)])
		b = b[size+int(n):]
	}
	return e, b, true
}

// presenceMessage is what is published of changes: 'e', and one entry after another.
func presenceMessage(entries []wschannels.PresenceEntry) string {
	b := []byte{'e'}
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	return rueidis.BinaryString(b)
}

func readPresence(s string) (entries []wschannels.PresenceEntry, ok bool) {
	b := []byte(s[1:])
	for len(b) > 0 {
		e, rest, ok := readEntry(b)
		if !ok {
			return nil, false
		}
		entries, b = append(entries, e), rest
	}
	return entries, len(entries) > 0
}
