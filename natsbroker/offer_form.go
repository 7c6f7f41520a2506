package natsbroker

import (
	"encoding/binary"
	"errors"

	"github.com/wschannels/wschannels"
)

// The binary form of an offer:
//
//	version  1 byte
//	flags    1 byte; batchSaved: they are to be saved
//	epoch    8 bytes
//	after    uvarint
//	group    its token, as the following
//	n        uvarint
//	each     cost, uvarint; its length, uvarint, and as many bytes
//
// and of the answer:
//
//	version  1 byte
//	flags    1 byte; answerShared
//	epoch    8 bytes
//	n        uvarint
//	each     uvarint, its place; 0: not published, and never will be
const (
	offerVersion = 1
	answerShared = 1
)

var errNotOffer = errors.New("wschannels: not an offer, nor an answer to one")

func encodeOffer(token string, base *tail, ops []*op) []byte {
	size := 2 + 8 + 3*binary.MaxVarintLen64 + len(token)
	for _, o := range ops {
		size += 2*binary.MaxVarintLen64 + len(o.data)
	}
	out := append(make([]byte, 0, size), offerVersion, 0)
	if ops[0].save {
		out[1] = batchSaved
	}
	out = append(out, base.epoch[:]...)
	out = binary.AppendUvarint(out, base.at)
	out = append(binary.AppendUvarint(out, uint64(len(token))), token...)
	out = binary.AppendUvarint(out, uint64(len(ops)))
	for _, o := range ops {
		out = binary.AppendUvarint(out, uint64(o.cost))
		out = append(binary.AppendUvarint(out, uint64(len(o.data))), o.data...)
	}
	return out
}

func decodeOffer(p []byte) (token string, f *offer, err error) {
	if len(p) < 10 || p[0] != offerVersion || p[1]&^batchSaved != 0 {
		return "", nil, errNotOffer
	}
	f = new(offer)
	save := p[1] == batchSaved
	r := reader{p: p[10:]}
	copy(f.epoch[:], p[2:])
	f.after = r.uvarint()
	token = string(r.bytes())
	n := r.uvarint()
	for ; n > 0 && !r.bad && len(f.ops) < maxBatchItems; n-- {
		cost := r.uvarint()
		data := r.bytes()
		f.ops = append(f.ops, &op{data: data, cost: int(cost), save: save, offer: f})
		r.bad = r.bad || cost > maxOffer+wschannels.MessageCost || len(data) == 0
	}
	if f.left = len(f.ops); r.bad || n > 0 || f.left == 0 || len(r.p) > 0 {
		return "", nil, errNotOffer
	}
	return token, f, nil
}

// An answer says what has become of an offer.
type answer struct {
	epoch  [8]byte
	shared bool     // it went together with others
	places []uint64 // 0: it was not published, and never will be
}

func (a *answer) encode() []byte {
	out := append(make([]byte, 0, 12+10*len(a.places)), offerVersion, 0)
	if a.shared {
		out[1] = answerShared
	}
	out = append(out, a.epoch[:]...)
	out = binary.AppendUvarint(out, uint64(len(a.places)))
	for _, seq := range a.places {
		out = binary.AppendUvarint(out, seq)
	}
	return out
}

func decodeAnswer(p []byte, n int) (a answer, err error) {
	if len(p) < 10 || p[0] != offerVersion || p[1]&^answerShared != 0 {
		return a, errNotOffer
	}
	a.shared = p[1] == answerShared
	copy(a.epoch[:], p[2:])
	r := reader{p: p[10:]}
	if r.uvarint() != uint64(n) {
		return a, errNotOffer
	}
	for range n {
		a.places = append(a.places, r.uvarint())
	}
	if r.bad || len(r.p) > 0 {
		return a, errNotOffer
	}
	return a, nil
}

// A reader takes numbers and bytes from p.
type reader struct {
	p   []byte
	bad bool // there was no such thing
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 {
		r.bad, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.p)) {
		r.bad, r.p = true, nil
		return nil
	}
	out := r.p[:n:n]
	r.p = r.p[n:]
	return out
}
