package client

import (
	"bytes"

	"github.com/wschannels/wschannels/bench/wire"
)

// batch deals with a message of centrifuge's, which may hold several replies.
func (m *member) batch(msg wire.Message) error {
	if msg.Compressed {
		return m.compressedBatch(msg)
	}
	for p := msg.Payload; len(p) > 0; {
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, p = p[:i], p[i+1:]
		} else {
			p = nil
		}
		if len(line) <= 2 { // {} is a ping
			if _, err := m.tcp.Write(wire.AppendMasked(nil, wire.OpText, line)); err != nil {
				return err
			}
			continue
		}
		m.received++
		if m.sampled != nil {
			m.sampled.message(m.received, wire.Message{Op: msg.Op, Payload: line})
		}
	}
	return nil
}

// compressedBatch counts, and looks only into the batch that holds a message to verify.
func (m *member) compressedBatch(msg wire.Message) error {
	n, err := m.lines.lines(msg.Payload)
	if err != nil {
		return err
	}
	before := m.received
	m.received += int64(n)
	if m.sampled == nil || !m.sampled.wants(before, m.received) {
		return nil
	}
	text, err := m.sampled.in.inflate(msg.Payload)
	if err != nil {
		return err
	}
	for _, line := range bytes.Split(text, []byte("\n")) {
		if len(line) > 2 {
			before++
			m.sampled.message(before, wire.Message{Op: msg.Op, Payload: line})
		}
	}
	return nil
}
