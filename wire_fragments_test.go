package wschannels_test

import (
	"bytes"
	"context"
	"runtime"
	"testing"

	. "github.com/wschannels/wschannels"
)

// A message in one-byte fragments costs work in proportion to its frames.
func TestWireManyFragments(t *testing.T) {
	const n = 64 << 10
	got := make(chan []byte, 1)
	box := wireBox(t, &Options{Channel: ChannelOptions{PayloadType: Bytes}, Events: Events{
		OnMessage: func(_ context.Context, _ *Channel, m Message) error { got <- m.Data; return nil },
	}})
	p := wireDial(t, wireServe(t, box, box))
	sent := bytes.Repeat([]byte("abcdefgh"), n/8)
	var frames []byte
	for i, b := range sent {
		first := byte(0)
		if i == 0 {
			first = 2
		}
		if i == n-1 {
			first |= wireFin
		}
		frames = append(frames, wireFrame(first, []byte{b})...)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	written := make(chan error, 1)
	go func() { _, err := p.Write(frames); written <- err }()
	if !bytes.Equal(<-got, sent) {
		t.Error("the message is not what was sent")
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 100*n {
		t.Errorf("%d bytes were allocated for a message of %d", allocated, n)
	}
}
