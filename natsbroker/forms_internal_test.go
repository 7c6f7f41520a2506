package natsbroker

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/wschannels/wschannels"
)

func TestNoTwoNamesHaveTheSameToken(t *testing.T) {
	names := []string{
		"a", "A", "a.b", "a=2eb", "a=2Eb", "=", "==", "=3d", ".", "..", "*", ">", " ", "a b", "ü", "u", "-", "_", "{x}", "%2e",
		strings.Repeat(".", 255), strings.Repeat("世", 85),
	}
	seen := make(map[string]string)
	for _, name := range names {
		tok := token(name)
		if other, ok := seen[tok]; ok {
			t.Errorf("%q and %q are both %q", name, other, tok)
		}
		seen[tok] = name
		if strings.ContainsAny(tok, ".*> ") || tok == "" {
			t.Errorf("the token of %q is %q", name, tok)
		}
		if back, ok := untoken(tok); !ok || back != name {
			t.Errorf("%q comes back as %q", name, back)
		}
	}
	for _, bad := range []string{"", "=", "=2", "=zz", "=61", "=2E", "a.b", "=00"} {
		if name, ok := untoken(bad); ok {
			t.Errorf("%q is the token of %q", bad, name)
		}
	}
}

func FuzzBatch(f *testing.F) {
	one := &batch{first: 3, saved: true, items: [][]byte{[]byte("a"), nil}, before: tail{seq: 2, saved: 2, savedAt: 7, bytes: 300}, cost: 256}
	f.Add(one.encode())
	f.Add((&batch{first: 1}).encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := decodeBatch(p)
		if err != nil {
			return
		}
		again, err := decodeBatch(b.encode())
		if err != nil || !bytes.Equal(again.encode(), b.encode()) {
			t.Errorf("%x is read as %+v, and that as %+v, %v", p, b, again, err)
		}
		if next := b.after(9, time.Now()); next.seq != b.first+uint64(len(b.items))-1 {
			t.Errorf("after %+v: %+v", b, next)
		}
	})
}

func FuzzMailbox(f *testing.F) {
	m := &mailbox{ttl: time.Hour, msgs: []wschannels.Message{{ID: uuid.New(), Created: time.Now(), Data: []byte("x")}}}
	p, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Fuzz(func(t *testing.T, p []byte) {
		if m, err := decodeMailbox(p); err == nil {
			if _, err := m.encode(); err != nil {
				t.Errorf("%x: %v", p, err)
			}
		}
	})
}

func FuzzEntry(f *testing.F) {
	p, err := encodeEntry(&wschannels.PresenceEntry{ID: uuid.New(), Node: "n", Since: time.Now()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Fuzz(func(t *testing.T, p []byte) {
		if e, err := decodeEntry(p); err == nil && !validName(e.Node) {
			t.Errorf("%q has node %q", p, e.Node)
		}
	})
}

func TestWhatIsFlushedIsForgottenAlsoWhereItIsStillStored(t *testing.T) {
	s := startServer(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := Open(s.ClientURL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(ctx)
	for _, text := range []string{"1", "2", "3"} {
		p := &wschannels.Publication{Save: true, Message: wschannels.Message{Group: "g", Created: time.Now(), Data: []byte(text)}}
		if err := b.Publish(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	g, err := b.pin("g")
	if err != nil {
		t.Fatal(err)
	}
	defer g.unpin()
	now, err := g.position(ctx)
	if err != nil {
		t.Fatal(err)
	}
	now.floor = 2
	held, lost, err := g.held(ctx, &now)
	if err != nil || len(held) != 1 || held[0].Seq != 3 || lost != 2 {
		t.Errorf("%d messages, lost up to %d, %v, want the third, and 2", len(held), lost, err)
	}
}
