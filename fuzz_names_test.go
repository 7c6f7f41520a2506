package wschannels_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	. "github.com/wschannels/wschannels"
)

func FuzzGroupName(f *testing.F) {
	for _, s := range []string{"room", "", "Zürich 🙂", "a\x00b", "\x7f", "\u0085", "\xff", "\u2028", " ", strings.Repeat("x", 255), strings.Repeat("x", 256)} {
		f.Add(s)
	}
	box, err := New(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		valid := len(name) >= 1 && len(name) <= 255 && utf8.ValidString(name) && strings.IndexFunc(name, unicode.IsControl) < 0
		g, err := NewGroup(name, nil)
		if valid && (err != nil || g.Name() != name) || !valid && !errors.Is(err, ErrInvalidGroup) {
			t.Errorf("NewGroup(%q): %v, want valid: %v", name, err, valid)
		}
		_, sendErr := box.GroupSend(context.Background(), name, "hello", nil)
		_, groupErr := box.Group(name)
		_, historyErr := box.History(context.Background(), name, nil)
		for what, err := range map[string]error{"GroupSend": sendErr, "Group": groupErr, "History": historyErr} {
			if valid && err != nil || !valid && !errors.Is(err, ErrInvalidGroup) {
				t.Errorf("%s(%q): %v, want valid: %v", what, name, err, valid)
			}
		}
	})
}
