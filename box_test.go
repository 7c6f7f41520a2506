package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// The box in one test: who joins gets what is sent, who leaves does not.
func TestBoxSendsToMembers(t *testing.T) {
	b := boxOf(t, nil)
	ann, annConn := boxMember(t, b, nil, "lobby")
	bob, bobConn := boxMember(t, b, nil)

	if res := boxSend(t, b, "lobby", "one", nil); res.Queued != 1 || res.Seq != 1 || res.Saved {
		t.Errorf("result %+v, want 1 queued, Seq 1, not saved", res)
	}
	res := boxJoin(t, b, bob, "lobby", nil)
	if res.Status != wschannels.ChannelAdded || res.Position.Seq != 1 || res.Position.Epoch == "" || res.Replayed != 0 || res.Recovered {
		t.Errorf("Join = %+v, want ADDED at 1", res)
	}
	if again := boxJoin(t, b, bob, "lobby", nil); again.Status != wschannels.ChannelExists || again.Position != res.Position {
		t.Errorf("Join again = %+v, want EXISTS at %+v", again, res.Position)
	}
	boxSend(t, b, "lobby", "two", nil)
	boxSend(t, b, "elsewhere", "not here", nil)
	if status, err := b.Leave(t.Context(), ann, "lobby"); err != nil || status != wschannels.ChannelRemoved {
		t.Errorf("Leave = %v, %v", status, err)
	}
	boxSend(t, b, "lobby", "three", nil)
	boxWant(t, "ann", boxFlushed(t, ann, annConn), []string{"one", "two"})
	boxWant(t, "bob", boxFlushed(t, bob, bobConn), []string{"two", "three"})

	if got := bob.Groups(); !slices.Equal(got, []string{"lobby"}) {
		t.Errorf("bob.Groups() = %q", got)
	}
	if got := b.Groups(); len(got) != 1 || got["lobby"] != 1 {
		t.Errorf("Groups() = %v, want lobby: 1", got)
	}
	for _, tt := range []struct {
		c     *wschannels.Channel
		group string
		want  wschannels.RemoveStatus
	}{
		{ann, "lobby", wschannels.ChannelNotMember}, {bob, "lobby", wschannels.GroupRemoved},
		{bob, "lobby", wschannels.NoSuchGroup}, {bob, "never", wschannels.NoSuchGroup},
	} {
		if got, err := b.Leave(t.Context(), tt.c, tt.group); err != nil || got != tt.want {
			t.Errorf("Leave %q = %v, %v, want %v", tt.group, got, err, tt.want)
		}
	}
	if len(b.Groups()) != 0 || b.Members("lobby") != nil && len(b.Members("lobby")) != 0 {
		t.Errorf("an empty group is left: %v", b.Groups())
	}
}

// A group without members has an order all the same, and may have a history.
func TestBoxGroupWithoutMembersHasAnOrder(t *testing.T) {
	b := boxOf(t, nil)
	for i, save := range []bool{true, false, true} {
		res := boxSend(t, b, "empty", fmt.Sprint(i), &wschannels.SendOptions{SaveHistory: save})
		if res.Seq != uint64(i+1) || res.Saved != save || res.Queued+res.Dropped+res.Closed != 0 {
			t.Errorf("send %d: %+v", i, res)
		}
	}
	boxWant(t, "history", boxHistory(t, b, "empty", nil), []string{"0", "2"})
	at, err := b.Position(t.Context(), "empty")
	if err != nil || at.Seq != 3 {
		t.Errorf("Position = %+v, %v, want Seq 3", at, err)
	}
	c, _ := boxMember(t, b, nil)
	if res := boxJoin(t, b, c, "empty", nil); res.Position != at {
		t.Errorf("Join at %+v, want %+v", res.Position, at)
	}
	if got := boxSend(t, b, "empty", "3", nil).Seq; got != 4 {
		t.Errorf("Seq = %d, want 4", got)
	}
	if _, err := b.Leave(t.Context(), c, "empty"); err != nil {
		t.Fatal(err)
	}
	if after, _ := b.Position(t.Context(), "empty"); after.Epoch != at.Epoch || after.Seq != 4 {
		t.Errorf("the order started anew when the last member left: %+v, was %+v", after, at)
	}
}

func TestBoxEndedContexts(t *testing.T) {
	b := boxOf(t, nil)
	c, conn := boxMember(t, b, nil, "g")
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	calls := map[string]func() error{
		"Join":         func() error { _, err := b.Join(ctx, c, "other", nil); return err },
		"GroupSend":    func() error { _, err := b.GroupSend(ctx, "g", "x", boxSave); return err },
		"SendTo":       func() error { return b.SendTo(ctx, c.ID(), "x") },
		"SendToUser":   func() error { _, err := b.SendToUser(ctx, "u", "x"); return err },
		"History":      func() error { _, err := b.History(ctx, "g", nil); return err },
		"Position":     func() error { _, err := b.Position(ctx, "g"); return err },
		"FlushHistory": func() error { return b.FlushHistory(ctx) },
		"FlushGroups":  func() error { return b.FlushGroups(ctx) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, cause) {
			t.Errorf("%s: %v, want the context's cause", name, err)
		}
	}
	boxWant(t, "received", boxFlushed(t, c, conn), nil)
	if got := c.Groups(); !slices.Equal(got, []string{"g"}) {
		t.Errorf("Groups() = %q, want only g", got)
	}
	if s := b.Stats(); s.Mailboxes != 0 || s.HistoryBytes != 0 {
		t.Errorf("something was kept: %+v", s)
	}
}

func TestBoxRefusesOptionsItCannotHonour(t *testing.T) {
	for name, opts := range map[string]wschannels.Options{
		"history bytes":   {History: wschannels.HistoryLimits{Bytes: -1}},
		"history len":     {History: wschannels.HistoryLimits{Len: -1}},
		"history TTL":     {History: wschannels.HistoryLimits{TTL: -1}},
		"history total":   {HistoryTotalBytes: -1},
		"mailbox TTL":     {MailboxTTL: -1},
		"mailboxes":       {MaxMailboxes: -1},
		"channels":        {MaxChannels: -1},
		"groups":          {MaxGroups: -1},
		"channel groups":  {MaxGroupsPerChannel: -1},
		"channel options": {Channel: wschannels.ChannelOptions{QueueBytes: -1}},
		"channel ID":      {Channel: wschannels.ChannelOptions{ID: uuid.New()}},
		"origin pattern":  {Accept: websocket.AcceptOptions{OriginPatterns: []string{"["}}},
	} {
		if b, err := wschannels.New(&opts); !errors.Is(err, wschannels.ErrInvalidOption) || b != nil {
			t.Errorf("%s: %v, %v, want ErrInvalidOption", name, b, err)
		}
	}
	b := boxOf(t, nil)
	c, _ := boxMember(t, b, nil)
	for name, opts := range map[string]*wschannels.JoinOptions{
		"both replays":  {ReplayLast: 1, ReplayAfter: &wschannels.Position{}},
		"negative last": {ReplayLast: -1},
	} {
		if _, err := b.Join(t.Context(), c, "g", opts); err == nil || len(c.Groups()) != 0 {
			t.Errorf("Join with %s: %v, and in %q", name, err, c.Groups())
		}
	}
	if _, err := b.History(t.Context(), "g", &wschannels.HistoryOptions{Last: -1}); err == nil {
		t.Error("History with a negative Last succeeded")
	}
	if _, err := b.Join(t.Context(), nil, "g", nil); err == nil {
		t.Error("Join of nil succeeded")
	}
	if _, err := b.Leave(t.Context(), nil, "g"); err == nil {
		t.Error("Leave of nil succeeded")
	}
	if err := b.Add(nil); err == nil {
		t.Error("Add of nil succeeded")
	}
}

func TestBoxSendTo(t *testing.T) {
	b := boxOf(t, nil)
	c, conn := boxMember(t, b, nil)
	other, otherConn := boxMember(t, b, nil)
	if err := b.SendTo(t.Context(), c.ID(), "x"); err != nil {
		t.Fatal(err)
	}
	boxWant(t, "received", boxFlushed(t, c, conn), []string{"x"})
	boxWant(t, "the other", boxFlushed(t, other, otherConn), nil)
	if err := b.SendTo(t.Context(), uuid.New(), "x"); !errors.Is(err, wschannels.ErrNoSuchChannel) {
		t.Errorf("unknown: %v, want ErrNoSuchChannel", err)
	}
	c.CloseNow()
	if err := b.SendTo(t.Context(), c.ID(), "x"); !errors.Is(err, wschannels.ErrNoSuchChannel) {
		t.Errorf("closed: %v, want ErrNoSuchChannel", err)
	}
	if err := b.SendTo(t.Context(), other.ID(), []byte("\xff")); !errors.As(err, new(*wschannels.PayloadError)) {
		t.Errorf("what cannot be encoded: %v, want a *PayloadError", err)
	}
}

