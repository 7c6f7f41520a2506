package wschannels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"
)

const (
	// maxControls is how many control frames a peer may send in one second. Pings
	// of browsers and libraries come seconds apart.
	maxControls = 100

	// maxEmpty is how many empty fragments one message may have: each costs work
	// and none adds to a size that could be limited.
	maxEmpty = 100
)

// An inspector follows the frames of a peer as their bytes pass, before the
// library beneath parses them, and stops at the first that RFC 6455 section 5
// forbids or a limit of ours does. The zero value with a limit is ready.
type inspector struct {
	limit   int64 // bytes of one message
	deflate bool  // permessage-deflate was negotiated

	open       bool  // a message has begun and not ended
	compressed bool  // it is
	empty      uint8 // empty fragments of it

	n, need uint8 // bytes of the header that have come, 0 between frames; that it has
	header  [14]byte
	payload int64 // bytes of the frame that are still to come
	size    int64 // payload bytes of the message announced so far, or of the last one

	began    time.Time // when the message, or a lone control frame, began
	second   time.Time // start of the second in which controls are counted
	controls int       // in it; below 0: what piled up before is free
}

// busy reports whether a frame or a message has begun and not ended.
func (in *inspector) busy() bool { return in.n > 0 || in.open }

// scan follows p and returns how much of it is fit to be read, and why the rest
// is not.
func (in *inspector) scan(p []byte) (int, *CloseError) {
	for i := 0; i < len(p); {
		if in.payload > 0 {
			n := min(in.payload, int64(len(p)-i))
			in.payload -= n
			i += int(n)
		} else {
			in.header[in.n] = p[i]
			in.n++
			i++
			if err := in.step(); err != nil {
				return max(0, i-int(in.n)), err
			}
		}
		if in.payload == 0 && in.n == in.need && in.n > 0 {
			in.frameEnds()
		}
	}
	if in.busy() && in.began.IsZero() {
		in.began = time.Now()
	}
	return len(p), nil
}

// pause is told after a message was read: from then on frames may pile up. The time in
// which nothing came allows no more of them.
func (in *inspector) pause(now time.Time) { in.roll(now) }

// roll begins a new second if the last one is over.
func (in *inspector) roll(now time.Time) {
	if now.Sub(in.second) >= time.Second {
		in.second, in.controls = now, 0
	}
}

// resume is told before a message is read. How long that took to come is not the peer's
// doing: a message that has begun gets its whole time, and control frames may have piled
// up.
func (in *inspector) resume(now time.Time) {
	if in.busy() {
		in.began = now
	}
	if pause := now.Sub(in.second); in.second.IsZero() {
		in.second = now
	} else if pause > time.Second {
		in.second, in.controls = now, -maxControls*int(pause/time.Second)
	}
}

// step judges the header as far as it has come.
func (in *inspector) step() *CloseError {
	switch in.n {
	case 1:
		in.need = 2
		return in.firstByte(in.header[0])
	case 2:
		if in.header[1]&bitMask == 0 {
			return violation("unmasked frame") // section 5.1
		}
		in.need = 6
		switch in.header[1] &^ bitMask {
		case 126:
			in.need = 8
		case 127:
			in.need = 14
		}
		if in.header[0]&0x8 != 0 && in.need > 6 {
			return violation("control frame too long") // section 5.5
		}
	case in.need:
		return in.frameBegins()
	}
	return nil
}

func (in *inspector) firstByte(b byte) *CloseError {
	op, fin := b&0xF, b&bitFin != 0
	rsv1 := b&bitRSV1 != 0
	switch {
	case b&0x30 != 0, rsv1 && !(in.deflate && (op == opText || op == opBinary)):
		return violation("reserved bits set") // section 5.2; RFC 7692 section 6
	case op == opText || op == opBinary:
		if in.open {
			return violation("new message inside a message") // section 5.4
		}
		in.compressed, in.size, in.empty = rsv1, 0, 0
	case op == opContinuation:
		if !in.open {
			return violation("continuation of no message")
		}
	case op == opClose || op == opPing || op == opPong:
		if !fin {
			return violation("fragmented control frame") // section 5.5
		}
	default:
		return violation("reserved opcode")
	}
	return nil
}

// frameBegins judges a whole header.
func (in *inspector) frameBegins() *CloseError {
	length := int64(in.header[1] &^ bitMask)
	switch in.need {
	case 8:
		length = int64(binary.BigEndian.Uint16(in.header[2:]))
		if length < 126 {
			return violation("length not minimal") // section 5.2
		}
	case 14:
		u := binary.BigEndian.Uint64(in.header[2:])
		if u > 1<<63-1 {
			return violation("length out of range")
		}
		if u <= 0xFFFF {
			return violation("length not minimal")
		}
		length = int64(u)
	}
	if in.header[0]&0x8 != 0 {
		in.payload = length
		return in.countControl()
	}

	limit := in.limit
	if in.compressed {
		// What it inflates to is limited where it is inflated. No encoder needs
		// twice the size, but empty blocks may inflate to nothing for ever.
		limit = 2*limit + 1024
	}
	if length > limit-in.size { // cannot overflow, unlike a sum
		return tooLarge(in.limit)
	}
	if length == 0 && in.header[0]&bitFin == 0 {
		if in.empty++; in.empty > maxEmpty {
			return flood("too many empty fragments")
		}
	}
	in.open = true
	in.size += length
	in.payload = length
	return nil
}

func (in *inspector) countControl() *CloseError {
	in.roll(time.Now())
	if in.controls++; in.controls > maxControls {
		return flood("too many control frames")
	}
	return nil
}

func (in *inspector) frameEnds() {
	if in.header[0]&0x8 == 0 && in.header[0]&bitFin != 0 {
		in.open = false
	}
	in.n = 0
	if !in.open {
		in.began = time.Time{}
	}
}

func violation(what string) *CloseError {
	return &CloseError{Code: websocket.StatusProtocolError, Reason: what, Err: errors.New(what)}
}

func flood(what string) *CloseError {
	return &CloseError{Code: websocket.StatusPolicyViolation, Reason: what, Err: errors.New(what)}
}

func tooLarge(limit int64) *CloseError {
	return &CloseError{
		Code: websocket.StatusMessageTooBig, Reason: fmt.Sprintf("message over %d bytes", limit), Err: ErrTooLarge,
	}
}
