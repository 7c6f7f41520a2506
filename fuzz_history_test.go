package wschannels_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	. "github.com/wschannels/wschannels"
)

// FuzzHistory compares a History with a slice.
func FuzzHistory(f *testing.F) {
	f.Add(uint16(0), uint8(0), false, []byte{1, 2, 3}, uint32(0))
	f.Add(uint16(274), uint8(0), false, []byte{10, 10}, uint32(0x01)) // one byte too few for both
	f.Add(uint16(275), uint8(0), false, []byte{10, 10}, uint32(0x0100))
	f.Add(uint16(400), uint8(3), false, []byte{10, 200, 10, 10, 255, 1, 1}, uint32(0x0401))
	f.Add(uint16(300), uint8(0), true, []byte{5, 250, 5, 100, 5, 5}, uint32(0x3C0000))
	f.Add(uint16(60_000), uint8(50), true, make([]byte, 300), uint32(0x5A_F0_0A))
	f.Fuzz(func(t *testing.T, size uint16, count uint8, ttl bool, program []byte, query uint32) {
		if len(program) > 1000 {
			t.Skip("longer ones find no more, and take long")
		}
		const cost = 128 // of each message, as documented
		limits := HistoryLimits{Bytes: 1 + int(size), Len: int(count)}
		if ttl {
			limits.TTL = time.Hour
		}
		h, err := NewHistory(&limits)
		if err != nil {
			t.Fatal(err)
		}
		var model []Message
		total := func() (n int) {
			for _, m := range model {
				n += len(m.Data) + cost
			}
			return n
		}
		now := time.Now()
		created := now.Add(-100 * time.Minute)
		for i, b := range program {
			if b%16 == 15 {
				h.Clear()
				model = nil
			}
			if created = created.Add(time.Duration(b%8) * time.Minute); created.After(now) {
				created = now
			}
			m := Message{Seq: uint64(i + 1), Created: created, Data: make([]byte, b)}
			fits := int(b)+cost <= limits.Bytes
			if err := h.Append(m); fits && err != nil || !fits && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("Append of %d bytes: %v, and the limit is %d", b, err, limits.Bytes)
			}
			if fits {
				model = append(model, m)
			}
			for total() > limits.Bytes || limits.Len > 0 && len(model) > limits.Len ||
				ttl && len(model) > 0 && !model[0].Created.After(now.Add(-time.Hour)) {
				model = model[1:]
			}
			if h.Len() != len(model) || h.Bytes() != total() {
				t.Fatalf("Len %d, Bytes %d; want %d, %d", h.Len(), h.Bytes(), len(model), total())
			}
		}
		part := func(i int) int { return int(query >> (8 * i) & 0xFF) } // of query, for one option each
		last, after, since := part(0), &Position{Seq: uint64(part(1))}, now.Add(-time.Duration(part(2))*time.Minute)
		for _, opts := range []*HistoryOptions{
			nil, {}, {Last: last}, {After: after}, {Since: since}, {Last: last, After: after, Since: since},
		} {
			fuzzWantHistory(t, h.Messages(opts), model, opts)
		}
	})
}

func fuzzWantHistory(t *testing.T, got, model []Message, opts *HistoryOptions) {
	t.Helper()
	var want []uint64
	for _, m := range model {
		if opts != nil && (opts.After != nil && m.Seq <= opts.After.Seq || m.Created.Before(opts.Since)) {
			continue
		}
		want = append(want, m.Seq)
	}
	if opts != nil && opts.Last > 0 && len(want) > opts.Last {
		want = want[len(want)-opts.Last:]
	}
	var seqs []uint64
	for _, m := range got {
		seqs = append(seqs, m.Seq)
	}
	if !reflect.DeepEqual(seqs, want) {
		t.Errorf("Messages(%+v): %v, want %v", opts, seqs, want)
	}
}
