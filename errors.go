package wschannels

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// ErrClosed matches every error returned because a channel or a box is closed.
var ErrClosed = errors.New("wschannels: closed")

// Why a channel was closed: the Err of its [CloseError]. ErrRateLimited and
// ErrUnauthorized also come from single calls that leave the channel open.
var (
	ErrExpired      = errors.New("wschannels: channel expired")
	ErrStale        = errors.New("wschannels: no sign of life from the peer")
	ErrSlowConsumer = errors.New("wschannels: slow consumer")
	ErrRateLimited  = errors.New("wschannels: rate limited")
	ErrUnauthorized = errors.New("wschannels: unauthorized")
)

// What a call asked for and cannot have.
var (
	ErrTooLarge        = errors.New("wschannels: message too large")
	ErrInvalidGroup    = errors.New("wschannels: invalid group name")
	ErrInvalidUser     = errors.New("wschannels: invalid user name")
	ErrTooManyGroups   = errors.New("wschannels: too many groups")
	ErrTooManyChannels = errors.New("wschannels: too many channels")
	ErrNoSuchChannel   = errors.New("wschannels: no such channel")
	ErrDuplicateID     = errors.New("wschannels: duplicate channel ID")
)

// What a [Broker] says of an engine that cannot be reached.
var (
	// ErrUnavailable matches errors of calls that needed the engine: nothing was done.
	ErrUnavailable = errors.New("wschannels: broker unavailable")

	// ErrUnknownOutcome matches errors of calls that the engine was told of and did not
	// answer: what they asked for may have been done, and then as a whole, or not.
	ErrUnknownOutcome = errors.New("wschannels: outcome unknown")

	// ErrNewOrder says, as the cause of a [LostError], that a group's order started anew:
	// the engine lost its data, or went back to what it had some time ago.
	ErrNewOrder = errors.New("wschannels: the order started anew")

	// ErrNobody says that a request had no listener.
	ErrNobody = errors.New("wschannels: nobody listens")
)

// Close codes of this package, from the range that RFC 6455 section 7.4.2 leaves
// to applications.
const (
	StatusStale        websocket.StatusCode = 4000 // heartbeat
	StatusUnauthorized websocket.StatusCode = 4001
	StatusRateLimited  websocket.StatusCode = 4002
	StatusExpired      websocket.StatusCode = 4003 // TTL, MaxLifetime
	StatusSlowConsumer websocket.StatusCode = 4004
)

// CloseError says why a [Channel] ended. It matches [ErrClosed] and, where it has
// one, its cause. [websocket.CloseStatus] understands it too.
//
// A [Handler], a [Middleware] or an event that returns a *CloseError chooses the
// code and the reason that the peer is told.
type CloseError struct {
	// Code is what was sent or received in the close frame; 1005 if the peer's
	// had none, 1006 if there was no close frame (RFC 6455 section 7.1.5).
	Code websocket.StatusCode

	// Reason goes with Code. If Remote, the peer chose it: do not trust it.
	Reason string

	// Remote is true if the peer closed the connection, or it was lost.
	Remote bool

	// Err is the cause beneath, or nil.
	Err error
}

func (e *CloseError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "wschannels: closed: %d", e.Code)
	if e.Remote {
		b.WriteString(" by the peer")
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, " %q", e.Reason)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Is reports whether target is [ErrClosed].
func (e *CloseError) Is(target error) bool { return target == ErrClosed }

// Unwrap returns the cause.
func (e *CloseError) Unwrap() error { return e.Err }

// As lets [websocket.CloseStatus] find the code.
func (e *CloseError) As(target any) bool {
	ce, ok := target.(*websocket.CloseError)
	if ok {
		*ce = websocket.CloseError{Code: e.Code, Reason: e.Reason}
	}
	return ok
}

// normal reports whether the end was an ordinary one: 1000, 1001 or 1005.
func (e *CloseError) normal() bool {
	switch e.Code {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return true
	}
	return false
}

// maxReason is what a close frame has room for beside its code (RFC 6455
// sections 5.5 and 5.5.1).
const maxReason = 123

