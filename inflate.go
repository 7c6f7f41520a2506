package wschannels

import (
	"bytes"
	"compress/flate"
	"io"
	"sync"

	"github.com/coder/websocket"
)

// deflateWindow is how far back compressed data may refer (RFC 7692 section 7.1.2).
const deflateWindow = 32 << 10

// deflateTail is what a sender leaves out (RFC 7692 section 7.2.1), and an empty last
// block for the decoder to end with.
const deflateTail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// inflate undoes permessage-deflate (RFC 7692), up to the limit of a message.
func (r *frameReader) inflate(p []byte) ([]byte, *CloseError) {
	f := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(f)
	_ = f.(flate.Resetter).Reset(io.MultiReader(bytes.NewReader(p), bytes.NewReader([]byte(deflateTail))), r.window)
	out, err := io.ReadAll(io.LimitReader(f, r.limits.message+1))
	switch {
	case err != nil:
		return nil, &CloseError{Code: websocket.StatusInvalidFramePayloadData, Reason: "bad compressed data", Err: err}
	case int64(len(out)) > r.limits.message:
		return nil, tooLarge(r.limits.message)
	}
	if r.takeover {
		r.window = append(r.window, out...)
		if over := len(r.window) - deflateWindow; over > 0 {
			r.window = append(make([]byte, 0, deflateWindow), r.window[over:]...)
		}
	}
	return out, nil
}
