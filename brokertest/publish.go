package brokertest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// plain returns a text message to group that is not to be saved; saved one that is.
func plain(group, text string) *wschannels.Publication {
	return &wschannels.Publication{Message: textMessage(group, text)}
}

func saved(group, text string) *wschannels.Publication {
	return &wschannels.Publication{Message: textMessage(group, text), Save: true}
}

func textMessage(group, text string) wschannels.Message {
	return wschannels.Message{ID: uuid.New(), Group: group, Created: time.Now(), Type: wschannels.Text, Data: []byte(text)}
}

// publish publishes p, which must work.
func publish(t *testing.T, b wschannels.Broker, p *wschannels.Publication) *wschannels.Publication {
	t.Helper()
	do(t, fmt.Sprintf("Publish to %q", p.Group), func(ctx context.Context) error { return b.Publish(ctx, p) })
	return p
}

// publishAll publishes saved messages with these texts to group, one after another.
func publishAll(t *testing.T, b wschannels.Broker, group string, texts ...string) (ps []*wschannels.Publication) {
	t.Helper()
	for _, text := range texts {
		ps = append(ps, publish(t, b, saved(group, text)))
	}
	return ps
}

// settle gives time to what should not come: whatever was sent before to any of nodes
// arrives, as a rule, before what is sent now.
func settle(t *testing.T, nodes ...wschannels.Broker) {
	t.Helper()
	group := "settle " + uuid.NewString()
	rs := recordAll(t, nodes, group)
	for _, b := range nodes {
		publish(t, b, plain(group, "x"))
	}
	for _, r := range rs {
		r.await(t, group, len(nodes))
	}
	for i, b := range nodes {
		do(t, "Unsubscribe", func(ctx context.Context) error { return b.Unsubscribe(ctx, group, rs[i]) })
	}
}

func position(t *testing.T, b wschannels.Broker, group string) (at wschannels.Position) {
	t.Helper()
	do(t, fmt.Sprintf("Position of %q", group), func(ctx context.Context) (err error) {
		at, err = b.Position(ctx, group)
		return err
	})
	return at
}

// page returns what the history of group has.
func page(t *testing.T, b wschannels.Broker, group string, opts *wschannels.HistoryOptions) (p wschannels.HistoryPage) {
	t.Helper()
	do(t, fmt.Sprintf("History of %q", group), func(ctx context.Context) (err error) {
		p, err = b.(wschannels.HistoryBroker).History(ctx, group, opts)
		return err
	})
	return p
}

// inOrder checks that got is a group's order from its first place on, without a hole.
func inOrder(t *testing.T, what string, got []wschannels.Publication) {
	t.Helper()
	for i, p := range got {
		if p.Seq != uint64(i+1) || p.Epoch != got[0].Epoch || p.Epoch == "" {
			t.Fatalf("%s: message %d of %d, %q, has Seq %d and Epoch %q; the first has Epoch %q",
				what, i+1, len(got), p.Text(), p.Seq, p.Epoch, got[0].Epoch)
		}
	}
}

// wantSame checks that got is want, but for Seq, which is the broker's.
func wantSame(t *testing.T, what string, got, want wschannels.Message) {
	t.Helper()
	switch {
	case got.ID != want.ID:
		t.Errorf("%s: ID %v, want %v", what, got.ID, want.ID)
	case got.Group != want.Group:
		t.Errorf("%s: Group %q, want %q", what, got.Group, want.Group)
	case got.Type != want.Type:
		t.Errorf("%s: Type %v, want %v", what, got.Type, want.Type)
	case !got.Created.Equal(want.Created):
		t.Errorf("%s: Created %v, want %v", what, got.Created, want.Created)
	case !bytes.Equal(got.Data, want.Data):
		t.Errorf("%s: Data of %d bytes, %.100q, want %d bytes, %.100q", what, len(got.Data), got.Data, len(want.Data), want.Data)
	}
}

func wantTexts(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) && len(got)+len(want) > 0 {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func texts(ps []wschannels.Publication) []string {
	all := make([]string, len(ps))
	for i, p := range ps {
		all[i] = short(p.Text())
	}
	return all
}

func messageTexts(ms []wschannels.Message) []string {
	all := make([]string, len(ms))
	for i, m := range ms {
		all[i] = short(m.Text())
	}
	return all
}

func short(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%s… (%d bytes)", s[:40], len(s))
	}
	return s
}

// numbers returns the texts of the numbers from first to last.
func numbers(first, last int) (all []string) {
	for i := first; i <= last; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}
