package wschannels_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

// FuzzClose compares what a peer sees of a Close with RFC 6455, sections 5.5.1 and 7.4.
func FuzzClose(f *testing.F) {
	for i, reason := range []string{"", "bye", "\xff\xfebye", strings.Repeat("x", 123), strings.Repeat("x", 124),
		strings.Repeat("x", 122) + "é", strings.Repeat("x", 121) + "é", strings.Repeat("🙂", 40), strings.Repeat("\xff", 50)} {
		f.Add([]uint16{1000, 999, 1004, 1005, 1006, 1014, 1015, 3000, 5000}[i], reason)
	}
	f.Fuzz(func(t *testing.T, code uint16, reason string) {
		c, conn := boxChannel(t, nil)
		err := c.Close(websocket.StatusCode(code), reason)
		wantCode := websocket.StatusCode(code)
		if code < 1000 || code > 4999 || code > 1014 && code < 3000 || code >= 1004 && code <= 1006 {
			wantCode, reason = 1011, ""
			if !errors.Is(err, ErrInvalidCloseCode) {
				t.Errorf("Close(%d): %v, want ErrInvalidCloseCode", code, err)
			}
		} else if err != nil {
			t.Errorf("Close(%d): %v", code, err)
		}
		want := "" // as many whole runes as fit
		for _, r := range strings.ToValidUTF8(reason, "\uFFFD") {
			if len(want)+utf8.RuneLen(r) > 123 {
				break
			}
			want += string(r)
		}
		if got, gotReason, ok := conn.Closed(); !ok || got != wantCode || gotReason != want {
			t.Errorf("Close(%d, %q): the peer saw %d, %q, %v; want %d, %q", code, reason, got, gotReason, ok, wantCode, want)
		}
	})
}
