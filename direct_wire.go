package wschannels

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// What boxes ask each other, in binary:
//
//	version  1 byte
//	kind     1 byte
//	from     6 bytes, the tag of the box that asks
//	id       16 bytes: the channel's, or the message's to a user; a ring has none
//	when     8 bytes, big-endian: to a channel, for how many nanoseconds to wait for room;
//	         to a user, when it was sent, in nanoseconds since 1970; a ring has none
//	type     1 byte, a PayloadType; a ring has none
//	data     the rest
//
// and what they answer:
//
//	version  1 byte
//	code     1 byte
//	from     6 bytes, the tag of the box that answers
//	detail   the rest, as the code says
//
// Nodes of one cluster may be of different versions of this package: a form, once
// released, is read by all later ones.
const (
	directVersion = 1
	directHead    = 2 + tagLen
	directFixed   = directHead + 16 + 8 + 1
	maxDetail     = 1 << 10 // bytes of text in an answer
)

type requestKind byte

const (
	toChannel requestKind = iota + 1
	toUser
	ring // there is mail for a user
)

// A request is what one box asks of others.
type request struct {
	kind requestKind
	from tag
	id   uuid.UUID
	wait time.Duration // toChannel
	at   time.Time     // toUser
	Type PayloadType
	data []byte
}

var (
	errNotRequest = errors.New("wschannels: received something that is no request of a box")
	errNotAnswer  = fmt.Errorf("%w: the answer is not that of a box", ErrUnknownOutcome)
)

func (r *request) marshal() []byte {
	b := append(make([]byte, 0, directFixed+len(r.data)), directVersion, byte(r.kind))
	b = append(b, r.from[:]...)
	if r.kind == ring {
		return b
	}
	b = append(b, r.id[:]...)
	if r.kind == toUser {
		b = appendTime(b, r.at)
	} else {
		b = binary.BigEndian.AppendUint64(b, uint64(r.wait))
	}
	return append(append(b, byte(r.Type)), r.data...)
}

// parseRequest reads what marshal wrote. data stays part of the request.
func parseRequest(b []byte) (*request, error) {
	if len(b) < directHead || b[0] != directVersion {
		return nil, errNotRequest
	}
	r := &request{kind: requestKind(b[1]), from: tag(b[2:directHead])}
	switch {
	case r.kind == ring && len(b) == directHead:
		return r, nil
	case r.kind != toChannel && r.kind != toUser, len(b) < directFixed:
		return nil, errNotRequest
	}
	b = b[directHead:]
	r.id = uuid.UUID(b[:16])
	if r.kind == toUser {
		r.at = parseTime(b[16:24])
	} else {
		r.wait = time.Duration(binary.BigEndian.Uint64(b[16:24]))
	}
	r.Type, r.data = PayloadType(b[24]), b[25:len(b):len(b)]
	if r.wait < 0 || (Message{Type: r.Type, Data: r.data}).check() != nil {
		return nil, errNotRequest
	}
	return r, nil
}

type answerCode byte

const (
	answerTook         answerCode = iota + 1
	answerNobody                  // no such channel, or none of the user
	answerNoRoom                  // until the time was up
	answerBusy                    // too many wait for room
	answerUnauthorized            // the channel has yet to authenticate
	answerTooLarge                // for the queue: what Error says
	answerPayload                 // a PayloadType, the cause's place in payloadCauses or 0, and its text
	answerClosed                  // the code in two bytes, 1 if by the peer, and the reason
	answerOther                   // what Error says
)

// payloadCauses are what PayloadErrors of sends have beneath. Their places are on the wire:
// others go behind.
var payloadCauses = []error{1: errNotUTF8, errNotJSON, errEnvelopeBytes}

// An answer is what a box says of a request.
type answer struct {
	code   answerCode
	from   tag
	detail []byte
}

func (a answer) marshal() []byte {
	b := append(make([]byte, 0, directHead+len(a.detail)), directVersion, byte(a.code))
	return append(append(b, a.from[:]...), a.detail...)
}

// parseAnswer reads what marshal wrote. detail stays part of b.
func parseAnswer(b []byte) (answer, error) {
	if len(b) < directHead || b[0] != directVersion || b[1] == 0 {
		return answer{}, errNotAnswer
	}
	return answer{code: answerCode(b[1]), from: tag(b[2:directHead]), detail: b[directHead:]}, nil
}

// answerOf is what tells the sender of err, which came of a send to a channel.
func answerOf(err error) answer {
	var bad *PayloadError
	var end *CloseError
	switch {
	case err == nil:
		return answer{code: answerTook}
	case err == ErrNoSuchChannel:
		return answer{code: answerNobody}
	case err == errNoRoom:
		return answer{code: answerNoRoom}
	case err == errTooBusy:
		return answer{code: answerBusy}
	case errors.As(err, &bad):
		cause := max(0, slices.Index(payloadCauses, bad.Err))
		return answer{code: answerPayload, detail: append([]byte{byte(bad.Type), byte(cause)}, cutDetail(bad.Err.Error())...)}
	case errors.As(err, &end):
		detail := binary.BigEndian.AppendUint16(nil, uint16(end.Code))
		if end.Remote {
			detail = append(detail, 1)
		} else {
			detail = append(detail, 0)
		}
		return answer{code: answerClosed, detail: append(detail, cutDetail(end.Reason)...)}
	case errors.Is(err, ErrTooLarge):
		return answer{code: answerTooLarge, detail: cutDetail(err.Error())}
	case errors.Is(err, ErrUnauthorized):
		return answer{code: answerUnauthorized}
	}
	return answer{code: answerOther, detail: cutDetail(err.Error())}
}

func cutDetail(s string) []byte { return []byte(s[:min(len(s), maxDetail)]) }

// Errors of answers that a local send does not have.
var (
	errNoRoom  = errors.New("no room in the channel's queue") // the sender tries again
	errTooBusy = fmt.Errorf("%w: too many sends to channels of that node wait for room", ErrUnavailable)
)

// err is what answerOf was given, as far as that can be told.
func (a answer) err() error {
	switch a.code {
	case answerTook:
		return nil
	case answerNobody:
		return ErrNoSuchChannel
	case answerNoRoom:
		return errNoRoom
	case answerBusy:
		return errTooBusy
	case answerUnauthorized:
		return ErrUnauthorized
	case answerTooLarge:
		return &remoteError{kind: ErrTooLarge, text: a.text(0)}
	case answerPayload:
		if len(a.detail) < 2 || !PayloadType(a.detail[0]).valid() {
			return errNotAnswer
		}
		cause := error(&remoteError{text: a.text(2)})
		if n := int(a.detail[1]); n > 0 && n < len(payloadCauses) { // else of a later version
			cause = payloadCauses[n]
		}
		return &PayloadError{Op: "encode", Type: PayloadType(a.detail[0]), Err: cause}
	case answerClosed:
		if len(a.detail) < 3 {
			return errNotAnswer
		}
		code := websocket.StatusCode(binary.BigEndian.Uint16(a.detail))
		return &CloseError{Code: code, Reason: cutReason(a.text(3)), Remote: a.detail[2] == 1}
	case answerOther:
		return &remoteError{text: a.text(0)}
	}
	return errNotAnswer
}

// text is the text in a.detail from byte n on.
func (a answer) text(n int) string {
	p := a.detail[n:]
	p = p[:min(len(p), maxDetail)]
	if !utf8.Valid(p) {
		return fmt.Sprintf("%q", p)
	}
	return string(p)
}

// A remoteError is one that another box had.
type remoteError struct {
	kind error // or nil
	text string
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }
