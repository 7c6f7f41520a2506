package wschannels

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"io"
	"sync"

	"github.com/coder/websocket"
)

// Outgoing permessage-deflate (RFC 7692). Each message is compressed by itself: context
// takeover (section 7.1.1) permits references to earlier messages, and demands none. So
// one compression serves every member of a group, and a connection keeps no compressor.

// emptyBlock ends what a flush writes. Section 7.2.1 leaves it out at a message's end.
const emptyBlock = "\x00\x00\xff\xff"

var deflaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(io.Discard, flate.BestSpeed) // no other level is as cheap to reset
	return w
}}

// deflate returns p compressed, emptyBlock included, or nil if that is not shorter.
func deflate(p []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(p)/2 + 64)
	w := deflaters.Get().(*flate.Writer)
	w.Reset(&out)
	_, _ = w.Write(p) // a buffer takes everything
	_ = w.Flush()
	w.Reset(io.Discard) // out is not the pool's to keep
	deflaters.Put(w)
	if out.Len()-len(emptyBlock) >= len(p) {
		return nil
	}
	return out.Bytes()
}

// appendStored appends p, of at most 65,535 bytes, as a block that is not compressed
// (RFC 1951 section 3.2.4).
func appendStored(b, p []byte) []byte {
	b = append(b, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(p)))
	b = binary.LittleEndian.AppendUint16(b, ^uint16(len(p)))
	return append(b, p...)
}

// deflateFrom is the size from which messages are compressed: what o says, or what
// [websocket.AcceptOptions] promises. 0: none is.
func deflateFrom(o *websocket.AcceptOptions) int {
	switch o.CompressionMode {
	case websocket.CompressionContextTakeover:
		return cmp.Or(max(0, o.CompressionThreshold), 128)
	case websocket.CompressionNoContextTakeover:
		return cmp.Or(max(0, o.CompressionThreshold), 512)
	}
	return 0
}
