package redisbroker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// What no broker put into a mailbox takes nothing with it.
func TestWhatNoBrokerPutIntoAMailboxCostsNoMail(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, s.URL(), nil)
	limits := wschannels.MailboxLimits{Bytes: 1 << 16, TTL: time.Hour}
	put := func(text string) {
		t.Helper()
		m := wschannels.Message{ID: uuid.New(), Created: time.Now(), Type: wschannels.Text, Data: []byte(text)}
		if kept, lost, err := b.PutMail(t.Context(), "ann", []wschannels.Message{m}, false, limits); err != nil || kept != 1 {
			t.Errorf("PutMail: %d kept, %d lost, %v", kept, lost, err)
		}
	}
	for _, junk := range []string{"x", "", "99999999999999 1 x", "1 2"} {
		for _, push := range []string{"LPUSH", "RPUSH"} {
			put("1")
			s.CLI(push, "wschannels:{u.ann}mail", junk)
			put("2")
			got, err := b.TakeMail(t.Context(), "ann")
			if err != nil {
				t.Errorf("%s %q: %v", push, junk, err)
			}
			texts := ""
			for _, m := range got {
				texts += fmt.Sprintf("%s ", m.Data)
			}
			if want := map[bool]string{true: " 1 2 ", false: "1  2 "}[push == "LPUSH"]; texts != want && texts != "1 2 " {
				t.Errorf("%s %q: %q, want %q, or without what is in between", push, junk, texts, want)
			}
			if left, err := b.TakeMail(t.Context(), "ann"); err != nil || len(left) > 0 {
				t.Errorf("%d are left, %v", len(left), err)
			}
		}
	}
}
