package wschannels_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	. "github.com/wschannels/wschannels"
)

// memoryPut puts texts, each of 22 bytes at most, counted as 150.
func memoryPut(t *testing.T, b *MemoryBroker, user string, front bool, limits MailboxLimits, wantKept, wantLost int, texts ...string) {
	t.Helper()
	var ms []Message
	for _, s := range texts {
		ms = append(ms, Message{ID: uuid.New(), Created: time.Now(), Type: Text, Data: []byte(s + strings.Repeat(" ", 22-len(s)))})
	}
	kept, lost, err := b.PutMail(t.Context(), user, ms, front, limits)
	if err != nil || kept != wantKept || lost != wantLost {
		t.Errorf("PutMail %q: %d kept, %d lost, %v; want %d and %d", texts, kept, lost, err, wantKept, wantLost)
	}
}

func memoryTake(t *testing.T, b *MemoryBroker, user string, want ...string) {
	t.Helper()
	ms, err := b.TakeMail(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	got := boxTexts(ms)
	for i := range got {
		got[i] = strings.TrimSpace(got[i])
	}
	boxWant(t, "the mail of "+user, got, want)
}

func TestMailOfAMemoryBrokerIsTakenOnceAndInOrder(t *testing.T) {
	b := memoryBroker(t, nil)
	roomy := MailboxLimits{Bytes: 1000, TTL: time.Hour}
	memoryPut(t, b, "ann", false, roomy, 2, 0, "3", "4")
	memoryPut(t, b, "bob", false, roomy, 1, 0, "x")
	memoryPut(t, b, "ann", true, roomy, 2, 0, "1", "2")
	memoryPut(t, b, "ann", false, roomy, 1, 0, "5")
	memoryTake(t, b, "ann", "1", "2", "3", "4", "5")
	memoryTake(t, b, "ann")
	memoryTake(t, b, "bob", "x")
}

func TestMailOfAMemoryBrokerIsBounded(t *testing.T) {
	three := MailboxLimits{Bytes: 450, TTL: time.Hour}
	t.Run("the oldest goes", func(t *testing.T) {
		b := memoryBroker(t, nil)
		memoryPut(t, b, "ann", false, three, 3, 0, "1", "2", "3")
		memoryPut(t, b, "ann", false, three, 2, 2, "4", "5")
		memoryPut(t, b, "ann", false, three, 3, 5, "6", "7", "8", "9", "9") // 3, 4, 5, and two of these
		memoryTake(t, b, "ann", "8", "9", "9")
	})
	t.Run("in front, too", func(t *testing.T) {
		b := memoryBroker(t, nil)
		memoryPut(t, b, "ann", false, three, 2, 0, "8", "9")
		memoryPut(t, b, "ann", true, three, 1, 2, "5", "6", "7")
		memoryPut(t, b, "ann", true, three, 0, 1, "4")
		memoryTake(t, b, "ann", "7", "8", "9")
	})
	t.Run("alone over the limit", func(t *testing.T) {
		b := memoryBroker(t, nil)
		memoryPut(t, b, "ann", false, three, 1, 0, "1")
		memoryPut(t, b, "ann", false, MailboxLimits{Bytes: 149, TTL: time.Hour}, 0, 1, "2")
		memoryTake(t, b, "ann", "1")
	})
	t.Run("number of mailboxes", func(t *testing.T) {
		b := memoryBroker(t, &MemoryBrokerOptions{MaxMailboxes: 2})
		memoryPut(t, b, "ann", false, three, 2, 0, "1", "2")
		memoryPut(t, b, "bob", false, three, 1, 0, "1")
		memoryPut(t, b, "ann", false, three, 1, 0, "3")
		memoryPut(t, b, "eve", false, three, 1, 1, "1")
		memoryPut(t, b, "eve", false, three, 1, 0, "2")
		memoryTake(t, b, "ann", "1", "2", "3")
		memoryTake(t, b, "bob")
		memoryTake(t, b, "eve", "1", "2")
	})
}

func TestMailOfAMemoryBrokerGrowsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memoryBroker(t, &MemoryBrokerOptions{MaxMailboxes: 3})
		limits := MailboxLimits{Bytes: 1000, TTL: time.Minute}
		memoryPut(t, b, "ann", false, limits, 1, 0, "1")
		memoryPut(t, b, "bob", false, limits, 2, 0, "1", "2")
		time.Sleep(30 * time.Second)
		memoryPut(t, b, "ann", false, limits, 1, 0, "2")
		time.Sleep(30*time.Second - 1)
		memoryPut(t, b, "eve", false, limits, 1, 0, "1")
		time.Sleep(time.Nanosecond)
		memoryPut(t, b, "eve", false, limits, 1, 2, "2") // bob's are gone without anybody's looking
		memoryTake(t, b, "ann", "2")
		memoryTake(t, b, "bob")
		memoryTake(t, b, "eve", "1", "2")
	})
}
