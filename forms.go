package wschannels

import (
	"encoding"
	"fmt"
	"unicode/utf8"
)

// A shape is how a channel's payloads are framed: a payload type, and from payloadTypes
// on the same in an envelope.
type shape uint8

const shapes = 2 * payloadTypes

func (s shape) payloadType() PayloadType { return PayloadType(s % payloadTypes) }
func (s shape) inEnvelope() bool         { return s >= payloadTypes }

func (c *Channel) shape() shape {
	s := shape(c.opts.PayloadType)
	if c.opts.Envelope {
		s += payloadTypes
	}
	return s
}

// present counts channels that a message is for.
type present struct {
	types    [payloadTypes]int32
	deflated [shapes]int32 // of those that can be sent compressed messages

	envelopes int32 // channels in Envelope mode
}

// add counts c n times more.
func (p *present) add(c *Channel, n int32) {
	p.types[c.opts.PayloadType] += n
	if c.opts.Envelope {
		p.envelopes += n
	}
	if c.deflateFrom > 0 {
		p.deflated[c.shape()] += n
	}
}

// forms are one message's payload as channels need it. What can be made without the
// application's code, and fast, is left to the framer.
type forms struct {
	plain    [payloadTypes][]byte
	deflated *[shapes]deflated // nil: none is
}

// deflated is a payload, or in an envelope's shape the data of one, as deflate returns it.
type deflated struct {
	data  []byte
	plain int // bytes before
}

// prepare encodes payload, of which m is the canonical form, for the channels that are
// present, so that an error is one before anything is sent, and compresses it if it has
// at least from bytes, not 0.
func prepare(codec Codec, payload any, m Message, to *present, from int) (f forms, err error) {
	_, stringer := payload.(fmt.Stringer)
	_, marshaler := payload.(encoding.BinaryMarshaler)
	for i, n := range to.types {
		t := PayloadType(i)
		switch {
		case n == 0 || t == m.Type:
		case t == Text && stringer, t == Bytes && marshaler, codec != nil:
			if f.plain[t], err = encode(codec, t, payload); err != nil {
				return f, err
			}
		case t == Text && m.Type == Bytes && !utf8.Valid(m.Data):
			return f, &PayloadError{Op: "encode", Type: Text, Err: errNotUTF8}
		}
	}
	if from > 0 {
		f.compress(m, to, from)
	}
	return f, nil
}

// compress makes the compressed forms of m that to needs. It takes its time, and so is
// not for under a room's lock.
func (f *forms) compress(m Message, to *present, from int) {
	for i, n := range to.deflated {
		s := shape(i)
		if n == 0 {
			continue
		}
		p, err := f.payload(m, s.payloadType())
		if err != nil {
			continue // the framer will find out
		}
		if s.inEnvelope() {
			p = enveloped(s.payloadType(), p)
		}
		if len(p) < from {
			continue
		}
		if d := deflate(p); d != nil {
			if f.deflated == nil {
				f.deflated = new([shapes]deflated)
			}
			f.deflated[s] = deflated{d, len(p)}
		}
	}
}

// payload returns m as a channel of type t gets it.
func (f *forms) payload(m Message, t PayloadType) ([]byte, error) {
	if p := f.plain[t]; p != nil {
		return p, nil
	}
	return carry(m, t)
}

// A framer makes the frames of one message: one for each shape, plain and compressed,
// when the first channel needs it.
type framer struct {
	m        Message
	forms    forms
	place    place
	mail     *mail
	frames   [2 * shapes]*frame
	unusable [payloadTypes]bool
}

// frame returns m as c gets it, nil if c's type cannot carry it.
func (f *framer) frame(c *Channel) *frame {
	s := c.shape()
	i := int(s)
	compressed := c.deflateFrom > 0 && f.forms.deflated != nil && f.forms.deflated[s].data != nil
	if compressed {
		i += shapes
	}
	if f.frames[i] != nil || f.unusable[s.payloadType()] {
		return f.frames[i]
	}
	if compressed {
		f.frames[i] = f.compressed(s)
	} else {
		f.frames[i] = f.plain(s)
	}
	if f.frames[i] == nil {
		f.unusable[s.payloadType()] = true
		return nil
	}
	f.frames[i].mail = f.mail
	return f.frames[i]
}

func (f *framer) plain(s shape) *frame {
	p, err := f.forms.payload(f.m, s.payloadType())
	if err != nil {
		return nil
	}
	if s.inEnvelope() {
		p = envelope(f.place, f.m.ID, enveloped(s.payloadType(), p))
	}
	return newFrame(s.payloadType().frameType(), p)
}

func (f *framer) compressed(s shape) *frame {
	d := f.forms.deflated[s]
	p, plain := d.data[:len(d.data)-len(emptyBlock)], d.plain
	if s.inEnvelope() {
		var head int
		p, head = envelopeDeflated(f.place, f.m.ID, d.data)
		plain += head
	}
	return newDeflated(s.payloadType().frameType(), p, plain)
}
