package wschannels_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A directLink is a Broker that has its engine elsewhere, counts what it asks of it, and
// can be cut off.
type directLink struct {
	*MemoryBroker // the engine

	mu      sync.Mutex // guards what follows
	cut     bool       // calls fail with ErrUnavailable, and nothing is heard
	silent  bool       // then they take until their context ends
	ears    map[string]Listener
	asked   []string                 // addresses of requests, "publish", "put" and "take"
	muted   int                      // so many requests to come get no answer, and are heard
	gates   map[string]chan struct{} // these of asked wait until theirs is closed
	lag     time.Duration            // it hears so much later
	takeErr error                    // what TakeMail ends with, once it has emptied the mailbox
}

func (l *directLink) reach(ctx context.Context, what string) error {
	l.mu.Lock()
	l.asked = append(l.asked, what)
	cut, silent, gate := l.cut, l.silent, l.gates[what]
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	switch {
	case !cut:
		return nil
	case silent:
		<-ctx.Done()
	}
	return fmt.Errorf("%w: cut off", ErrUnavailable)
}

func (l *directLink) setCut(cut bool) {
	l.mu.Lock()
	l.cut = cut
	ears := maps.Clone(l.ears)
	l.mu.Unlock()
	if !cut {
		for address, ear := range ears {
			ear.Interrupted(address)
		}
	}
}

// took returns what was asked of the engine since the last time.
func (l *directLink) took() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	asked := l.asked
	l.asked = nil
	return asked
}

func (l *directLink) Publish(ctx context.Context, p *Publication) error {
	if err := l.reach(ctx, "publish"); err != nil {
		return err
	}
	return l.MemoryBroker.Publish(ctx, p)
}

func (l *directLink) Listen(ctx context.Context, address string, e Listener) error {
	if err := l.reach(ctx, "listen"); err != nil {
		return err
	}
	l.mu.Lock()
	if l.ears == nil {
		l.ears = make(map[string]Listener)
	}
	l.ears[address] = e
	l.mu.Unlock()
	return l.MemoryBroker.Listen(ctx, address, directEnd{l, e})
}

func (l *directLink) Unlisten(ctx context.Context, address string, e Listener) error {
	l.mu.Lock()
	delete(l.ears, address)
	l.mu.Unlock()
	return l.MemoryBroker.Unlisten(ctx, address, directEnd{l, e})
}

func (l *directLink) Request(ctx context.Context, address string, data []byte) ([]byte, error) {
	if err := l.reach(ctx, address); err != nil {
		return nil, err
	}
	return l.MemoryBroker.Request(ctx, address, data)
}

func (l *directLink) PutMail(ctx context.Context, user string, ms []Message, front bool, limits MailboxLimits) (kept, lost int, err error) {
	if err := l.reach(ctx, "put"); err != nil {
		return 0, 0, err
	}
	return l.MemoryBroker.PutMail(ctx, user, ms, front, limits)
}

func (l *directLink) TakeMail(ctx context.Context, user string) ([]Message, error) {
	if err := l.reach(ctx, "take"); err != nil {
		return nil, err
	}
	ms, err := l.MemoryBroker.TakeMail(ctx, user)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.takeErr != nil {
		return nil, l.takeErr
	}
	return ms, err
}

// A directEnd is the end of a link that requests come out of. To the engine, one that is
// cut off does not listen; here it does, and hears nothing: as an engine does that has yet
// to notice.
type directEnd struct {
	link *directLink
	to   Listener
}

func (e directEnd) Hear(address string, data []byte, answer func([]byte)) {
	e.link.mu.Lock()
	cut, muted := e.link.cut, e.link.muted > 0
	if muted {
		e.link.muted--
		answer = func([]byte) {}
	}
	lag := e.link.lag
	e.link.mu.Unlock()
	time.Sleep(lag)
	if !cut {
		e.to.Hear(address, data, answer)
	}
}

func (e directEnd) Interrupted(string) {}

// hold has what is asked wait until the gate that it returns is closed.
func (l *directLink) hold(what string) (gate chan struct{}) {
	gate = make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gates = map[string]chan struct{}{what: gate}
	return gate
}

// directCluster returns n boxes on one engine, and their links, once they listen.
func directCluster(t *testing.T, n int, opts Options) ([]*ChannelBox, []*directLink) {
	t.Helper()
	engine := memoryBroker(t, nil)
	var boxes []*ChannelBox
	var links []*directLink
	for range n {
		l := &directLink{MemoryBroker: engine}
		opts.Broker = l
		links = append(links, l)
		boxes = append(boxes, boxOf(t, &opts))
	}
	synctest.Wait()
	for _, l := range links {
		l.took()
	}
	return boxes, links
}

// directAccepted returns a channel that b accepted, and its client, which does not read.
func directAccepted(t *testing.T, b *ChannelBox, opts *ChannelOptions) (*Channel, *websocket.Conn) {
	t.Helper()
	accepted := make(chan *Channel, 1)
	client := wschannelstest.Dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := b.Accept(w, r, opts)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}), "/")
	c := <-accepted
	if c == nil {
		t.FailNow()
	}
	t.Cleanup(func() { c.CloseNow(); client.CloseNow() })
	return c, client
}

// directWithin fails unless f takes exactly as long as it should, in a bubble.
func directWithin(t *testing.T, what string, want time.Duration, f func()) {
	t.Helper()
	begun := time.Now()
	if f(); time.Since(begun) != want {
		t.Errorf("%s took %v, want %v", what, time.Since(begun), want)
	}
}
