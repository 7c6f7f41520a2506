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
	_ = f.(flate.Resetter).Reset(bytes.NewReader(append(p, deflateTail...)), r.context.before()) // no buffer: it reads bytes
	defer func() {
		_ = f.(flate.Resetter).Reset(nothing, nil) // p is not the pool's to keep
		inflaters.Put(f)
	}()
	out, err := io.ReadAll(io.LimitReader(f, r.limits.ReadLimit+1))
	switch {
	case err != nil:
		return nil, &CloseError{Code: websocket.StatusInvalidFramePayloadData, Reason: "bad compressed data", Err: err}
	case int64(len(out)) > r.limits.ReadLimit:
		return nil, tooLarge(r.limits.ReadLimit)
	}
	if r.context != nil {
		r.context.remember(out)
	}
	return out, nil
}

// A deflateContext is what compressed messages may refer to: the end of those before.
type deflateContext struct{ window []byte }

func (c *deflateContext) before() []byte {
	if c == nil {
		return nil
	}
	return c.window
}

// remember keeps the last 32 KiB, in one array.
func (c *deflateContext) remember(out []byte) {
	out = out[max(0, len(out)-deflateWindow):]
	if over := len(c.window) + len(out) - deflateWindow; over > 0 {
		c.window = c.window[:copy(c.window, c.window[over:])]
	}
	c.window = append(c.window, out...)
}
