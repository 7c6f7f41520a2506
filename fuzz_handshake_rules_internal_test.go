package wschannels

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// fuzzHandshakes are handshakes with every part varied, some with frames behind them.
func fuzzHandshakes() (streams []string) {
	parts := []string{
		"GET /chat?room=1 HTTP/1.1", "Host: a.test", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}
	add := func(lines []string) { streams = append(streams, strings.Join(lines, "\r\n")+"\r\n\r\n") }
	add(parts)
	for i, instead := range [][]string{
		{"POST /chat HTTP/1.1", "get /chat HTTP/1.1", "GET /chat HTTP/1.0", "GET http://b.test/chat HTTP/1.1", "GET * HTTP/1.1",
			"OPTIONS * HTTP/1.1", "PRI * HTTP/2.0", "GET /%zz HTTP/1.1", "GET //a%2fb?q=%00#x HTTP/1.1", "GET /chat", ""},
		{"Host:", "X-Host: a.test", "Host: a.test:80", "Host: A.TEST", "Host: a.test\r\nHost: b.test", "Host: a\xff.test", "Host: [::1]:80"},
		{"Upgrade: h2c", "upgrade: h2c, WebSocket", "Upgrade: h2c\r\nUpgrade: websocket", "Upgrade: web\u017Focket", "Upgrade: websocket/13"},
		{"Connection: close", "Connection: keep-alive, Upgrade", "Connection: keep-alive\r\nConnection: upGrade", "Connection: \u00A0Upgrade", "Connection:"},
		{"Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13, 8", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8", "X: y"},
		{"Sec-WebSocket-Key: short", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==", "Sec-WebSocket-Key:",
			"Sec-WebSocket-Key:\tdGhlIHNhbXBsZSBub25jZQ== ", "Sec-WebSocket-Key: \u2003dGhlIHNhbXBsZSBub25jZQ==",
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
	} {
		for _, line := range instead {
			lines := slices.Clone(parts)
			lines[i] = line
			add(lines)
		}
	}
	for _, more := range []string{
		"Origin: http://a.test", "Origin: https://A.test", "Origin: http://b.test", "Origin: null", "Origin:", "Origin: http://a.test:8080",
		"Origin: http://a.test.b.test", "Origin: http://a.test@b.test", "Origin: http://b.test@a.test", "Origin: http://b.test\\@a.test",
		"Origin: http://a.te\u017Ft", "Origin: //a.test", "Origin: a.test", "Origin: http://a.test/#?@b.test", "Origin: http://a.test\r\nOrigin: http://b.test",
		"Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: v1, CHAT, v2", "Sec-WebSocket-Protocol: v1,\r\nSec-WebSocket-Protocol: v2", "Sec-WebSocket-Protocol: ,",
		"Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
		"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8, permessage-deflate; client_no_context_takeover",
		"Sec-WebSocket-Extensions: x-webkit-deflate-frame", "Sec-WebSocket-Extensions: permessage-deflate; x=\"a,b;c\"",
		"Content-Length: 6", "Content-Length: -1", "Transfer-Encoding: chunked", "Expect: 100-continue", "Expect: x", "X: \x00", "X Y: z", ": z",
		"Cookie: a=b\r\nX-A: \xff\r\nX-A:\r\nX-A: 2", " folded: x", "Connection: close", "Trailer: X",
	} {
		add(append(slices.Clone(parts), more))
	}
	add(append(slices.Clone(parts)[:1], slices.Concat([]string{"Host:", "Origin: null"}, parts[2:])...))
	return streams
}

var (
	refKey    = regexp.MustCompile(`^[A-Za-z0-9+/]{22}==$`) // base64 of 16 bytes
	refOrigin = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#]*@)?([^/?#@]*)([/?#].*)?$`)
	notASCII  = regexp.MustCompile(`[^\x00-\x7F]`)
)

// refHandshake returns the statuses with which RFC 6455 section 4.2 has a request
// answered by a server that takes pages of its own host only: 101, or some of which any
// will do.
func refHandshake(r *http.Request) (statuses []int) {
	refuse := func(with int, when bool) {
		if when && !slices.Contains(statuses, with) {
			statuses = append(statuses, with)
		}
	}
	version, key, origin := r.Header["Sec-Websocket-Version"], r.Header["Sec-Websocket-Key"], r.Header["Origin"]
	refuse(405, r.Method != "GET")
	refuse(426, r.ProtoMajor < 1 || r.ProtoMajor == 1 && r.ProtoMinor < 1)
	upgrade, connection := r.Header["Upgrade"], r.Header["Connection"]
	refuse(400, notASCII.MatchString(strings.Join(slices.Concat(upgrade, connection), "")))
	refuse(426, !slices.Contains(refTokens(upgrade), "websocket"))
	refuse(426, !slices.Contains(refTokens(connection), "upgrade"))
	refuse(400, len(version) != 1 || version[0] != "13")
	refuse(400, len(key) != 1 || !refKey.MatchString(key[0]))
	refuse(400, len(origin) > 1)
	refuse(400, r.ContentLength != 0)
	exact := true
	if len(origin) > 0 && origin[0] != "" {
		refuse(400, r.Host == "" || notASCII.MatchString(origin[0]))
		parts := refOrigin.FindStringSubmatch(origin[0])
		if parts == nil || asciiLower(parts[3]) != asciiLower(r.Host) {
			refuse(403, true)
		} else {
			exact = parts[1] != "" && parts[2] == "" && parts[4] == ""
		}
	}
	switch {
	case len(statuses) > 0:
		return statuses
	case !exact:
		return []int{101, 403} // no browser sends it
	}
	return []int{101}
}

// onlyVersionIsWrong is whether r would be accepted if it had the right version.
func onlyVersionIsWrong(r *http.Request) bool {
	versions := r.Header["Sec-Websocket-Version"]
	if len(versions) > 1 || len(versions) == 1 && versions[0] == "13" {
		return false
	}
	right := r.Clone(r.Context())
	right.Header.Set("Sec-WebSocket-Version", "13")
	return slices.Contains(refHandshake(right), 101)
}

// refTokens are the elements of a header that is a list, in lower case.
func refTokens(header []string) (tokens []string) {
	for _, t := range strings.Split(strings.Join(header, ","), ",") {
		tokens = append(tokens, asciiLower(strings.Trim(t, " \t")))
	}
	return tokens
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
