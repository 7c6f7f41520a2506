package wschannels

import (
	"testing"

	"github.com/google/uuid"
)

// The last ones are known, as many as may be, those that were forgotten aside.
func TestRecentKnowsTheLastMessages(t *testing.T) {
	var r recent
	first := uuid.New()
	more := func(n int) {
		for range n {
			if !r.add(uuid.New()) {
				t.Fatal("a new one was known")
			}
		}
	}
	if !r.add(first) || r.add(first) {
		t.Error("it is new once")
	}
	r.forget(uuid.New())
	r.forget(first)
	if r.has(first) {
		t.Error("it was forgotten, and is known")
	}
	more(1)
	if !r.add(first) { // it has come back
		t.Error("it was forgotten, and is not new")
	}
	more(maxRecent - 1)
	if !r.has(first) {
		t.Error("one of the last is not known")
	}
	more(1)
	if r.has(first) || len(r.ids) != maxRecent {
		t.Errorf("an older one is known; %d are remembered, want %d", len(r.ids), maxRecent)
	}
}
