package wschannels_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wschannels/wschannels"
)

var errChanInvalid = errors.New("a must be above 0")

type (
	chanChecked        struct{ A int } // Validate on the value
	chanCheckedPointer struct{ A int } // Validate on the pointer
	chanCheckPanics    struct{}
)

func (v chanChecked) Validate() error {
	if v.A <= 0 {
		return errChanInvalid
	}
	return nil
}

func (v *chanCheckedPointer) Validate() error {
	v.A *= 10 // a pointer may also normalise
	return chanChecked{v.A}.Validate()
}

func (chanCheckPanics) Validate() error { panic("Validate") }

func chanCheckInvalid[T any](t *testing.T, c *wschannels.Channel, cause error) {
	t.Helper()
	_, err := wschannels.Receive[T](t.Context(), c)
	var bad *wschannels.PayloadError
	if !errors.As(err, &bad) || bad.Op != "validate" || bad.Data == nil || !errors.Is(err, cause) {
		t.Errorf("Receive[%T] = %#v, want a PayloadError of validation, %v", *new(T), err, cause)
	}
}

func TestReceiveValidates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		for range 3 {
			conn.PushJSON(map[string]int{"A": 0})
		}
		chanCheckInvalid[chanChecked](t, c, errChanInvalid)
		chanCheckInvalid[chanCheckedPointer](t, c, errChanInvalid)
		chanCheckInvalid[*chanCheckedPointer](t, c, errChanInvalid)
		for range 4 {
			conn.PushJSON(map[string]int{"A": 1})
		}
		if v, err := wschannels.Receive[chanChecked](t.Context(), c); err != nil || v.A != 1 {
			t.Errorf("Receive = %+v, %v", v, err)
		}
		if v, err := wschannels.Receive[chanCheckedPointer](t.Context(), c); err != nil || v.A != 10 {
			t.Errorf("Receive = %+v, %v; want what Validate of the pointer made of it", v, err)
		}
		if v, err := wschannels.Receive[*chanChecked](t.Context(), c); err != nil || v.A != 1 {
			t.Errorf("Receive = %+v, %v", v, err)
		}
		if v, err := wschannels.Receive[map[string]int](t.Context(), c); err != nil || v["A"] != 1 {
			t.Errorf("Receive = %+v, %v", v, err)
		}
		chanIsOpen(t, c)
	})
}

func TestReceiveRecoversAPanicOfValidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := chanBox(t, nil)
		c, conn := chanOpen(t, nil)
		if err := box.Add(c); err != nil {
			t.Fatal(err)
		}
		conn.PushJSON(map[string]int{})
		_, err := wschannels.Receive[chanCheckPanics](t.Context(), c)
		var bad *wschannels.PayloadError
		var p *wschannels.PanicError
		if !errors.As(err, &bad) || bad.Op != "validate" || !errors.As(err, &p) || p.Value != "Validate" {
			t.Errorf("Receive = %v, want the panic", err)
		}
		chanIsOpen(t, c)
		if s := box.Stats(); s.Panics != 1 || s.Invalid != 1 {
			t.Errorf("Stats: %d panics, %d invalid; want 1, 1", s.Panics, s.Invalid)
		}
	})
}

// A null decodes to a nil pointer, on which a Validate of the value would panic.
func TestReceiveOfNullAsAPointer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, nil)
		conn.PushJSON(nil)
		_, err := wschannels.Receive[*chanChecked](t.Context(), c)
		if err != nil && !errors.As(err, new(*wschannels.PayloadError)) {
			t.Errorf("Receive = %v, want nil or a PayloadError", err)
		}
		chanIsOpen(t, c)
	})
}

// chanUpper is a codec whose traces are seen on both ways.
type chanUpper struct{ broken bool }

func (u chanUpper) Marshal(v any) ([]byte, error) {
	if u.broken {
		panic("Marshal")
	}
	p, err := json.Marshal(v)
	return []byte(strings.ToUpper(string(p))), err
}

func (u chanUpper) Unmarshal(p []byte, v any) error {
	if u.broken {
		panic("Unmarshal")
	}
	return json.Unmarshal([]byte(strings.ToLower(string(p))), v)
}

func TestCodecIsUsedBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{Codec: chanUpper{}})
		if err := c.Send(t.Context(), map[string]string{"k": "v"}); err != nil {
			t.Fatal(err)
		}
		chanWants(t, conn, `{"K":"V"}`)
		for range 3 {
			conn.PushJSON("ABC")
		}
		var viaReceiveJSON, viaDecode string
		if err := c.ReceiveJSON(t.Context(), &viaReceiveJSON); err != nil {
			t.Fatal(err)
		}
		m, err := c.Receive(t.Context())
		if err == nil {
			err = m.Decode(&viaDecode)
		}
		if err != nil {
			t.Fatal(err)
		}
		generic, err := wschannels.Receive[string](t.Context(), c)
		if viaReceiveJSON != "abc" || viaDecode != "abc" || generic != "abc" || err != nil {
			t.Errorf("got %q, %q, %q, %v; want abc of the codec each time", viaReceiveJSON, viaDecode, generic, err)
		}
	})
}

func TestCodecPanicsAreRecovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, conn := chanOpen(t, &wschannels.ChannelOptions{Codec: chanUpper{broken: true}})
		conn.PushJSON(1)
		var v any
		for op, err := range map[string]error{"encode": c.Send(t.Context(), 1), "decode": c.ReceiveJSON(t.Context(), &v)} {
			var bad *wschannels.PayloadError
			if !errors.As(err, &bad) || bad.Op != op || !errors.As(err, new(*wschannels.PanicError)) {
				t.Errorf("%s: %v, want a PayloadError of the panic", op, err)
			}
		}
		chanIsOpen(t, c)
		chanWants(t, conn)
	})
}
