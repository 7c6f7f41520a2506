package natsbroker

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"time"

	"github.com/wschannels/wschannels"
)

// The binary form of a batch: what goes to the stream as one message, and comes back to
// those who are subscribed to its group.
//
//	version   1 byte
//	flags     1 byte; batchSaved: its publications are in the history
//	epoch     8 bytes
//	id        8 bytes, of its own
//	node      8 bytes, who published it
//	first     uvarint, the Seq of its first publication
//	floor     uvarint: what is saved up to this Seq has been flushed
//	saved     uvarint, the Seq of the last saved publication before this batch
//	savedAt   uvarint, the stream's sequence of the batch that has that
//	bytes     uvarint, what is saved counted, from the first to the last before this batch
//	cost      uvarint, what those of this batch count
//	n         uvarint, how many publications follow; none: the batch only says the above
//	each      uvarint, its length, and as many bytes
const (
	batchVersion = 1
	batchSaved   = 1

	maxBatchBytes = 128 << 10 // unless one publication alone is larger
	maxBatchItems = 1024
)

var errNotBatch = errors.New("wschannels: not a batch of publications")

// A tail is what there is to know of a group to publish more: what its last batch says,
// with that batch counted in.
type tail struct {
	at      uint64 // the stream's sequence of that batch; 0: there is none
	epoch   [8]byte
	id      [8]byte
	node    [8]byte // that published it
	run     uint64  // if this node: what follows this sequence is this node's alone; 0: unknown
	seq     uint64  // of the last publication
	floor   uint64  // history at or before it has been flushed
	saved   uint64  // Seq of the last saved publication
	savedAt uint64  // the stream's sequence of its batch
	bytes   uint64  // what has been saved since the epoch began counts
	when    time.Time
}

func (t *tail) name() string { return hex.EncodeToString(t.epoch[:]) }

func (t *tail) position() wschannels.Position {
	return wschannels.Position{Epoch: t.name(), Seq: t.seq}
}

// since returns the stream's sequence of a batch of the node's own, t or one before, since
// which nobody else has published. t is the node's own.
func (t *tail) since() uint64 { return cmp.Or(t.run, t.at) }

// A batch is one message of the stream, read.
type batch struct {
	saved bool
	items [][]byte
	first uint64 // Seq of items[0]

	before tail   // what the batch says of what was before it
	cost   uint64 // of its publications, if saved
}

// after returns the group's tail once b is stored at the given place.
func (b *batch) after(at uint64, when time.Time) tail {
	t := b.before
	t.at, t.when, t.run = at, when, 0
	t.seq = b.first + uint64(len(b.items)) - 1
	if b.saved && len(b.items) > 0 {
		t.saved, t.savedAt = t.seq, at
		t.bytes += b.cost
	}
	return t
}

func (b *batch) encode() []byte {
	size := 2 + 8 + 8 + 8 + 7*binary.MaxVarintLen64
	for _, item := range b.items {
		size += binary.MaxVarintLen32 + len(item)
	}
	out := make([]byte, 0, size)
	var flags byte
	if b.saved {
		flags = batchSaved
	}
	out = append(out, batchVersion, flags)
	out = append(out, b.before.epoch[:]...)
	out = append(out, b.before.id[:]...)
	out = append(out, b.before.node[:]...)
	for _, n := range []uint64{
		b.first, b.before.floor, b.before.saved, b.before.savedAt, b.before.bytes, b.cost, uint64(len(b.items)),
	} {
		out = binary.AppendUvarint(out, n)
	}
	for _, item := range b.items {
		out = binary.AppendUvarint(out, uint64(len(item)))
		out = append(out, item...)
	}
	return out
}

// decodeBatch reads what encode wrote. The items are part of p.
func decodeBatch(p []byte) (*batch, error) {
	const fixed = 2 + 8 + 8 + 8
	if len(p) < fixed || p[0] != batchVersion || p[1]&^batchSaved != 0 {
		return nil, errNotBatch
	}
	b := &batch{saved: p[1] == batchSaved}
	copy(b.before.epoch[:], p[2:])
	copy(b.before.id[:], p[10:])
	copy(b.before.node[:], p[18:])
	p = p[fixed:]
	var n uint64
	for _, to := range []*uint64{
		&b.first, &b.before.floor, &b.before.saved, &b.before.savedAt, &b.before.bytes, &b.cost, &n,
	} {
		v, size := binary.Uvarint(p)
		if size <= 0 {
			return nil, errNotBatch
		}
		*to, p = v, p[size:]
	}
	if b.first == 0 || b.first > math.MaxInt64 || n > maxBatchItems || b.saved && n == 0 ||
		b.before.saved >= b.first || b.before.floor >= b.first {
		return nil, errNotBatch
	}
	b.before.seq = b.first - 1
	b.items = make([][]byte, 0, n)
	for range n {
		v, size := binary.Uvarint(p)
		if size <= 0 || v > uint64(len(p)-size) {
			return nil, errNotBatch
		}
		b.items = append(b.items, p[size:size+int(v):size+int(v)])
		p = p[size+int(v):]
	}
	if len(p) > 0 {
		return nil, errNotBatch
	}
	return b, nil
}
