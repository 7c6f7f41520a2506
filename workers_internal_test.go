package wschannels

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A workersOwner is the channel of a queue that is tested on a TCP connection.
type workersOwner struct {
	*ownedConn
	failed chan error
}

func (o *workersOwner) writeFailed(err error) { o.failed <- err }
func (o *workersOwner) refill()               {}

// workersQueue returns a queue on one end of a TCP connection, and the other end.
func workersQueue(t *testing.T, w *workers, limit int) (*queue, *workersOwner, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).SetWriteBuffer(16 << 10) // so that it is soon full
	t.Cleanup(func() { peer.Close(); conn.Close() })
	_ = peer.SetDeadline(time.Now().Add(20 * time.Second))
	raw := rawConn(conn)
	if raw == nil {
		t.Skip("no writes without waiting on this system")
	}
	o := &workersOwner{&ownedConn{in: frameReader{conn: conn, limits: &ChannelOptions{WriteTimeout: 10 * time.Second}}}, make(chan error, 10)}
	q := &queue{limit: limit, owner: o, raw: raw, workers: w}
	q.run = q.flush
	return q, o, peer
}

// inTime ends waits that would never end.
func inTime(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// none waits until no worker is left.
func (w *workers) none(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		w.mu.Lock()
		n, first, last := w.running, w.first, w.last
		w.mu.Unlock()
		if n == 0 {
			if first != nil || last != nil {
				t.Fatal("the workers have gone, and somebody waits")
			}
			return
		}
	}
	t.Fatal("the workers do not end")
}

// Whoever writes, a worker until there is no more room, a goroutine, a worker again:
// every byte goes out once, in order.
func TestWorkersWriteEverythingInOrder(t *testing.T) {
	for _, size := range []int{0, 1, 300, 20_000, maxBatch, 200_000} {
		w := newWorkers()
		q, _, peer := workersQueue(t, w, 1<<20)
		messages := min(60, 2<<20/(size+1)+2)
		var want []byte
		var frames []*frame
		for i := range messages {
			f := newFrame(websocket.MessageBinary, []byte(strings.Repeat(string(rune('a'+i%26)), size+i%3)))
			frames = append(frames, f)
			want = f.appendTo(want)
		}
		go func() {
			for i, f := range frames {
				if i%20 == 19 { // control frames in between are not lost either
					_ = q.wait(inTime(t))
				}
				if err := q.send(inTime(t), f, false); err != nil {
					t.Error(err)
				}
			}
		}()
		got := make([]byte, len(want))
		for n := 0; n < len(got); n += min(len(got)-n, 30_000) { // the peer is slow
			if _, err := io.ReadFull(peer, got[n:n+min(len(got)-n, 30_000)]); err != nil {
				t.Fatalf("%d of %d bytes: %v", n, len(got), err)
			}
			runtime.Gosched()
		}
		if string(got) != string(want) {
			t.Errorf("messages of %d bytes: what came is not what was sent", size)
		}
		if err := q.wait(inTime(t)); err != nil {
			t.Error(err)
		}
		w.none(t)
		if n := q.counts(); n.sent != uint64(messages) || n.queued != 0 || n.dropped != 0 {
			t.Errorf("counts: %+v", n)
		}
	}
}

// A connection without room occupies no worker: the others are written to.
func TestWorkersPassByAFullConnection(t *testing.T) {
	w := newWorkers()
	full := newFrame(websocket.MessageBinary, make([]byte, 32<<10))
	for range 4 * w.most {
		q, _, _ := workersQueue(t, w, 64<<20)
		for range 200 { // more than the system takes
			if err := q.send(inTime(t), full, false); err != nil {
				t.Fatal(err)
			}
		}
		defer q.terminate()
	}
	q, _, peer := workersQueue(t, w, 1<<20)
	if err := q.send(inTime(t), newFrame(websocket.MessageText, []byte("through")), false); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 9)
	if _, err := io.ReadFull(peer, got); err != nil || string(got[2:]) != "through" {
		t.Errorf("%q, %v", got, err)
	}
	w.none(t) // though the stalled connections still have much to write
}

// A write that had to wait leaves no deadline behind for those that do not.
func TestWorkersMeetNoOldDeadline(t *testing.T) {
	w := newWorkers()
	q, o, peer := workersQueue(t, w, 1<<20)
	o.in.limits.WriteTimeout = 50 * time.Millisecond
	go io.Copy(io.Discard, peer)
	long := newFrame(websocket.MessageBinary, make([]byte, maxBatch+1)) // not for a worker
	if err := q.send(inTime(t), long, false); err != nil {
		t.Fatal(err)
	}
	if err := q.wait(inTime(t)); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * o.in.limits.WriteTimeout)
	short := newFrame(websocket.MessageText, []byte("short"))
	if err := q.send(inTime(t), short, false); err != nil {
		t.Fatal(err)
	}
	if err := q.wait(inTime(t)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-o.failed:
		t.Errorf("the write failed: %v", err)
	default:
	}
}