func TestBoxAdd(t *testing.T) {
	b := boxOf(t, nil)
	opts := boxText
	opts.ID = uuid.New()
	c, _ := boxMember(t, b, &opts)
	if err := b.Add(c); err != nil {
		t.Errorf("Add again: %v", err)
	}
	if got, ok := b.Channel(opts.ID); !ok || got != c || len(b.Channels()) != 1 {
		t.Errorf("Channel = %v, %t; Channels = %v", got, ok, b.Channels())
	}
	twin, conn := boxChannel(t, &opts)
	if err := b.Add(twin); !errors.Is(err, wschannels.ErrDuplicateID) {
		t.Errorf("Add of a duplicate: %v, want ErrDuplicateID", err)
	}
	if _, _, closed := conn.Closed(); closed || twin.Err() != nil {
		t.Error("a refused Add closed the caller's channel")
	}
	c.CloseNow()
	if err := b.Add(twin); err != nil {
		t.Errorf("Add of the successor: %v", err)
	}
	if err := b.Add(c); !errors.Is(err, wschannels.ErrClosed) {
		t.Errorf("Add of a closed channel: %v, want ErrClosed", err)
	}
	if err := boxOf(t, nil).Add(twin); err == nil {
		t.Error("a channel got into two boxes")
	}
}

func TestBoxMaxChannels(t *testing.T) {
	b := boxOf(t, &wschannels.Options{MaxChannels: 2})
	first, _ := boxMember(t, b, nil)
	boxMember(t, b, nil)
	third, _ := boxChannel(t, nil)
	if err := b.Add(third); !errors.Is(err, wschannels.ErrTooManyChannels) || third.Err() != nil {
		t.Errorf("Add past the limit: %v (channel: %v), want ErrTooManyChannels", err, third.Err())
	}
	for name, h := range map[string]http.Handler{
		"box": b, "Handler": b.Handler(func(context.Context, *wschannels.Channel) error { return nil }),
		"Accept": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := b.Accept(w, r, nil); !errors.Is(err, wschannels.ErrTooManyChannels) {
				t.Errorf("Accept: %v, want ErrTooManyChannels", err)
			}
		}),
	} {
		if code := boxRequest(h); code != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d, want 503", name, code)
		}
	}
	if s := b.Stats(); s.Refused != 3 || s.Accepted != 2 || s.Channels != 2 {
		t.Errorf("Stats: %+v, want 3 refused, 2 accepted", s)
	}
	first.CloseNow()
	if err := b.Add(third); err != nil {
		t.Errorf("Add after one has gone: %v", err)
	}
}

// boxRequest asks h for an upgrade and returns the status of a refusal.
func boxRequest(h http.Handler) int {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// The box fills while a client is upgrading: then it is too late for a 503.
func TestBoxFullDuringTheUpgrade(t *testing.T) {
	b := boxOf(t, &wschannels.Options{MaxChannels: 1})
	waiting, full := make(chan bool), make(chan bool)
	h := b.Handler(nil, func(next wschannels.Handler) wschannels.Handler {
		return func(ctx context.Context, c *wschannels.Channel) error {
			waiting <- true
			<-full
			return next(ctx, c)
		}
	})
	client := wschannelstest.Dial(t, h, "/")
	<-waiting
	boxMember(t, b, nil)
	close(full)
	_, _, err := client.Read(t.Context())
	if got := websocket.CloseStatus(err); got != websocket.StatusTryAgainLater {
		t.Errorf("closed with %v (%v), want 1013", got, err)
	}
	boxEventually(t, "the refusal is counted", func() bool { return b.Stats().Refused == 1 })
	if s := b.Stats(); s.Channels != 1 || s.Accepted != 1 {
		t.Errorf("Stats: %+v, want 1 channel", s)
	}
}

func TestBoxMaxGroupsPerChannel(t *testing.T) {
	b := boxOf(t, &wschannels.Options{MaxGroupsPerChannel: 2})
	c, _ := boxMember(t, b, nil, "a", "b")
	if _, err := b.Join(t.Context(), c, "c", nil); !errors.Is(err, wschannels.ErrTooManyGroups) {
		t.Errorf("third group: %v, want ErrTooManyGroups", err)
	}
	if res := boxJoin(t, b, c, "a", nil); res.Status != wschannels.ChannelExists {
		t.Errorf("joining again at the limit: %v", res.Status)
	}
	if _, err := b.Leave(t.Context(), c, "a"); err != nil {
		t.Fatal(err)
	}
	boxJoin(t, b, c, "c", nil)
	if got := c.Groups(); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("Groups() = %q, want b and c", got)
	}
	// Groups outside the box are not the box's to limit.
	g, _ := wschannels.NewGroup("free", nil)
	boxGroupAdd(t, g, c)

	many := boxOf(t, nil)
	c, _ = boxMember(t, many, nil)
	for i := range 128 {
		boxJoin(t, many, c, fmt.Sprint(i), nil)
	}
	if _, err := many.Join(t.Context(), c, "one more", nil); !errors.Is(err, wschannels.ErrTooManyGroups) {
		t.Errorf("group 129 by default: %v, want ErrTooManyGroups", err)
	}
}

