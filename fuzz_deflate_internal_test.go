package wschannels

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/uuid"
)

// What is compressed, also inside an envelope, inflates to what it was.
func FuzzDeflate(f *testing.F) {
	f.Add([]byte("hello hello hello hello hello hello"), uint64(1))
	f.Add(bytes.Repeat([]byte{0}, 70_000), uint64(0))
	f.Add([]byte(fuzzDeflate("hello hello")), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, data []byte, seq uint64) {
		d := deflate(data)
		if d == nil {
			return
		}
		r := frameReader{limits: &ChannelOptions{ReadLimit: 1 << 20}}
		got, err := r.inflate(slices.Clone(d[:len(d)-len(emptyBlock)]))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes became %d, %v", len(data), len(got), err)
		}
		at := place{prefix: placePrefix("group", "epoch"), seq: seq}
		if seq == 0 {
			at = place{}
		}
		id := uuid.New()
		want := envelope(at, id, data)
		packed, head := envelopeDeflated(at, id, d)
		got, err = r.inflate(packed)
		if err != nil || !bytes.Equal(got, want) || head+len(data) != len(want) {
			t.Fatalf("the envelope became %d bytes of %d, %v", len(got), len(want), err)
		}
	})
}
