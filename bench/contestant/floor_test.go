package contestant_test

import (
	"testing"

	"github.com/wschannels/wschannels/bench/contestant"
)

// The floor's parser takes frames however they come: byte by byte, and several at once.
func TestFloorFrames(t *testing.T) {
	s := start(t, contestant.All()[0], modest)
	c := join(t, s, "a")
	for _, b := range masked(0x1, []byte("leave")) {
		if _, err := c.conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	c.expect("left")
	both := append(masked(0x2, make([]byte, 100)), masked(0x1, []byte("leave"))...)
	if _, err := c.conn.Write(append(both, masked(0x8, []byte{0x03, 0xe8})...)); err != nil {
		t.Fatal(err)
	}
	c.expect("left")
	if _, ok := c.receive(); ok || c.closed != 1000 {
		t.Fatalf("closed with %d", c.closed)
	}
}

// A frame that is longer than any the benchmark's clients send ends the connection.
func TestFloorTooLong(t *testing.T) {
	s := start(t, contestant.All()[0], modest)
	c := join(t, s, "a")
	frame := append([]byte{0x81, 0x80 | 126, 0x02, 0x00, 0, 0, 0, 0}, make([]byte, 512)...)
	if _, err := c.conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	if p, ok := c.receive(); ok {
		t.Fatalf("got %q", p)
	}
	s.expectMembers(t, 0)
}
