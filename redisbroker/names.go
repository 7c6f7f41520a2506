package redisbroker

import "strings"

// What a name is the name of. All keys and the channel of one thing have the same hash tag,
// and are so in one slot of a cluster:
//
//	wschannels:{g.lobby}        the channel of the group "lobby"; and as a key its order: epoch,
//	                            next Seq and what its history holds
//	wschannels:{g.lobby}log     its history
//	wschannels:{g.lobby}here    who is present
//	wschannels:{a.node-1}       the channel of an address
//	wschannels:{b.0123…}        the channel of a broker, for answers
//	wschannels:{u.ann}mail      a mailbox, and
//	wschannels:{u.ann}size      what is in it
//	wschannels:{nodes}leases    when the leases of nodes end
//	wschannels:{nodes}runs      a token for each node; and what it has said something of:
//	wschannels:{nodes}said.node-1
const (
	ofGroup   = "g."
	ofAddress = "a."
	ofUser    = "u."
	ofBroker  = "b."
)

// channel returns the channel, and the start of the keys, of what kind and name say.
func (b *Broker) channel(kind, name string) string {
	return b.opts.Prefix + ":{" + kind + escape(name) + "}"
}

// groupOf is the group whose channel, or key, is s.
func (b *Broker) groupOf(s string) (string, bool) {
	s, ok := strings.CutPrefix(s, b.opts.Prefix+":{"+ofGroup)
	if !ok {
		return "", false
	}
	name, _, ok := strings.Cut(s, "}")
	if !ok {
		return "", false
	}
	return unescape(name)
}

const hexDigits = "0123456789ABCDEF"

// escape returns name in ASCII, without a character that means something in a hash tag or in
// a pattern, and different for different names.
func escape(name string) string {
	n := 0
	for i := range len(name) {
		if !plain(name[i]) {
			n++
		}
	}
	if n == 0 {
		return name
	}
	var s strings.Builder
	s.Grow(len(name) + 2*n)
	for i := range len(name) {
		if c := name[i]; plain(c) {
			s.WriteByte(c)
		} else {
			s.WriteString(string([]byte{'%', hexDigits[c>>4], hexDigits[c&15]}))
		}
	}
	return s.String()
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '.' || c == '-' || c == '_' || c == '/' || c == ':' || c == '@'
}

// unescape is the opposite of escape; false if that has not returned s.
func unescape(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, escape(s) == s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c, i = byte(hi<<4|lo), i+2
		}
		b = append(b, c)
	}
	name := string(b)
	return name, escape(name) == s
}
