package wschannels_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

func TestPayloadTypeNames(t *testing.T) {
	for pt, name := range map[wschannels.PayloadType]string{
		wschannels.JSON: "json", wschannels.Text: "text", wschannels.Bytes: "bytes",
	} {
		if got := pt.String(); got != name {
			t.Errorf("String() = %q, want %q", got, name)
		}
		if got, err := wschannels.ParsePayloadType(name); got != pt || err != nil {
			t.Errorf("ParsePayloadType(%q) = %v, %v", name, got, err)
		}
		// As in a configuration file.
		in := map[string]wschannels.PayloadType{"type": pt}
		p, err := json.Marshal(in)
		if want := `{"type":"` + name + `"}`; string(p) != want || err != nil {
			t.Errorf("marshalled: %s, %v; want %s", p, err, want)
		}
		var out map[string]wschannels.PayloadType
		if err := json.Unmarshal(p, &out); err != nil || out["type"] != pt {
			t.Errorf("unmarshalled: %v, %v; want %v", out, err, pt)
		}
	}
	if zero := *new(wschannels.PayloadType); zero != wschannels.JSON {
		t.Errorf("the default is %v, want json", zero)
	}
}

func TestPayloadTypesThatAreNone(t *testing.T) {
	for _, name := range []string{"", "JSON", "binary", "json "} {
		if got, err := wschannels.ParsePayloadType(name); err == nil {
			t.Errorf("ParsePayloadType(%q) = %v, want an error", name, got)
		}
		pt := wschannels.Bytes
		if err := pt.UnmarshalText([]byte(name)); err == nil || pt != wschannels.Bytes {
			t.Errorf("UnmarshalText(%q) made it %v, %v; want an error and no change", name, pt, err)
		}
	}
	if _, err := wschannels.PayloadType(3).MarshalText(); err == nil {
		t.Error("MarshalText of an unknown type succeeded")
	}
	if got := wschannels.PayloadType(3).String(); got == "" || got == "json" {
		t.Errorf("String() of an unknown type = %q", got)
	}
}

func TestMessageDecodes(t *testing.T) {
	m := wschannels.Message{Type: wschannels.JSON, Data: []byte(`{"a":1,"b":"x"}`)}
	var v chanWithFields
	if err := m.Decode(&v); err != nil || v != (chanWithFields{1, "x"}) {
		t.Errorf("Decode: %+v, %v", v, err)
	}
	if got := m.Text(); got != `{"a":1,"b":"x"}` {
		t.Errorf("Text() = %q", got)
	}
	if got := (wschannels.Message{}).Text(); got != "" {
		t.Errorf("Text() of no message = %q", got)
	}
}

// Decode is for JSON whatever carried it.
func TestMessageDecodesTextAndBytes(t *testing.T) {
	for _, pt := range []wschannels.PayloadType{wschannels.Text, wschannels.Bytes} {
		var n int
		if err := (wschannels.Message{Type: pt, Data: []byte("7")}).Decode(&n); n != 7 || err != nil {
			t.Errorf("%v: Decode = %d, %v; want 7", pt, n, err)
		}
	}
}

func TestMessageDecodeErrors(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		target     any
	}{
		{"malformed", `{"a":`, new(any)},
		{"trailing data", `1 2`, new(any)},
		{"another shape", `{"a":"x"}`, new(chanWithFields)},
		{"no pointer", `1`, 0},
		{"nested too deeply", strings.Repeat("[", 1_000_000), new(any)},
		{"a target that panics", `1`, new(chanPanicsOnJSON)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := wschannels.Message{Type: wschannels.Text, Data: []byte(tt.data)}.Decode(tt.target)
			var bad *wschannels.PayloadError
			if !errors.As(err, &bad) || bad.Op != "decode" || bad.Type != wschannels.Text || string(bad.Data) != tt.data || bad.Err == nil {
				t.Errorf("Decode = %#v, want a PayloadError of decoding", err)
			}
		})
	}
}

type chanPanicsOnJSON struct{}

func (*chanPanicsOnJSON) UnmarshalJSON([]byte) error { panic("UnmarshalJSON") }

func TestIDsOfMessagesAreUniqueAndRandom(t *testing.T) {
	box, err := wschannels.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Shutdown(t.Context())
	seen := make(map[uuid.UUID]bool)
	ones, zeros := uuid.UUID{}, uuid.UUID{}
	for range 1000 {
		res, err := box.GroupSend(t.Context(), "g", "x", nil)
		if err != nil || seen[res.ID] || res.ID.Version() != 4 || res.ID.Variant() != uuid.RFC4122 {
			t.Fatalf("%v, version %v, variant %v, %v", res.ID, res.ID.Version(), res.ID.Variant(), err)
		}
		seen[res.ID] = true
		for i, b := range res.ID {
			ones[i] |= b
			zeros[i] |= ^b
		}
	}
	for i := range ones { // all bits but those of version and variant are now this, now that
		if fixed := ^(ones[i] & zeros[i]); fixed != map[int]byte{6: 0xf0, 8: 0xc0}[i] {
			t.Errorf("byte %d: bits %08b never change", i, fixed)
		}
	}
}
