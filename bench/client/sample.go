package client

import (
	"bytes"
	"time"

	"github.com/wschannels/wschannels/bench/hist"
	"github.com/wschannels/wschannels/bench/wire"
)

// verifyEvery is which compressed messages of a sampled member are inflated.
const verifyEvery = 64

// A sample is what is known of a member whose messages are looked at.
type sample struct {
	document int // the size of compressed documents, 0: there are none
	now      int64
	latency  hist.Histogram
	wrong    int64 // messages out of order, or not what was sent
	in       inflater
	want     []byte
}

// wants says whether one of the messages after from, up to to, is to be verified.
func (s *sample) wants(from, to int64) bool { return to/verifyEvery > from/verifyEvery }

// message looks at a member's message n.
func (s *sample) message(n int64, msg wire.Message) {
	if s.document > 0 {
		if n%verifyEvery == 0 {
			s.verify(n, msg)
		}
		return
	}
	t, number, ok := wire.ParseHead(msg.Payload)
	if !ok || number != n {
		s.wrong++
	}
	if ok {
		s.latency.Add(time.Duration(s.now - t))
	}
}

func (s *sample) verify(n int64, msg wire.Message) {
	text := msg.Payload
	if msg.Compressed {
		var err error
		if text, err = s.in.inflate(text); err != nil {
			s.wrong++
			return
		}
	}
	t, _, _ := wire.ParseHead(text)
	s.want = wire.AppendDocument(s.want[:0], s.document, t, n)
	if !bytes.Contains(text, s.want) {
		s.wrong++
		return
	}
	s.latency.Add(time.Duration(s.now - t))
}
