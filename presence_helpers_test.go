package wschannels_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
)

// A presenceLink is a Broker that has its engine elsewhere. While it is cut nobody hears
// anything, and calls fail, or, if silent, wait. It says Interrupted when it works again.
type presenceLink struct {
	*wschannels.MemoryBroker // the engine
	silent                   bool

	renews, sets, entries, reads atomic.Int64 // calls that got through
	fails                        atomic.Int64 // so many SetPresence are to fail

	mu   sync.Mutex // guards what follows
	cut  bool
	hook func() // runs once in Presence, when that has the answer
	late func() // likewise in Renew
	subs map[string]wschannels.Subscriber
}

func (l *presenceLink) reach(ctx context.Context) error {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	switch {
	case !cut:
		return nil
	case l.silent:
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return fmt.Errorf("the link is cut: %w", wschannels.ErrUnavailable)
}

func (l *presenceLink) cutOff() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
}

func (l *presenceLink) restore() {
	l.mu.Lock()
	l.cut = false
	subs := make(map[string]wschannels.Subscriber)
	for group, s := range l.subs {
		subs[group] = s
	}
	l.mu.Unlock()
	for group, s := range subs {
		s.Interrupted(group)
	}
}

func (l *presenceLink) Subscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	if err := l.reach(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	l.subs[group] = s
	l.mu.Unlock()
	return l.MemoryBroker.Subscribe(ctx, group, presenceEnd{s, l})
}

func (l *presenceLink) Unsubscribe(ctx context.Context, group string, s wschannels.Subscriber) error {
	l.mu.Lock()
	delete(l.subs, group)
	l.mu.Unlock()
	return l.MemoryBroker.Unsubscribe(ctx, group, presenceEnd{s, l})
}

func (l *presenceLink) Renew(ctx context.Context, node string, lease time.Duration) ([]string, error) {
	if err := l.reach(ctx); err != nil {
		return nil, err
	}
	l.renews.Add(1)
	alive, err := l.MemoryBroker.Renew(ctx, node, lease)
	l.once(&l.late)
	return alive, err
}

func (l *presenceLink) SetPresence(ctx context.Context, group string, entries ...wschannels.PresenceEntry) error {
	if err := l.reach(ctx); err != nil {
		return err
	}
	if l.fails.Add(-1) >= 0 {
		return fmt.Errorf("the link broke: %w", wschannels.ErrUnknownOutcome)
	}
	l.sets.Add(1)
	l.entries.Add(int64(len(entries)))
	return l.MemoryBroker.SetPresence(ctx, group, entries...)
}

func (l *presenceLink) Presence(ctx context.Context, group string) ([]wschannels.PresenceEntry, error) {
	if err := l.reach(ctx); err != nil {
		return nil, err
	}
	l.reads.Add(1)
	entries, err := l.MemoryBroker.Presence(ctx, group)
	l.once(&l.hook)
	return entries, err
}

// once calls the hook, if there is one.
func (l *presenceLink) once(hook *func()) {
	l.mu.Lock()
	call := *hook
	*hook = nil
	l.mu.Unlock()
	if call != nil {
		call()
	}
}

type presenceEnd struct {
	wschannels.Subscriber
	link *presenceLink
}

func (e presenceEnd) Appear(group string, entry wschannels.PresenceEntry) {
	e.link.mu.Lock()
	cut := e.link.cut
	e.link.mu.Unlock()
	if !cut {
		e.Subscriber.Appear(group, entry)
	}
}

// A presenceNode is a box on a link, and what OnPresence was told there.
type presenceNode struct {
	*wschannels.ChannelBox
	link *presenceLink

	mu   sync.Mutex // guards what follows
	told []string
	on   func(wschannels.PresenceEvent) // if not nil: is called, too
}

// presenceNodes returns n boxes on one engine. Nil opts: the defaults.
func presenceNodes(t *testing.T, n int, opts *wschannels.PresenceOptions) []*presenceNode {
	t.Helper()
	if opts == nil {
		opts = &wschannels.PresenceOptions{}
	}
	engine, err := wschannels.NewMemoryBroker(nil)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*presenceNode
	for i := range n {
		node := &presenceNode{link: &presenceLink{MemoryBroker: engine, subs: make(map[string]wschannels.Subscriber)}}
		node.ChannelBox = boxOf(t, &wschannels.Options{
			Broker: node.link, Node: fmt.Sprint(i), Presence: opts, Events: wschannels.Events{OnPresence: node.hear},
		})
		nodes = append(nodes, node)
	}
	return nodes
}

func (n *presenceNode) hear(e wschannels.PresenceEvent) {
	who := e.Member.User
	if who == "" {
		who = e.Member.ID.String()
	}
	sign := "-"
	if e.Joined {
		sign = "+"
	}
	n.mu.Lock()
	n.told = append(n.told, e.Group+sign+who)
	on := n.on
	n.mu.Unlock()
	if on != nil {
		on(e)
	}
}

// events returns what was told since it was last asked, when nothing runs any more.
func (n *presenceNode) events() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	told := n.told
	n.told = nil
	return told
}

// presenceUser returns a channel of user on n, in groups.
func presenceUser(t *testing.T, n *presenceNode, user string, groups ...string) *wschannels.Channel {
	t.Helper()
	c := presenceJoin(t, n, user, groups...)
	synctest.Wait()
	return c
}

// presenceJoin is presenceUser that does not wait until all have heard of it.
func presenceJoin(t *testing.T, n *presenceNode, user string, groups ...string) *wschannels.Channel {
	t.Helper()
	c, _ := boxMember(t, n.ChannelBox, nil)
	if user != "" {
		boxSetUser(t, c, user)
	}
	for _, g := range groups {
		boxJoin(t, n.ChannelBox, c, g, nil)
	}
	return c
}

// presenceWant checks who is in group as each of nodes says: "ann ann bob, 3 channels, 2 users".
func presenceWant(t *testing.T, group, want string, nodes ...*presenceNode) {
	t.Helper()
	synctest.Wait()
	for i, n := range nodes {
		p, err := n.Presence(t.Context(), group)
		if err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
		if !slices.IsSortedFunc(p.Members, func(a, b wschannels.PresenceMember) int { return a.Since.Compare(b.Since) }) {
			t.Errorf("node %d: the members are not in order", i)
		}
		var users []string
		for _, m := range p.Members {
			users = append(users, m.User)
		}
		slices.Sort(users)
		if got := fmt.Sprintf("%s, %d channels, %d users", strings.Join(users, " "), p.Channels, p.Users); got != want {
			t.Errorf("node %d: %q, want %q", i, got, want)
		}
	}
}

func presenceEvents(t *testing.T, what string, n *presenceNode, want ...string) {
	t.Helper()
	boxWant(t, what, n.events(), want)
}