func TestBoxMaxGroups(t *testing.T) {
	b := boxOf(t, &wschannels.Options{MaxGroups: 2})
	c, _ := boxMember(t, b, nil, "members")
	boxSend(t, b, "history", "x", boxSave)
	if _, err := b.Join(t.Context(), c, "third", nil); !errors.Is(err, wschannels.ErrTooManyGroups) || len(c.Groups()) != 1 {
		t.Errorf("Join: %v, in %q, want ErrTooManyGroups", err, c.Groups())
	}
	if res, err := b.GroupSend(t.Context(), "third", "x", boxSave); !errors.Is(err, wschannels.ErrTooManyGroups) {
		t.Errorf("a saved send: %+v, %v, want ErrTooManyGroups", res, err)
	}
	boxSend(t, b, "third", "x", nil) // needs no place
	boxSend(t, b, "members", "x", boxSave)
	boxJoin(t, b, c, "history", nil)
	if err := b.FlushHistory(t.Context(), "history"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Join(t.Context(), c, "third", nil); !errors.Is(err, wschannels.ErrTooManyGroups) {
		t.Errorf("Join while both have members: %v, want ErrTooManyGroups", err)
	}
	if _, err := b.Leave(t.Context(), c, "history"); err != nil {
		t.Fatal(err)
	}
	boxJoin(t, b, c, "third", nil)
}

func TestBoxFlushGroupsKeepsConnections(t *testing.T) {
	b := boxOf(t, nil)
	one, conn := boxMember(t, b, nil, "a", "b")
	two, _ := boxMember(t, b, nil, "b")
	boxSend(t, b, "a", "before", boxSave)
	if err := b.FlushGroups(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.Groups()) != 0 || len(one.Groups()) != 0 || len(two.Groups()) != 0 {
		t.Errorf("left: %v, %q, %q", b.Groups(), one.Groups(), two.Groups())
	}
	boxSend(t, b, "a", "nobody", nil)
	if one.Err() != nil || two.Err() != nil || len(b.Channels()) != 2 {
		t.Error("a connection was closed")
	}
	boxJoin(t, b, one, "a", nil)
	boxSend(t, b, "a", "after", nil)
	boxWant(t, "received", boxFlushed(t, one, conn), []string{"before", "after"})
	boxWant(t, "history", boxHistory(t, b, "a", nil), []string{"before"})
}

// A channel that is not trusted yet joins nothing.
func TestBoxJoinNeedsAuthentication(t *testing.T) {
	b := boxOf(t, nil)
	opts := boxText
	opts.Authenticator = func(context.Context, *wschannels.Channel, string) error { return nil }
	c, conn := boxMember(t, b, &opts)
	if _, err := b.Join(t.Context(), c, "g", nil); !errors.Is(err, wschannels.ErrUnauthorized) || len(b.Groups()) != 0 {
		t.Errorf("Join: %v, want ErrUnauthorized", err)
	}
	if err := b.SendTo(t.Context(), c.ID(), "x"); !errors.Is(err, wschannels.ErrUnauthorized) {
		t.Errorf("SendTo: %v, want ErrUnauthorized", err)
	}
	if err := c.Authenticate(t.Context(), "token"); err != nil {
		t.Fatal(err)
	}
	boxJoin(t, b, c, "g", nil)
	boxSend(t, b, "g", "x", nil)
	boxWant(t, "received", boxFlushed(t, c, conn), []string{"x"})
}
