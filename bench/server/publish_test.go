package server

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/wschannels/wschannels/bench/wire"
)

// fakeHub tells of what is broadcast.
type fakeHub struct {
	http.Handler
	took func(group string, payload []byte)
}

func (h fakeHub) Broadcast(group string, payload []byte) { h.took(group, payload) }
func (h fakeHub) Members() int                           { return 0 }
func (h fakeHub) Counts() map[string]int64               { return nil }
func (h fakeHub) Close()                                 {}

// newProcess returns a process, and the connection on which it is told of progress.
func newProcess(t *testing.T, took func(group string, payload []byte)) (*process, net.Conn) {
	t.Helper()
	p := &process{hub: fakeHub{took: took}, progress: progress{moved: make(chan struct{}, 1)}}
	client, server := net.Pipe()
	ended := make(chan struct{})
	go func() { p.progress.read(server); close(ended) }()
	t.Cleanup(func() { client.Close(); <-ended })
	return p, client
}

func tell(w io.Writer, n int64) {
	_, _ = w.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func TestPublishKeepsTheWindow(t *testing.T) {
	const window, step = 16, 2
	told := int64(0)
	var reports net.Conn
	next := map[string]int64{}
	p, reports := newProcess(t, func(group string, payload []byte) {
		next[group]++
		_, n, ok := wire.ParseHead(payload)
		if !ok || n != next[group] || len(payload) != 128 {
			t.Errorf("the payload %d for %s is %s", next[group], group, payload)
		}
		if n > told+window {
			t.Errorf("message %d, but the slowest client has %d", n, told)
		}
		if group == GroupName(2) && n == told+window {
			told += step // the slowest client has more now, and not before
			go tell(reports, told)
		}
	})
	done := make(chan Published)
	go func() {
		d, _ := p.publish(Publish{
			Duration: 20 * time.Millisecond, Window: window, Step: step, Groups: 3, Size: 128, Patience: 200 * time.Millisecond,
		})
		done <- d
	}()
	d := <-done
	if !d.Stalled || d.Messages%step != 0 || d.Messages < window || next[GroupName(0)] != d.Messages {
		t.Errorf("published %+v, sent %v", d, next)
	}
}

func TestPublishWaitsForAll(t *testing.T) {
	sent := int64(0)
	var reports net.Conn
	p, reports := newProcess(t, func(string, []byte) {
		sent++
		go tell(reports, sent)
	})
	for range 2 {
		d, err := p.publish(Publish{
			Duration: 10 * time.Millisecond, Rate: 1000, Step: 4, Groups: 1, Size: 512, Document: true, Patience: time.Minute,
		})
		if err != nil || d.Stalled || d.Messages%4 != 0 || d.Messages < 4 {
			t.Errorf("published %+v, %v", d, err)
		}
	}
	if p.sent != sent || p.progress.n.Load() != sent {
		t.Errorf("sent %d, counted %d, progress %d", sent, p.sent, p.progress.n.Load())
	}
}

func TestReachEndsWithoutProgress(t *testing.T) {
	p, reports := newProcess(t, nil)
	tell(reports, 5)
	if !p.reach(5, time.Minute) {
		t.Error("5 are not reached")
	}
	if p.reach(6, 10*time.Millisecond) {
		t.Error("6 are reached")
	}
}
