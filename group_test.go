package wschannels_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wschannels/wschannels"
)

// boxGroups are the two kinds of groups, which must behave alike. enroll puts a
// channel where the group accepts it.
func boxGroups(t *testing.T, test func(t *testing.T, g *wschannels.Group, enroll func(*wschannels.Channel))) {
	t.Run("standalone", func(t *testing.T) {
		g, err := wschannels.NewGroup("lobby", nil)
		if err != nil {
			t.Fatal(err)
		}
		test(t, g, func(*wschannels.Channel) {})
	})
	t.Run("of a box", func(t *testing.T) {
		b := boxOf(t, nil)
		g, err := b.Group("lobby")
		if err != nil {
			t.Fatal(err)
		}
		test(t, g, func(c *wschannels.Channel) {
			if err := b.Add(c); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func boxGroupAdd(t *testing.T, g *wschannels.Group, c *wschannels.Channel) {
	t.Helper()
	if status, err := g.Add(c); err != nil || status != wschannels.ChannelAdded {
		t.Fatalf("Add = %v, %v, want %v", status, err, wschannels.ChannelAdded)
	}
}

func TestGroupStatusesAreAboutTheChannel(t *testing.T) {
	boxGroups(t, func(t *testing.T, g *wschannels.Group, enroll func(*wschannels.Channel)) {
		a, _ := boxChannel(t, nil)
		b, _ := boxChannel(t, nil)
		enroll(a)
		enroll(b)
		if got := g.Remove(a); got != wschannels.NoSuchGroup {
			t.Errorf("Remove from an empty group = %v, want %v", got, wschannels.NoSuchGroup)
		}
		boxGroupAdd(t, g, a)
		if got := g.Remove(b); got != wschannels.ChannelNotMember {
			t.Errorf("Remove of another = %v, want %v", got, wschannels.ChannelNotMember)
		}
		boxGroupAdd(t, g, b) // the second channel is as new as the first was
		if got, err := g.Add(a); err != nil || got != wschannels.ChannelExists {
			t.Errorf("Add again = %v, %v, want %v", got, err, wschannels.ChannelExists)
		}
		if !g.Has(a) || !g.Has(b) || g.Len() != 2 || len(g.Channels()) != 2 || g.Name() != "lobby" {
			t.Errorf("Has = %t, %t, Len = %d, Channels = %v, Name = %q", g.Has(a), g.Has(b), g.Len(), g.Channels(), g.Name())
		}
		if got := g.Remove(a); got != wschannels.ChannelRemoved {
			t.Errorf("Remove = %v, want %v", got, wschannels.ChannelRemoved)
		}
		if g.Has(a) || !g.Has(b) || !slices.Equal(g.Channels(), []*wschannels.Channel{b}) {
			t.Error("the wrong channel was removed")
		}
		if got := g.Remove(b); got != wschannels.GroupRemoved {
			t.Errorf("Remove of the last = %v, want %v", got, wschannels.GroupRemoved)
		}
		if got := g.Remove(b); got != wschannels.NoSuchGroup {
			t.Errorf("Remove after that = %v, want %v", got, wschannels.NoSuchGroup)
		}
		if g.Len() != 0 || len(g.Channels()) != 0 || len(b.Groups()) != 0 {
			t.Errorf("left: Len = %d, Channels = %v, b.Groups = %v", g.Len(), g.Channels(), b.Groups())
		}
		if _, err := g.Add(nil); err == nil || g.Has(nil) {
			t.Error("nil became a member")
		}
	})
}

func TestStatusNamesAreThoseOfTheOriginal(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{wschannels.ChannelAdded.String(), "CHANNEL_ADDED"},
		{wschannels.ChannelExists.String(), "CHANNEL_EXIST"},
		{wschannels.ChannelRemoved.String(), "CHANNEL_REMOVED"},
		{wschannels.GroupRemoved.String(), "GROUP_REMOVED"},
		{wschannels.ChannelNotMember.String(), "CHANNEL_DOES_NOT_EXIST"},
		{wschannels.NoSuchGroup.String(), "GROUP_DOES_NOT_EXIST"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	if wschannels.ChannelAdded != 1 || wschannels.ChannelRemoved != 1 {
		t.Error("statuses do not start from 1")
	}
	for _, s := range []string{wschannels.AddStatus(0).String(), wschannels.AddStatus(9).String(), wschannels.RemoveStatus(0).String()} {
		if strings.HasPrefix(s, "CHANNEL") || strings.HasPrefix(s, "GROUP") || s == "" {
			t.Errorf("no status is called %q", s)
		}
	}
}

func TestGroupNames(t *testing.T) {
	b := boxOf(t, nil)
	c, _ := boxMember(t, b, nil)
	for _, tt := range []struct {
		what, name string
		ok         bool
	}{
		{"empty", "", false},
		{"1 byte", "a", true},
		{"255 bytes", strings.Repeat("a", 255), true},
		{"256 bytes", strings.Repeat("a", 256), false},
		{"255 bytes of two each and one", strings.Repeat("é", 127) + "a", true},
		{"256 bytes of two each", strings.Repeat("é", 128), false},
		{"NUL", "a\x00b", false},
		{"newline", "a\n", false},
		{"tab", "\t", false},
		{"escape", "\x1b[0m", false},
		{"DEL", "a\x7f", false},
		{"C1 control", "a\u0085", false},
		{"last C1 control", "\u009f", false},
		{"after the C1 controls", "\u00a0", true},
		{"invalid UTF-8", "a\xff", false},
		{"half a rune", "a\xc3", false},
		{"surrogate", "\xed\xa0\x80", false},
		{"emoji", "🦀 room 👩‍👩‍👧", true},
		{"spaces", "  two  words  ", true},
		{"subject wildcards", "chat.*.>", true},
		{"slash and colon", "a/b:c{d}", true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			check := func(call string, err error) {
				t.Helper()
				if tt.ok && err != nil || !tt.ok && !errors.Is(err, wschannels.ErrInvalidGroup) {
					t.Errorf("%s: %v, want ok = %t", call, err, tt.ok)
				}
			}
			_, err := wschannels.NewGroup(tt.name, nil)
			check("NewGroup", err)
			_, err = b.Group(tt.name)
			check("Group", err)
			_, err = b.Join(t.Context(), c, tt.name, nil)
			check("Join", err)
			_, err = b.GroupSend(t.Context(), tt.name, "x", boxSave)
			check("GroupSend", err)
			_, err = b.History(t.Context(), tt.name, nil)
			check("History", err)
			_, err = b.Position(t.Context(), tt.name)
			check("Position", err)
			check("FlushHistory", b.FlushHistory(t.Context(), "fine", tt.name))
			_, err = b.Leave(t.Context(), c, tt.name)
			check("Leave", err)
		})
	}
}

// Names that only look alike are different groups, and nothing in one is a pattern.
func TestGroupNamesAreNotPatterns(t *testing.T) {
	b := boxOf(t, nil)
	names := []string{"*", ">", "a.*", "a.b", "a", " a", "a ", "A"}
	_, conn := boxMember(t, b, nil, names...)
	for _, name := range names {
		if res := boxSend(t, b, name, name, boxSave); res.Queued != 1 || res.Seq != 1 {
			t.Errorf("send to %q: %+v, want Queued 1 and Seq 1", name, res)
		}
		if got := boxNext(t, conn); got != name {
			t.Errorf("got %q, want %q", got, name)
		}
		boxWant(t, "history of "+name, boxHistory(t, b, name, nil), []string{name})
	}
	if got := len(b.Groups()); got != len(names) {
		t.Errorf("%d groups, want %d", got, len(names))
	}
}

func TestGroupForgetsClosedChannels(t *testing.T) {
	boxGroups(t, func(t *testing.T, g *wschannels.Group, enroll func(*wschannels.Channel)) {
		a, _ := boxChannel(t, nil)
		b, conn := boxChannel(t, nil)
		enroll(a)
		enroll(b)
		boxGroupAdd(t, g, a)
		boxGroupAdd(t, g, b)
		a.CloseNow()
		if g.Has(a) || g.Len() != 1 {
			t.Errorf("a closed channel is a member: Has = %t, Len = %d", g.Has(a), g.Len())
		}
		if status, err := g.Add(a); !errors.Is(err, wschannels.ErrClosed) || g.Len() != 1 {
			t.Errorf("Add of a closed channel = %v, %v, want ErrClosed", status, err)
		}
		if res, err := g.Send(t.Context(), "on", nil); err != nil || res.Queued != 1 {
			t.Errorf("Send = %+v, %v, want Queued 1", res, err)
		}
		if got := boxNext(t, conn); got != "on" {
			t.Errorf("the other got %q", got)
		}
	})
}

func TestGroupAddRacesWithClose(t *testing.T) {
	boxGroups(t, func(t *testing.T, g *wschannels.Group, enroll func(*wschannels.Channel)) {
		for range 200 {
			c, _ := boxChannel(t, nil)
			enroll(c)
			var wg sync.WaitGroup
			wg.Go(func() { g.Add(c) })
			wg.Go(func() { c.CloseNow() })
			wg.Wait()
			if n := g.Len(); n != 0 {
				t.Fatalf("%d members after a race of Add and CloseNow", n)
			}
		}
	})
}

func TestGroupOfABoxTakesOnlyItsChannels(t *testing.T) {
	b := boxOf(t, nil)
	g, _ := b.Group("g")
	stranger, _ := boxChannel(t, nil)
	if _, err := g.Add(stranger); !errors.Is(err, wschannels.ErrNoSuchChannel) {
		t.Errorf("Add: %v, want ErrNoSuchChannel", err)
	}
	if _, err := b.Join(t.Context(), stranger, "g", nil); !errors.Is(err, wschannels.ErrNoSuchChannel) {
		t.Errorf("Join: %v, want ErrNoSuchChannel", err)
	}
	other, _ := boxMember(t, boxOf(t, nil), nil)
	if _, err := g.Add(other); !errors.Is(err, wschannels.ErrNoSuchChannel) || g.Len() != 0 {
		t.Errorf("Add of another box's channel: %v, want ErrNoSuchChannel", err)
	}
}

func TestGroupHandlesStandForTheBoxesGroup(t *testing.T) {
	b := boxOf(t, nil)
	one, _ := b.Group("g")
	two, _ := b.Group("g")
	c, conn := boxMember(t, b, nil)
	boxGroupAdd(t, one, c)
	if !two.Has(c) || !slices.Equal(b.Members("g"), []*wschannels.Channel{c}) || b.Groups()["g"] != 1 {
		t.Error("another handle, or the box, does not see the member")
	}
	if res, err := two.Send(t.Context(), "x", boxSave); err != nil || res.Queued != 1 || !res.Saved {
		t.Errorf("Send = %+v, %v", res, err)
	}
	boxWant(t, "received", []string{boxNext(t, conn)}, []string{"x"})
	boxWant(t, "History of the other handle", boxTexts(one.History(nil)), []string{"x"})
	if status, err := b.Leave(t.Context(), c, "g"); err != nil || status != wschannels.GroupRemoved || one.Len() != 0 {
		t.Errorf("Leave = %v, %v, then Len %d", status, err, one.Len())
	}
}

func TestGroupStandaloneHasOrderAndHistory(t *testing.T) {
	g, err := wschannels.NewGroup("g", &wschannels.GroupOptions{History: wschannels.HistoryLimits{Len: 2}})
	if err != nil {
		t.Fatal(err)
	}
	c, conn := boxChannel(t, nil)
	boxGroupAdd(t, g, c)
	for i, text := range []string{"a", "b", "c"} {
		res, err := g.Send(t.Context(), text, boxSave)
		if err != nil || res.Seq != uint64(i+1) || !res.Saved || res.Queued != 1 {
			t.Fatalf("Send %q = %+v, %v", text, res, err)
		}
	}
	boxWant(t, "received", boxFlushed(t, c, conn), []string{"a", "b", "c"})
	boxWant(t, "history", boxTexts(g.History(nil)), []string{"b", "c"})
	boxWant(t, "last", boxTexts(g.History(&wschannels.HistoryOptions{Last: 1})), []string{"c"})
	if _, err := wschannels.NewGroup("g", &wschannels.GroupOptions{History: wschannels.HistoryLimits{Len: -1}}); !errors.Is(err, wschannels.ErrInvalidOption) {
		t.Errorf("a negative limit: %v, want ErrInvalidOption", err)
	}
}

// One channel in several standalone groups of one name: they are different groups.
func TestGroupStandaloneNamesDoNotClash(t *testing.T) {
	c, conn := boxChannel(t, nil)
	b := boxOf(t, nil)
	if err := b.Add(c); err != nil {
		t.Fatal(err)
	}
	boxJoin(t, b, c, "g", nil)
	g, _ := wschannels.NewGroup("g", nil)
	boxGroupAdd(t, g, c)
	if g.Remove(c) != wschannels.GroupRemoved || b.Groups()["g"] != 1 {
		t.Error("leaving the standalone group ended the membership in the box's")
	}
	boxSend(t, b, "g", "still", nil)
	boxWant(t, "received", boxFlushed(t, c, conn), []string{"still"})
}
