package wschannels

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unique"
)

// A keptRequest is the request that a channel came from, packed: a channel lives long,
// and a map of headers is among the largest things that it would keep.
type keptRequest struct {
	request http.Request // without header and body
	plain   bool         // URL is RequestURI parsed, and left out

	// Headers as name, 0, value, 0, and so on: neither can hold a 0. Those that all
	// browsers of one version send alike are kept once for all channels.
	header string
	common unique.Handle[string]
}

// commonHeaders are those that say what a browser is, and not who uses it.
var commonHeaders = []string{
	"Accept-Encoding", "Accept-Language", "Cache-Control", "Pragma", "User-Agent",
	"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Websocket-Protocol",
}

// keepRequest packs r, whose context becomes ctx.
func keepRequest(ctx context.Context, r *http.Request) *keptRequest {
	k := &keptRequest{request: *r.WithContext(ctx), plain: plainPath(r)}
	k.request.Header = nil
	k.request.Body = http.NoBody
	if k.plain {
		k.request.URL = nil
	}
	var buf [1024]byte
	b := buf[:0]
	for _, name := range commonHeaders {
		b = appendHeader(b, name, r.Header[name])
	}
	k.common = unique.Make(string(b))
	b = b[:0]
	for name, values := range r.Header {
		if !ofHandshake(name) && !slices.Contains(commonHeaders, name) {
			b = appendHeader(b, name, values)
		}
	}
	k.header = string(b)
	return k
}

func appendHeader(b []byte, name string, values []string) []byte {
	for _, v := range values {
		b = append(append(b, name...), 0)
		b = append(append(b, v...), 0)
	}
	return b
}

// plainPath reports whether r's URL is nothing but what RequestURI says: nothing on its
// way has changed it.
func plainPath(r *http.Request) bool {
	u := r.URL
	if u == nil || u.Scheme != "" || u.Opaque != "" || u.User != nil || u.Host != "" || u.RawPath != "" ||
		u.OmitHost || u.ForceQuery || u.Fragment != "" || u.RawFragment != "" {
		return false
	}
	path, query, asked := strings.Cut(r.RequestURI, "?")
	return path == u.Path && query == u.RawQuery && asked == (query != "") &&
		strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && !strings.Contains(path, "%")
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
	r := k.request.Clone(k.request.Context())
	if k.plain {
		r.URL, _ = url.ParseRequestURI(r.RequestURI) // as net/http has done
	}
	all := k.common.Value() + k.header
	n := (strings.Count(all, "\x00") + 1) / 2 // the application may have put one in a value
	r.Header = make(http.Header, n)
	values := make([]string, n)
	for rest := all; rest != ""; values = values[1:] {
		var name string
		name, rest, _ = strings.Cut(rest, "\x00")
		values[0], rest, _ = strings.Cut(rest, "\x00")
		if more := r.Header[name]; more != nil {
			r.Header[name] = append(more, values[0])
		} else {
			r.Header[name] = values[:1:1]
		}
	}
	return r
}
