package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

// A listener is a Listener that keeps what it hears.
type listener struct {
	mu      sync.Mutex // guards what follows
	reply   func(address string, data []byte) []byte
	got     []string
	answers []func(data []byte)
	broken  map[string]int
}

// newListener returns one that answers with what reply returns; nil: only answer does.
func newListener(reply func(address string, data []byte) []byte) *listener {
	return &listener{reply: reply, broken: make(map[string]int)}
}

func echo(_ string, data []byte) []byte { return data }

// Hear keeps what it is given.
func (l *listener) Hear(address string, data []byte, answer func(data []byte)) {
	l.mu.Lock()
	l.got = append(l.got, fmt.Sprintf("%s: %s", address, data))
	l.answers = append(l.answers, answer)
	reply := l.reply
	l.mu.Unlock()
	if reply != nil {
		answer(reply(address, data))
	}
}

// Interrupted counts.
func (l *listener) Interrupted(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken[address]++
}

// interruptions returns how often Interrupted has been called for address.
func (l *listener) interruptions(address string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken[address]
}

// heard returns the address and the data of each request so far.
func (l *listener) heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

// answer answers request i.
func (l *listener) answer(i int, data []byte) {
	l.mu.Lock()
	answer := l.answers[i]
	l.mu.Unlock()
	answer(data)
}

// then has l answer from now on with what reply returns.
func (l *listener) then(reply func(address string, data []byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reply = reply
}

func listen(t *testing.T, b wschannels.Broker, address string, l *listener) {
	t.Helper()
	do(t, fmt.Sprintf("Listen at %q", address), func(ctx context.Context) error {
		return b.(wschannels.RequestBroker).Listen(ctx, address, l)
	})
}

func unlisten(t *testing.T, b wschannels.Broker, address string, l *listener) {
	t.Helper()
	do(t, fmt.Sprintf("Unlisten at %q", address), func(ctx context.Context) error {
		return b.(wschannels.RequestBroker).Unlisten(ctx, address, l)
	})
}

// request sends a request that must be answered, and returns the answer.
func request(t *testing.T, b wschannels.Broker, address, text string) (answer string) {
	t.Helper()
	do(t, fmt.Sprintf("Request to %q", address), func(ctx context.Context) error {
		data, err := b.(wschannels.RequestBroker).Request(ctx, address, []byte(text))
		answer = string(data)
		return err
	})
	return answer
}

// wantNobody waits until nobody listens at address: Unlisten need not have told the engine.
func wantNobody(t *testing.T, b wschannels.Broker, address string) {
	t.Helper()
	eventually(t, fmt.Sprintf("nobody listens at %q", address), func() bool {
		_, err := b.(wschannels.RequestBroker).Request(lasting(t, time.Second), address, []byte("still there?"))
		return errors.Is(err, wschannels.ErrNobody)
	})
}
