package redisbroker

import (
	"regexp"
	"strings"
	"testing"

	"github.com/redis/rueidis"
)

func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a", "*", "{x}", "a%2Eb", "}", " ", "日本", "%", "%7"} {
		f.Add(s)
	}
	plain := regexp.MustCompile(`^[A-Za-z0-9._/:@%-]*$`)
	b := &Broker{opts: Options{Prefix: "p"}}
	f.Fuzz(func(t *testing.T, name string) {
		e := escape(name)
		if !plain.MatchString(e) {
			t.Errorf("escape(%q) = %q", name, e)
		}
		if got, ok := unescape(e); !ok || got != name {
			t.Errorf("unescape(%q) = %q, %v; want %q", e, got, ok, name)
		}
		if got, ok := unescape(name); ok && escape(got) != name {
			t.Errorf("unescape(%q) = %q, and escape says otherwise", name, got)
		}
		if got, ok := b.groupOf(b.channel(ofGroup, name) + "log"); !ok || got != name {
			t.Errorf("groupOf = %q, %v; want %q", got, ok, name)
		}
	})
}

func FuzzReceive(f *testing.F) {
	for _, s := range []string{"", "p", "e", "q", "a", "x", "p0123456789abcdef\x00\x00\x00\x00\x00\x00\x00\x00", "p0123456789abcdef\x00\x00\x00\x00\x00\x00\x00\x001\x00\x00\x00\x1c\x01\x01" + strings.Repeat("x", 24) + "\x00x", "q0123456789abcdef1 x", "a1 x", "n1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := &Broker{topics: make(map[string]*topic), closed: true} // so that it does not answer
		l := newLink(b, nil, nil, "probe")
		l.receive(rueidis.PubSubMessage{Channel: "c", Message: s}) // must not panic
	})
}

func TestSlotsAreRedisSlots(t *testing.T) {
	for name, slot := range map[string]int{"{123456789}": 0x31C3, "x{foo}y": 12182} {
		if got := slotOf(name); got != slot {
			t.Errorf("slotOf(%q) = %d, want %d", name, got, slot)
		}
	}
}
