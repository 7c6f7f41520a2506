package redisbroker_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// A user who may do what the README says may do all that the broker does.
func TestTheREADMEsACLIsEnough(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile("`(~wschannels:[^`]*)`").FindSubmatch(readme)
	if rules == nil {
		t.Fatal("README.md has no ACL")
	}
	s := redistest.Start(t)
	s.CLI(append([]string{"ACL", "SETUSER", "app", "on", ">secret"}, strings.Fields(string(rules[1]))...)...)
	b := open(t, strings.Replace(s.URL(), "redis://", "redis://app:secret@", 1), &redisbroker.Options{
		History: wschannels.HistoryLimits{TTL: time.Hour}, // which needs Redis's clock
	})
	r := new(recorder)
	subscribe(t, b, r, "a")
	publish(t, b, saved("a", "x"))
	ctx := context.Background()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = b.Position(ctx, "a")
	check("Position", err)
	_, err = b.History(ctx, "a", nil)
	check("History", err)
	check("Flush", b.Flush(ctx, "a"))
	check("Flush of all", b.Flush(ctx))
	if _, err = b.Request(ctx, "nobody", []byte("x")); err != wschannels.ErrNobody {
		t.Errorf("Request: %v", err)
	}
	m := wschannels.Message{ID: uuid.New(), Created: time.Now(), Data: []byte("x")}
	_, _, err = b.PutMail(ctx, "ann", []wschannels.Message{m}, false, wschannels.MailboxLimits{Bytes: 1000, TTL: time.Hour})
	check("PutMail", err)
	_, err = b.TakeMail(ctx, "ann")
	check("TakeMail", err)
	_, err = b.Renew(ctx, "node", time.Minute)
	check("Renew", err)
	e := wschannels.PresenceEntry{ID: uuid.New(), Node: "node", Since: time.Now()}
	check("SetPresence", b.SetPresence(ctx, "a", e))
	e.Gone = true
	check("SetPresence", b.SetPresence(ctx, "a", e))
	_, err = b.Presence(ctx, "a")
	check("Presence", err)
	_, err = b.Renew(ctx, "node", time.Millisecond) // it dies, and is cleared away by another
	check("Renew", err)
	_, err = b.Renew(ctx, "other", time.Minute)
	check("Renew", err)
	check("Unsubscribe", b.Unsubscribe(ctx, "a", r))
}