// A broken connection is told once, and what it did not take is accounted for.
func TestWorkersTellOfABrokenConnection(t *testing.T) {
	w := newWorkers()
	q, o, peer := workersQueue(t, w, 1<<20)
	_ = peer.(*net.TCPConn).SetLinger(0)
	peer.Close() // a reset
	f := newFrame(websocket.MessageText, []byte("lost"))
	accepted := 0
	for ctx := inTime(t); len(o.failed) == 0 && ctx.Err() == nil; {
		if q.send(ctx, f, false) == nil {
			accepted++
		}
		runtime.Gosched()
	}
	if err := <-o.failed; !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("failed with %v", err)
	}
	w.none(t)
	q.refuse()
	q.terminate()
	if n := q.counts(); int(n.sent+n.dropped) != accepted || len(o.failed) > 0 {
		t.Errorf("%d accepted, and %d sent, %d dropped; %d more failures", accepted, n.sent, n.dropped, len(o.failed))
	}
}

func TestWorkersAreNoMoreThanTheirLimit(t *testing.T) {
	w := newWorkers()
	var wg sync.WaitGroup
	for range 50 {
		q, _, peer := workersQueue(t, w, 1<<20)
		wg.Go(func() { io.Copy(io.Discard, peer) })
		wg.Go(func() {
			for range 200 {
				_ = q.send(inTime(t), newFrame(websocket.MessageText, []byte("x")), false)
				w.mu.Lock()
				if w.running > w.most {
					t.Errorf("%d workers, and the limit is %d", w.running, w.most)
				}
				w.mu.Unlock()
			}
			_ = q.wait(inTime(t))
			peer.Close()
		})
	}
	wg.Wait()
	w.none(t)
}

// The File of a socket makes it wait once somebody asks for its descriptor.
func TestWorkersDoNotWaitForASocketThatWasMadeToWait(t *testing.T) {
	_, o, _ := workersQueue(t, newWorkers(), 1)
	f, err := o.in.conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_ = f.Fd()
	raw := rawConn(o.in.conn)
	tr := trials.Get().(*trial)
	p := make([]byte, 64<<10)
	for range 10_000 {
		n, err := tr.try(raw, p)
		if err != nil {
			t.Fatal(err)
		}
		if n < len(p) {
			return // it is full, and we are here
		}
	}
	t.Error("more than 600 MB, and no end")
}

// A peer that reads slowly, and all the time, has WriteTimeout for every part of what a
// worker left over. All together take longer; on a machine that is too busy to read in time,
// they are given more.
func TestASlowPeerHasItsTimeForEachPart(t *testing.T) {
	var err error
	for timeout := 400 * time.Millisecond; timeout < 4*time.Second; timeout *= 2 {
		if err = readSlowly(t, timeout); err == nil {
			return
		}
	}
	t.Error(err)
}

func readSlowly(t *testing.T, timeout time.Duration) error {
	q, o, peer := workersQueue(t, newWorkers(), 4<<20)
	_ = peer.(*net.TCPConn).SetReadBuffer(16 << 10) // or TCP waits for much to be read before it sends more
	o.in.limits.WriteTimeout = timeout
	f := newFrame(websocket.MessageBinary, make([]byte, 16<<10))
	q.mu.Lock() // so that the worker finds all of them
	for range 40 {
		q.push(f)
	}
	q.wake()
	q.mu.Unlock()
	tick := time.NewTicker(3 * timeout / 20)
	defer tick.Stop()
	p := make([]byte, 16<<10+4)
	for range 40 { // a part takes some 4 ticks, and what the worker leaves over more than 7
		<-tick.C
		_ = peer.SetReadDeadline(time.Now().Add(2 * timeout))
		if _, err := io.ReadFull(peer, p); err != nil {
			return fmt.Errorf("with %v for each part: %w", timeout, err)
		}
	}
	if len(o.failed) > 0 {
		return fmt.Errorf("with %v for each part it ended with %w", timeout, <-o.failed)
	}
	return nil
}

// What several members get is laid out once, and never mistaken for something else.
func TestBatchesAreLaidOutOnce(t *testing.T) {
	a, b := newFrame(websocket.MessageText, []byte("a")), newFrame(websocket.MessageText, []byte("b"))
	bt := new(batch)
	lay := func(ping bool, frames ...*frame) string {
		bt.reset()
		bt.ping = ping
		bt.frames = append(bt.frames, frames...)
		return string(bt.layOut())
	}
	for _, tt := range []struct {
		ping   bool
		frames []*frame
		want   string
	}{
		{false, []*frame{a, b}, "\x81\x01a\x81\x01b"},
		{false, []*frame{a, b}, "\x81\x01a\x81\x01b"},
		{true, []*frame{a, b}, "\x89\x00\x81\x01a\x81\x01b"},
		{false, []*frame{a, b}, "\x81\x01a\x81\x01b"},
		{false, []*frame{a}, "\x81\x01a"},
		{false, []*frame{b}, "\x81\x01b"},
		{true, nil, "\x89\x00"},
		{false, []*frame{b, a}, "\x81\x01b\x81\x01a"},
	} {
		if got := lay(tt.ping, tt.frames...); got != tt.want {
			t.Errorf("%v, %d frames: %q, want %q", tt.ping, len(tt.frames), got, tt.want)
		}
	}
	first := &bt.layOut()[0]
	bt.layOut()[0] = '!'
	if got := bt.layOut(); &got[0] != first || got[0] != '!' {
		t.Error("the same frames were laid out twice")
	}
}