// cutReason makes s fit for a close frame: valid UTF-8 of at most 123 bytes, cut
// between two runes.
func cutReason(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// sendable reports whether code may stand in a close frame (RFC 6455 section 7.4
// and the IANA registry).
func sendable(code websocket.StatusCode) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	case code >= 3000 && code <= 4999:
		return true
	}
	return false
}

// PayloadError is a payload that could not be encoded, decoded or validated. The
// channel stays usable. It marshals as
//
//	{"error":"Invalid message format","details":"…"}
//
// so that a handler can answer with it; the details name no Go type.
type PayloadError struct {
	Op   string      // "encode", "decode" or "validate"
	Type PayloadType // of the channel, or of the message
	Data []byte      // what was received; nil when encoding. From the peer: untrusted
	Err  error
}

func (e *PayloadError) Error() string {
	return fmt.Sprintf("wschannels: %s %s payload: %v", e.Op, e.Type, e.Err)
}

// Unwrap returns what the codec or the validation said.
func (e *PayloadError) Unwrap() error { return e.Err }

// MarshalJSON writes the answer that a client can be given.
func (e PayloadError) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Error   string `json:"error"`
		Details string `json:"details"`
	}{"Invalid message format", e.details()})
}

func (e *PayloadError) details() string {
	if s, ok := e.summary(); ok {
		return s
	}
	return e.Err.Error()
}

// forLog is Error without what may quote the payload, as texts of decoders and
// validators do.
func (e *PayloadError) forLog() string {
	s, ok := e.summary()
	if !ok {
		s = fmt.Sprintf("%T", e.Err)
	}
	return fmt.Sprintf("wschannels: %s %s payload: %s", e.Op, e.Type, s)
}

// summary says what is wrong in words of ours, which name no Go type and quote
// nothing; false if we do not know.
func (e *PayloadError) summary() (s string, ok bool) {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case e.Err == nil:
		return "", true
	case errors.As(e.Err, new(*PanicError)):
		return e.Op + " failed", true
	case errors.As(e.Err, &syntax):
		return fmt.Sprintf("not JSON: error at byte %d", syntax.Offset), true
	case errors.As(e.Err, &typ):
		kind, _, _ := strings.Cut(typ.Value, " ") // of "number 300"
		if typ.Field != "" {
			return fmt.Sprintf("%s: unexpected %s", typ.Field, kind), true
		}
		return "unexpected " + kind, true
	case errors.Is(e.Err, errNotUTF8), errors.Is(e.Err, errNotJSON), errors.Is(e.Err, errFrameType):
		return e.Err.Error(), true
	}
	return "", false
}

// LostError says that the members of a group on this node missed some of its messages:
// they did not come, and the history did not have them.
type LostError struct {
	Group string
	Epoch string

	// Lost messages have places between From and To, both included. With ErrNewOrder both
	// may be 0, and Lost too: how much of the order that ended did not come is not known.
	From, To uint64
	Lost     uint64

	// Err is why the history was not asked, or could not answer; nil: it does not have
	// them, as most often they were not saved.
	Err error
}

func (e *LostError) Error() string {
	s := fmt.Sprintf("wschannels: group %q ", e.Group)
	switch {
	case e.Lost == 0:
		s += "may have missed messages"
	case e.From == e.To:
		s += fmt.Sprintf("missed message %d", e.From)
	default:
		s += fmt.Sprintf("missed %d messages between %d and %d", e.Lost, e.From, e.To)
	}
	if e.Err != nil {
		s += ": " + strings.TrimPrefix(e.Err.Error(), "wschannels: ")
	}
	return s
}

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

// PanicError is a panic of the application's code that was recovered.
type PanicError struct {
	Value any
	Stack []byte // as of runtime/debug.Stack

	counted uint32 // 1: in some Stats; atomic
}

func (e *PanicError) Error() string { return fmt.Sprintf("wschannels: panic: %q", textOf(e.Value)) }

// Unwrap returns the panic's value if it is an error, unless methods of that panic, too.
func (e *PanicError) Unwrap() error {
	err, ok := e.Value.(error)
	if !ok || !sound(err) {
		return nil
	}
	return err
}
