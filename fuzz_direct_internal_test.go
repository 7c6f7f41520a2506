package wschannels

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// FuzzDirect reads anything as a request and as an answer: nothing panics, what is read
// can be sent on, and is what was written.
func FuzzDirect(f *testing.F) {
	for _, r := range []request{
		{kind: ring, from: tag{1, 2, 3}},
		{kind: toChannel, id: uuid.New(), wait: time.Second, Type: Text, data: []byte("hello")},
		{kind: toUser, id: uuid.New(), at: time.Now(), Type: JSON, data: []byte(`{"a":1}`)},
		{kind: toUser, id: uuid.New(), at: time.Now(), Type: Bytes, data: nil},
		{kind: toUser, id: uuid.New(), at: time.Now(), Type: Text, data: []byte("\xff")}, // not UTF-8
	} {
		f.Add(r.marshal())
	}
	for _, err := range []error{
		nil, ErrNoSuchChannel, ErrTooLarge, ErrUnauthorized, errNoRoom, errTooBusy, errors.New("other"),
		&PayloadError{Op: "encode", Type: Text, Err: errNotUTF8},
		&CloseError{Code: websocket.StatusGoingAway, Reason: "bye", Remote: true},
	} {
		f.Add(answerOf(err).marshal())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseRequest(b); err == nil {
			if !bytes.Equal(r.marshal(), b) {
				t.Errorf("%q is read as %+v, which is written as %q", b, r, r.marshal())
			}
			if r.kind != ring {
				if m := (Message{Type: r.Type, Data: r.data}); m.check() != nil || r.wait < 0 {
					t.Errorf("%q is read as %+v", b, r)
				}
			}
		} else if r != nil || err != errNotRequest {
			t.Errorf("%q: %+v, %v", b, r, err)
		}
		a, err := parseAnswer(b)
		if err != nil {
			return
		}
		if !bytes.Equal(a.marshal(), b) {
			t.Errorf("%q is read as %+v", b, a)
		}
		if err := a.err(); err != nil {
			if len(err.Error()) > 8*maxDetail {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if again := answerOf(err); again.err() == nil {
				t.Errorf("%v does not come through a second time", err)
			}
		}
	})
}

// What a node says of a send is what the sender gets.
func TestErrorsComeThroughAnAnswer(t *testing.T) {
	for _, err := range []error{nil, ErrNoSuchChannel, ErrUnauthorized, errNoRoom, errTooBusy} {
		if got := answerOf(err).err(); got != err {
			t.Errorf("%v came as %v", err, got)
		}
	}
	var end *CloseError
	closed := &CloseError{Code: 4321, Reason: "why", Remote: true}
	if got := answerOf(closed).err(); !errors.Is(got, ErrClosed) || !errors.As(got, &end) || *end != *closed {
		t.Errorf("%v came as %v", closed, got)
	}
	for cause, known := range map[error]bool{
		errNotUTF8: true, errNotJSON: true, errEnvelopeBytes: true, errors.New(errNotJSON.Error()): false, errors.New("mine"): false,
	} {
		var bad *PayloadError
		payload := &PayloadError{Op: "encode", Type: Text, Err: cause}
		if got := answerOf(payload).err(); !errors.As(got, &bad) || got.Error() != payload.Error() || bad.Type != Text || (bad.Err == cause) != known {
			t.Errorf("%v came as %v", payload, got)
		}
	}
	later := answer{code: answerPayload, detail: append([]byte{byte(Text), 200}, "news"...)}
	if got := later.err(); !strings.Contains(got.Error(), "news") {
		t.Errorf("a cause of a later version came as %v", got)
	}
	other := errors.New("something else")
	if got := answerOf(other).err(); got.Error() != other.Error() {
		t.Errorf("%v came as %v", other, got)
	}
}

// Well-formed, and at the address of something else.
func TestARequestAtTheWrongAddressIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, err := NewMemoryBroker(nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(&Options{Broker: memory})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Shutdown(t.Context())
		for _, r := range []struct {
			kind    requestKind
			address string
		}{{toChannel, userAddress("ann")}, {toUser, b.direct.tag.address()}, {ring, channelAddress(uuid.New())}, {ring, userAddress("a\nb")}} {
			before := b.Stats().BrokerErrors
			data := (&request{kind: r.kind, Type: Text}).marshal()
			b.direct.Hear(r.address, data, func(a []byte) { t.Errorf("kind %d at %q: answer %q", r.kind, r.address, a) })
			time.Sleep(time.Second)
			if n := b.Stats().BrokerErrors - before; n != 1 {
				t.Errorf("kind %d at %q: reported %d times", r.kind, r.address, n)
			}
		}
	})
}

// A channel's ID of a box is as random as it can be beside the tag.
func TestATagLeavesTheRestOfAnID(t *testing.T) {
	for range 1000 {
		id, mark := uuid.New(), tag{1, 2, 3, 4, 5, 6}
		got := mark.mark(id)
		if of, ok := tagOf(got); !ok || of != mark || got.Variant() != uuid.RFC4122 || !bytes.Equal(got[7:], id[7:]) || got[6]&0x0F != id[6]&0x0F {
			t.Fatalf("%v became %v", id, got)
		}
	}
}
