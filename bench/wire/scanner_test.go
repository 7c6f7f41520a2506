package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// stream returns what a server might send, and the messages in it.
func stream() (sent []byte, messages, control []string) {
	add := func(first byte, payload string) { sent = AppendFrame(sent, first, []byte(payload)) }
	text := func(size int) string { return strings.Repeat("some text, ", size)[:size] }
	for _, size := range []int{0, 1, 125, 126, 300, 0, 70000} {
		add(0x80|OpText, text(size))
		messages = append(messages, fmt.Sprintf("1 false %s", text(size)))
	}
	add(0x80|0x40|OpText, "deflated")
	messages = append(messages, "1 true deflated")
	add(0x40|OpText, "one, ")
	add(0x80|OpPing, "are you there?")
	add(OpContinuation, "two, ")
	add(OpContinuation, "")
	add(0x80|OpPing, "")
	add(0x80|OpContinuation, "three")
	messages = append(messages, "1 true one, two, three")
	add(0x80|OpText+1, "binary")
	messages = append(messages, "2 false binary")
	add(0x80|OpClose, "\x03\xe8")
	return sent, messages, []string{"9 are you there?", "9 ", "8 \x03\xe8"}
}

// found is what a Scanner makes of pieces.
func found(t *testing.T, s *Scanner, pieces ...[]byte) (messages, control []string) {
	t.Helper()
	for _, p := range pieces {
		if err := s.Scan(p, func(m Message) error {
			if m.Op&0x08 != 0 {
				control = append(control, fmt.Sprintf("%d %s", m.Op, m.Payload))
			} else {
				messages = append(messages, fmt.Sprintf("%d %v %s", m.Op, m.Compressed, m.Payload))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return messages, control
}

func check(t *testing.T, how string, pieces ...[]byte) {
	t.Helper()
	_, messages, control := stream()
	var all Scanner
	gotMessages, gotControl := found(t, &all, pieces...)
	if !slices.Equal(gotMessages, messages) || !slices.Equal(gotControl, control) || all.Plain != int64(len(messages)-2) {
		t.Fatalf("%s: %d messages of %d, %d of them plain, control frames %q",
			how, len(gotMessages), len(messages), all.Plain, gotControl)
	}
	count := Scanner{CountOnly: true}
	gotMessages, gotControl = found(t, &count, pieces...)
	if len(gotMessages) > 0 || count.Counted != int64(len(messages)) || !slices.Equal(gotControl, control) {
		t.Fatalf("%s, counting: %d messages of %d, control frames %q", how, count.Counted, len(messages), gotControl)
	}
}

func TestScannerInPieces(t *testing.T) {
	sent, _, _ := stream()
	check(t, "whole", sent)
	for at := range sent {
		if at > 700 && at < len(sent)-300 {
			continue // in the middle of the payload of 70,000 bytes
		}
		check(t, fmt.Sprint("cut at ", at), sent[:at], sent[at:])
	}
	for _, size := range []int{1, 2, 3, 5, 7, 64, 127, 4096} {
		check(t, fmt.Sprint("pieces of ", size), slices.Collect(slices.Chunk(sent, size))...)
	}
}

func TestScannerStopsAtAnError(t *testing.T) {
	stop := errors.New("stop")
	sent := AppendFrame(AppendFrame(nil, 0x80|OpText, []byte("a")), 0x80|OpText, []byte("b"))
	var s Scanner
	n := 0
	if err := s.Scan(sent, func(Message) error { n++; return stop }); err != stop || n != 1 {
		t.Errorf("%d messages, then %v", n, err)
	}
}

func TestScannerRefuses(t *testing.T) {
	for name, p := range map[string][]byte{
		"a masked frame": AppendMasked(nil, OpText, []byte("hello")),
		"a huge frame":   {0x81, 127, 0, 0, 0, 0, 2, 0, 0, 0},
	} {
		var s Scanner
		if err := s.Scan(p, func(Message) error { return nil }); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// Cut or not, the same comes out.
func FuzzScanner(f *testing.F) {
	sent, _, _ := stream()
	f.Add(sent[:500], uint16(77))
	f.Fuzz(func(t *testing.T, sent []byte, at uint16) {
		scan := func(pieces ...[]byte) (out []byte, failed bool) {
			var s Scanner
			for _, p := range pieces {
				if err := s.Scan(p, func(m Message) error {
					out = fmt.Appendf(out, "%d %v %q\n", m.Op, m.Compressed, m.Payload)
					return nil
				}); err != nil {
					return out, true
				}
			}
			return out, false
		}
		whole, failed := scan(sent)
		cut := min(int(at), len(sent))
		pieces, failed2 := scan(sent[:cut], sent[cut:])
		if !bytes.Equal(whole, pieces) || failed != failed2 {
			t.Errorf("cut at %d: %q %v, whole: %q %v", cut, pieces, failed2, whole, failed)
		}
	})
}
