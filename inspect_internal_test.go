package wschannels

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/coder/websocket"
)

// refInspect is what the inspector finds, on all bytes at once: how many are fit to
// be read, and the code for the rest, 0 if there is none.
func refInspect(p []byte, limit int64, deflate bool) (fit int, code websocket.StatusCode) {
	open, compressed := false, false
	var size int64
	empty, controls := 0, 0
	for i := 0; i < len(p); {
		b := p[i]
		op, fin, rsv1 := b&15, b>>7 == 1, b>>6&1 == 1
		first, control := op == 1 || op == 2, op >= 8
		switch {
		case b>>4&3 != 0, rsv1 && !(deflate && first), op > 2 && op < 8, op > 10,
			control && !fin, first && open, op == 0 && !open:
			return i, 1002
		}
		if i+1 == len(p) {
			return len(p), 0
		}
		short := int64(p[i+1] & 127)
		if p[i+1]>>7 == 0 || control && short > 125 {
			return i, 1002
		}
		head, length := 6, short
		switch short {
		case 126:
			head = 8
		case 127:
			head = 14
		}
		if i+head > len(p) {
			return len(p), 0
		}
		switch short {
		case 126:
			if length = int64(binary.BigEndian.Uint16(p[i+2:])); length < 126 {
				return i, 1002
			}
		case 127:
			if length = int64(binary.BigEndian.Uint64(p[i+2:])); length < 1<<16 {
				return i, 1002
			}
		}
		if control {
			if controls++; controls > 100 {
				return i, 1008
			}
		} else {
			if first {
				open, compressed, size, empty = true, rsv1, 0, 0
			}
			most := limit
			if compressed {
				most = 2*limit + 1024
			}
			if length > most || size+length > most {
				return i, 1009
			}
			size += length
			if length == 0 && !fin {
				if empty++; empty > 100 {
					return i, 1008
				}
			}
		}
		if i+head+int(length) > len(p) {
			return len(p), 0
		}
		i += head + int(length)
		if fin && !control {
			open = false
		}
	}
	return len(p), 0
}

// inspectInPieces gives p to an inspector in pieces of the sizes that next returns.
func inspectInPieces(in *inspector, p []byte, next func() int) (fit int, code websocket.StatusCode) {
	for fit < len(p) {
		n := min(max(1, next()), len(p)-fit)
		ok, err := in.scan(p[fit : fit+n])
		if err != nil {
			return fit + ok, err.Code
		}
		fit += n
	}
	return fit, 0
}

func inspectFrame(first byte, n int) []byte {
	f := newFrame(websocket.MessageBinary, make([]byte, n))
	f.header[0] = first
	f.header[1] |= bitMask
	b := append(f.header[:f.hlen:f.hlen], 1, 2, 3, 4)
	return append(b, f.payload...)
}

// randomFrames are mostly what the rules allow, for the rest to be reached.
func randomFrames(rnd *rand.Rand) []byte {
	var b []byte
	open := false
	for range 1 + rnd.IntN(8) {
		first := []byte{0x82, 0x81, 0x02, 0x89, 0x8A}[rnd.IntN(5)]
		if open {
			first = []byte{0x00, 0x80, 0x89}[rnd.IntN(3)]
		}
		if rnd.IntN(10) == 0 {
			first ^= 1 << rnd.IntN(8)
		}
		if first&8 == 0 {
			open = first&bitFin == 0
		}
		f := inspectFrame(first, []int{0, 0, 1, 5, 125, 126, 130, 300}[rnd.IntN(8)])
		if rnd.IntN(15) == 0 {
			f[rnd.IntN(min(len(f), 14))] ^= 1 << rnd.IntN(8)
		}
		b = append(b, f...)
	}
	if rnd.IntN(3) == 0 {
		b = b[:rnd.IntN(len(b)+1)]
	}
	return b
}

func TestInspectorAgreesWithTheRulesHoweverBytesCome(t *testing.T) {
	const limit = 400
	rnd := rand.New(rand.NewPCG(1, 2))
	found := map[websocket.StatusCode]int{}
	for range 5000 {
		p, deflate := randomFrames(rnd), rnd.IntN(2) == 0
		want, wantCode := refInspect(p, limit, deflate)
		found[wantCode]++
		for name, next := range map[string]func() int{
			"at once":       func() int { return len(p) },
			"byte by byte":  func() int { return 1 },
			"in any pieces": func() int { return 1 + rnd.IntN(20) },
		} {
			in := inspector{limit: limit, deflate: deflate}
			got, code := inspectInPieces(&in, p, next)
			if code != wantCode || code == 0 && got != want || name == "at once" && got != want {
				t.Fatalf("%s: %d bytes fit, code %d; want %d, %d\n% x", name, got, code, want, wantCode, p)
			}
			if code != 0 && got < want {
				t.Fatalf("%s: %d bytes fit, want at least the %d before the bad frame\n% x", name, got, want, p)
			}
		}
	}
	for _, code := range []websocket.StatusCode{0, 1002, 1009} {
		if found[code] < 100 {
			t.Errorf("code %d was found %d times: the test proves little", code, found[code])
		}
	}
}

func TestInspectorSplitAtEveryByte(t *testing.T) {
	const limit = 1000
	for _, p := range [][]byte{
		bytes.Join([][]byte{inspectFrame(0x82, 5), inspectFrame(0x02, 126), inspectFrame(0x89, 3), inspectFrame(0x80, 0)}, nil),
		append(inspectFrame(0x81, 2), 0x81, 0x00),
		append(inspectFrame(0x02, 900), inspectFrame(0x80, 101)...),
		inspectFrame(0x82, 1000),
		inspectFrame(0x82, 1001),
		{0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		{0x82, 0xFE, 0, 125, 0, 0, 0, 0},
	} {
		want, wantCode := refInspect(p, limit, false)
		for cut := 1; cut < len(p); cut++ {
			sizes := []int{cut, len(p)}
			in := inspector{limit: limit}
			got, code := inspectInPieces(&in, p, func() int { n := sizes[0]; sizes = sizes[1:]; return n })
			if code != wantCode || got < want || got > max(want, cut) {
				t.Errorf("cut at %d: %d bytes fit, code %d; want %d, %d\n%.40x", cut, got, code, want, wantCode, p)
			}
		}
	}
}

// A clock runs exactly while something has begun and not ended.
func TestInspectorKnowsWhenAMessageIsUnderWay(t *testing.T) {
	in := inspector{limit: 1000}
	message := bytes.Join([][]byte{inspectFrame(0x02, 3), inspectFrame(0x89, 2), inspectFrame(0x80, 1)}, nil)
	for round := range 2 {
		for i := range message {
			if in.busy() != (i > 0) || in.began.IsZero() != (i == 0) {
				t.Fatalf("round %d, after %d bytes: busy %v, began %v", round, i, in.busy(), in.began)
			}
			if _, err := in.scan(message[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if in.busy() || !in.began.IsZero() {
			t.Fatalf("round %d, after the last byte: busy %v, began %v", round, in.busy(), in.began)
		}
	}
}
