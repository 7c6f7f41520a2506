package wschannels

import (
	"context"
	"net/http"
	"strings"
)

// A keptRequest is the request that a channel came from, packed: a channel lives long,
// and a map of headers is among the largest things that it would keep.
type keptRequest struct {
	request http.Request // without header and body
	header  string       // name, 0, value, 0, and so on: neither can hold a 0
}

// keepRequest packs r, whose context becomes ctx.
func keepRequest(ctx context.Context, r *http.Request) *keptRequest {
	k := &keptRequest{request: *r.WithContext(ctx)}
	k.request.Header = nil
	k.request.Body = http.NoBody
	var b strings.Builder
	size := 0
	for name, values := range r.Header {
		if !ofHandshake(name) {
			for _, v := range values {
				size += len(name) + len(v) + 2
			}
		}
	}
	b.Grow(size)
	for name, values := range r.Header {
		if ofHandshake(name) {
			continue
		}
		for _, v := range values {
			b.WriteString(name)
			b.WriteByte(0)
			b.WriteString(v)
			b.WriteByte(0)
		}
	}
	k.header = b.String()
	return k
}

// ofHandshake is whether a header was about the connection and has had its effect.
func ofHandshake(name string) bool {
	switch name {
	case "Connection", "Upgrade", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions":
		return true
	}
	return false
}

// unpack makes a request of its own for the caller.
func (k *keptRequest) unpack() *http.Request {
	r := k.request.WithContext(k.request.Context())
	r.Header = make(http.Header)
	for rest := k.header; rest != ""; {
		var name, value string
		name, rest, _ = strings.Cut(rest, "\x00")
		value, rest, _ = strings.Cut(rest, "\x00")
		r.Header[name] = append(r.Header[name], value)
	}
	return r
}
