package wschannels

import (
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// deflateWindow is how far back compressed data may refer (RFC 7692 section 7.1.2).
const deflateWindow = 32 << 10

// deflateTail is what a sender leaves out (RFC 7692 section 7.2.1), and an empty last
// block for the decoder to end with.
const deflateTail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

var (
	inflaters = sync.Pool{New: func() any { return flate.NewReader(nothing) }}
	nothing   = strings.NewReader("")
)

// inflate undoes permessage-deflate (RFC 7692), up to the limit of a message.
func (r *frameReader) inflate(p []byte) ([]byte, *CloseError) {
	f := inflaters.Get().(io.ReadCloser)
	_ = f.(flate.Resetter).Reset(bytes.NewReader(append(p, deflateTail...)), r.window) // no buffer: it reads bytes
	defer func() {
		_ = f.(flate.Resetter).Reset(nothing, nil) // p is not the pool's to keep
		inflaters.Put(f)
	}()
	out, err := io.ReadAll(io.LimitReader(f, r.limits.message+1))
	switch {
	case err != nil:
		return nil, &CloseError{Code: websocket.StatusInvalidFramePayloadData, Reason: "bad compressed data", Err: err}
	case int64(len(out)) > r.limits.message:
		return nil, tooLarge(r.limits.message)
	}
	if r.takeover {
		r.remember(out)
	}
	return out, nil
}

// remember keeps the last 32 KiB of what the peer may refer to, in one array.
func (r *frameReader) remember(out []byte) {
	out = out[max(0, len(out)-deflateWindow):]
	if over := len(r.window) + len(out) - deflateWindow; over > 0 {
		r.window = r.window[:copy(r.window, r.window[over:])]
	}
	r.window = append(r.window, out...)
}
