package natsbroker

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxPrefix bounds Options.Prefix: the names of streams are made of it.
const maxPrefix = 32

// validPrefix is the rule for Options.Prefix: what may stand in the names of streams, and
// is one token of a subject.
func validPrefix(s string) bool {
	if s == "" || len(s) > maxPrefix {
		return false
	}
	for i := range len(s) {
		if !plain(s[i]) {
			return false
		}
	}
	return true
}

// What names may have, in bytes.
const (
	maxName    = 255
	maxAddress = 300
)

// validName is the rule for groups, users and nodes.
func validName(s string) bool { return len(s) <= maxName && validAddress(s) }

// validAddress is the rule for addresses.
func validAddress(s string) bool {
	return s != "" && len(s) <= maxAddress && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// token writes a name as one token of a subject: letters, digits, "-" and "_" as they are,
// every other byte as "=" and two hexadecimal digits. Two names never have the same token.
func token(name string) string {
	n := 0
	for i := range len(name) {
		if !plain(name[i]) {
			n++
		}
	}
	if n == 0 {
		return name
	}
	const hex = "0123456789abcdef"
	b := make([]byte, 0, len(name)+2*n)
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '=', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// untoken is the reverse of token; false if nothing has that token.
func untoken(s string) (name string, ok bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(c))
		i += 2
	}
	name = string(b)
	return name, validName(name) && token(name) == s
}
