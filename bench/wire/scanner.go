package wire

import (
	"encoding/binary"
	"errors"
)

// A Message is one that a [Scanner] has put together. Payload is only valid until the
// next one.
type Message struct {
	Op         byte
	Compressed bool
	Payload    []byte
}

// A Scanner finds the messages in what a server sends, cut anywhere. It neither copies
// nor looks at what it need not.
type Scanner struct {
	// CountOnly says that messages are only counted. Control frames are handed over
	// nevertheless. It may be changed between messages.
	CountOnly bool

	Counted int64 // by CountOnly
	Plain   int64 // messages that are not compressed, handed over or counted

	head    [10]byte // of the frame whose head is not complete
	headLen int
	inFrame bool
	left    uint64 // bytes of the payload that are still to come
	first   byte   // of the frame
	message byte   // the first byte of the message's first frame
	payload []byte // of the message, as far as it came in other pieces
	control []byte // the same, of a control frame
}

var (
	errMasked = errors.New("a masked frame from the server")
	errHuge   = errors.New("a frame of more than 16 MiB")
)

// Scan goes on with p, and calls take with each message that is complete. It stops
// when take returns an error.
func (s *Scanner) Scan(p []byte, take func(Message) error) error {
	for len(p) > 0 {
		if !s.inFrame {
			// The short way: a whole head, as nearly always.
			if s.headLen == 0 && len(p) >= 4 && p[1] <= 126 {
				s.first = p[0]
				if p[1] < 126 {
					s.left, p = uint64(p[1]), p[2:]
				} else {
					s.left, p = uint64(p[2])<<8|uint64(p[3]), p[4:]
				}
			} else {
				used, complete, err := s.readHead(p)
				if err != nil {
					return err
				}
				p = p[used:]
				if !complete {
					return nil
				}
			}
			s.inFrame = true
			if s.first&0x0f == OpText || s.first&0x0f == OpText+1 {
				s.message = s.first
			}
		}
		if uint64(len(p)) < s.left {
			s.left -= uint64(len(p))
			if s.keeps() {
				s.keep(p)
			}
			return nil
		}
		piece := p[:s.left]
		p = p[s.left:]
		s.inFrame, s.left = false, 0
		if err := s.frameEnds(piece, take); err != nil {
			return err
		}
	}
	return nil
}

func (s *Scanner) isControl() bool { return s.first&0x08 != 0 }

func (s *Scanner) keeps() bool { return !s.CountOnly || s.isControl() }

func (s *Scanner) keep(p []byte) {
	if s.isControl() {
		s.control = append(s.control, p...)
	} else {
		s.payload = append(s.payload, p...)
	}
}

// frameEnds is told the last piece of a frame.
func (s *Scanner) frameEnds(piece []byte, take func(Message) error) error {
	final := s.first&0x80 != 0
	if s.isControl() {
		if len(s.control) > 0 {
			s.control = append(s.control, piece...)
			piece, s.control = s.control, s.control[:0]
		}
		return take(Message{Op: s.first & 0x0f, Payload: piece})
	}
	if final && s.message&0x40 == 0 {
		s.Plain++
	}
	if s.CountOnly {
		if final {
			s.Counted++
		}
		return nil
	}
	if !final || len(s.payload) > 0 {
		s.payload = append(s.payload, piece...)
		if !final {
			return nil
		}
		piece, s.payload = s.payload, s.payload[:0]
	}
	return take(Message{Op: s.message & 0x0f, Compressed: s.message&0x40 != 0, Payload: piece})
}

// readHead is the long way: a head that may be cut, or has eight bytes of length.
func (s *Scanner) readHead(p []byte) (used int, complete bool, err error) {
	for _, c := range p {
		s.head[s.headLen] = c
		s.headLen++
		used++
		if s.headLen < 2 {
			continue
		}
		if s.head[1]&0x80 != 0 {
			return used, false, errMasked
		}
		need := 2
		switch s.head[1] {
		case 126:
			need = 4
		case 127:
			need = 10
		}
		if s.headLen < need {
			continue
		}
		s.first, s.headLen = s.head[0], 0
		switch need {
		case 2:
			s.left = uint64(s.head[1])
		case 4:
			s.left = uint64(binary.BigEndian.Uint16(s.head[2:]))
		default:
			s.left = binary.BigEndian.Uint64(s.head[2:])
		}
		if s.left > 16<<20 {
			return used, false, errHuge
		}
		return used, true, nil
	}
	return used, false, nil
}
