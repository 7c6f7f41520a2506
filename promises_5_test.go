package wschannels_test

import (
	"context"
	"errors"
	"net"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// Promise 5: Close, CloseAll and Shutdown return within their bound against any peer;
// healthy peers get the right code once; no goroutine is left two seconds later.
func TestPromise5ClosingIsBounded(t *testing.T) {
	t.Run("to the nanosecond", testClosingIsBounded)
	t.Run("over TCP", testClosingIsBoundedOverTCP)
}

// promiseEnds are the ways to close all channels of a box, and what a healthy client is
// told. The context is that of those who take one.
var promiseEnds = []struct {
	name  string
	code  websocket.StatusCode
	close func(ctx context.Context, b *wschannels.ChannelBox) error
}{
	{"Close of each", 3005, func(_ context.Context, b *wschannels.ChannelBox) error {
		var all sync.WaitGroup
		for _, c := range b.Channels() {
			all.Go(func() { c.Close(3005, "") })
		}
		all.Wait()
		return nil
	}},
	{"CloseAll", 4321, func(ctx context.Context, b *wschannels.ChannelBox) error {
		_, err := b.CloseAll(ctx, 4321, "")
		return err
	}},
	{"Shutdown", 1001, func(ctx context.Context, b *wschannels.ChannelBox) error { return b.Shutdown(ctx) }},
	{"all at once", 1001, func(ctx context.Context, b *wschannels.ChannelBox) error {
		var others sync.WaitGroup
		cs := b.Channels()
		err := make(chan error, 1)
		go func() { err <- b.Shutdown(ctx) }()
		<-cs[len(cs)-1].Done()
		others.Go(func() { b.CloseAll(ctx, 1001, "") })
		for _, c := range cs {
			others.Go(func() { c.Close(1001, "") })
		}
		others.Wait()
		return <-err
	}},
}

// In a bubble, over pipes without any buffer: the bound is CloseTimeout, or that of the
// context, and not more; the healthy wait for nothing.
func testClosingIsBounded(t *testing.T) {
	const closeTimeout = 3 * time.Second
	cause := errors.New("out of patience")
	for _, end := range promiseEnds {
		for _, patience := range []time.Duration{time.Hour, time.Second} {
			bound, want := closeTimeout, error(nil)
			if patience < closeTimeout && end.name != "Close of each" {
				bound, want = patience, cause
			}
			t.Run(end.name+" within "+bound.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					before := promiseGoroutines()
					var b *wschannels.ChannelBox
					b = wireBox(t, &wschannels.Options{
						Channel: wschannels.ChannelOptions{PayloadType: wschannels.Text, CloseTimeout: closeTimeout},
						Events:  wschannels.Events{OnConnect: promiseJoins(&b)},
					})
					for _, tt := range promiseHostile {
						p := wirePipe(t, b)
						if tt.reads {
							p.frames()
						}
						go p.Write(tt.sends) // ends with the connection
					}
					healthy := []*promiseClient{promiseHealthy(wirePipe(t, b)), promiseHealthy(wirePipe(t, b))}
					gone := wirePipe(t, b)
					synctest.Wait()
					boxSend(t, b, "g", "last words", nil)
					gone.Close()

					ctx, cancel := context.WithTimeoutCause(t.Context(), patience, cause)
					defer cancel()
					start := time.Now()
					err := end.close(ctx, b)
					if took := time.Since(start); took != bound || !errors.Is(err, want) {
						t.Errorf("it returned %v after %v, want %v after %v", err, took, want, bound)
					}
					for _, c := range healthy {
						c.wants(t, []string{"last words"}, end.code)
						if late := c.at.Sub(start); late != 0 {
							t.Errorf("a healthy client was told %v later, want at once", late)
						}
					}
					time.Sleep(2 * time.Second)
					synctest.Wait()
					if left := promiseGoroutines(); left > before {
						t.Errorf("%d goroutines are left", left-before)
					}
					boxNothingLeft(t, b)
					wireShutdown(t, b)
				})
			})
		}
	}
}

// Over TCP, with queues and kernels full of what the hostile do not read.
func testClosingIsBoundedOverTCP(t *testing.T) {
	for _, end := range promiseEnds {
		t.Run(end.name, func(t *testing.T) {
			before := promiseGoroutines()
			var b *wschannels.ChannelBox
			b = wireBox(t, &wschannels.Options{
				Channel: wschannels.ChannelOptions{
					PayloadType: wschannels.Text, CloseTimeout: time.Second, QueueBytes: 64 << 20, WriteTimeout: time.Hour,
				},
				Events: wschannels.Events{OnConnect: promiseJoins(&b)},
			})
			srv := wireServe(t, b, b)
			for _, tt := range promiseHostile {
				p := promiseDial(t, srv)
				if tt.reads {
					p.frames()
				}
				go p.Write(tt.sends) // ends with the connection
			}
			healthy := []*promiseClient{promiseHealthy(promiseDial(t, srv)), promiseHealthy(promiseDial(t, srv))}
			gone := promiseDial(t, srv)
			// Two close by themselves, for what they were sent.
			boxEventually(t, "all are in", func() bool {
				s := b.Stats()
				return s.Accepted == uint64(len(promiseHostile)+3) && len(b.Members("g")) == len(promiseHostile)+1
			})
			text := strings.Repeat("x", 1<<20)
			var words []string
			for range 16 {
				boxSend(t, b, "g", text, nil)
				words = append(words, text)
			}
			boxEventually(t, "the healthy have all", func() bool { return healthy[0].has(16) && healthy[1].has(16) })
			_ = gone.Conn.(*net.TCPConn).SetLinger(0)
			gone.Close()

			ctx, cancel := context.WithTimeout(t.Context(), boxPatience)
			defer cancel()
			start := time.Now()
			if err := end.close(ctx, b); err != nil {
				t.Error(err)
			}
			t.Logf("%d channels were closed in %v", len(promiseHostile)+3, time.Since(start))
			for _, c := range healthy {
				c.wants(t, words, end.code)
			}
			// The hostile clients are still there, and their connections not.
			boxEventually(t, "the last goroutine has gone", func() bool { return promiseGoroutines() <= before })
			t.Logf("the last goroutine had gone after %v", time.Since(start))
			boxNothingLeft(t, b)
		})
	}
}

func (c *promiseClient) has(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.data) >= n
}

// promiseGoroutines counts the goroutines that the package has started.
func promiseGoroutines() int {
	stacks := make([]byte, 16<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return len(promiseOurs.FindAll(stacks, -1))
}

var promiseOurs = regexp.MustCompile(`created by github\.com/wschannels/wschannels\.`)
