// Package wire has what clients and servers put on the wire: payloads that say when
// they were sent, and frames.
package wire

import (
	"bytes"
	"strconv"
	"strings"
)

// The head of a payload is {"t":T,"n":N with T in 19 digits: when it was sent, in Unix
// nanoseconds. N is which message of its group it is, from 1 on.
const (
	head      = `{"t":`
	digits    = 19
	middle    = `,"n":`
	afterTime = len(head) + digits + len(middle)
)

// MinPayload is the shortest payload that can be made for every number.
const MinPayload = afterTime + digits + len(`,"p":""}`)

// Head is how much of a payload there must be for ParseHead.
const Head = afterTime + digits + 1

var padding = strings.Repeat("x", 64<<10)

// AppendPayload appends a payload of exactly size bytes, at least [MinPayload].
func AppendPayload(p []byte, size int, t, n int64) []byte {
	end := len(p) + size
	p = appendHead(p, t, n)
	p = append(p, `,"p":"`...)
	p = append(p, padding[:end-len(p)-2]...)
	return append(p, `"}`...)
}

func appendHead(p []byte, t, n int64) []byte {
	p = append(p, head...)
	p = strconv.AppendInt(p, t, 10)
	p = append(p, middle...)
	return strconv.AppendInt(p, n, 10)
}

// ParseHead returns when a payload was sent and its number. Others' protocols may have
// wrapped the payload, as long as they left it as it is.
func ParseHead(p []byte) (t, n int64, ok bool) {
	if !bytes.HasPrefix(p, []byte(head)) {
		at := bytes.Index(p, []byte(head))
		if at < 0 {
			return 0, 0, false
		}
		p = p[at:]
	}
	if len(p) <= afterTime || string(p[len(head)+digits:afterTime]) != middle {
		return 0, 0, false
	}
	t, n = number(p[len(head):]), number(p[afterTime:])
	return t, n, t > 0 && n > 0
}

// number reads the digits that p starts with.
func number(p []byte) (v int64) {
	for _, c := range p {
		if c < '0' || c > '9' {
			break
		}
		v = v*10 + int64(c-'0')
	}
	return v
}
