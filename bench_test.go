package wschannels_test

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// benchConn takes every write at once and has nothing to read.
type benchConn struct {
	once sync.Once
	gone chan struct{}
	in   chan []byte    // nil: nothing
	out  *atomic.Uint64 // counts writes
}

func (c *benchConn) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	select {
	case p := <-c.in:
		return websocket.MessageText, p, nil
	case <-c.gone:
	case <-ctx.Done():
	}
	return 0, nil, net.ErrClosed
}
func (c *benchConn) Write(context.Context, websocket.MessageType, []byte) error {
	c.out.Add(1)
	return nil
}
func (c *benchConn) Ping(context.Context) error               { return nil }
func (c *benchConn) Close(websocket.StatusCode, string) error { return c.CloseNow() }
func (c *benchConn) CloseNow() error {
	c.once.Do(func() { close(c.gone) })
	return nil
}

var benchOptions = &wschannels.ChannelOptions{PayloadType: wschannels.Text, QueueBytes: 64 << 20, Heartbeat: -1}

func benchChannel(b *testing.B, in chan []byte, out *atomic.Uint64) *wschannels.Channel {
	c, err := wschannels.NewChannel(&benchConn{gone: make(chan struct{}), in: in, out: out}, benchOptions)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func benchBox(b *testing.B, channels int, out *atomic.Uint64) (*wschannels.ChannelBox, []*wschannels.Channel) {
	box, err := wschannels.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	all := make([]*wschannels.Channel, channels)
	for i := range all {
		all[i] = benchChannel(b, nil, out)
		if err := box.Add(all[i]); err != nil {
			b.Fatal(err)
		}
	}
	return box, all
}

const benchPayload = "a message of about one hundred and twenty-eight bytes, such as a line of chat or a price, as people send them all day long, ok"

func BenchmarkSend(b *testing.B) {
	c := benchChannel(b, nil, new(atomic.Uint64))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Send(b.Context(), benchPayload); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// Each iteration is a whole fan-out, to the last write: one message at a time is the
// dearest way, a wake-up for every delivery.
func BenchmarkGroupSend(b *testing.B) {
	for _, members := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			var out atomic.Uint64
			box, all := benchBox(b, members, &out)
			for _, c := range all {
				if _, err := box.Join(b.Context(), c, "room", nil); err != nil {
					b.Fatal(err)
				}
			}
			queued := 0
			send := func() {
				res, err := box.GroupSend(b.Context(), "room", benchPayload, nil)
				if err != nil {
					b.Fatal(err)
				}
				queued += res.Queued
				for out.Load() < uint64(queued) {
					runtime.Gosched()
				}
			}
			for range 20 {
				send() // what channels and the runtime allocate for the first, they keep
			}
			queued = 0
			out.Store(0)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
			runtime.ReadMemStats(&after)
			if want := b.N * members; queued != want {
				b.Fatalf("queued %d messages, want %d", queued, want)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(queued), "ns/delivery")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(queued), "B/delivery")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(queued), "allocs/delivery")
		})
	}
}

func BenchmarkJoinLeave(b *testing.B) {
	box, all := benchBox(b, 2, nil)
	if _, err := box.Join(b.Context(), all[0], "room", nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := box.Join(b.Context(), all[1], "room", nil); err != nil {
			b.Fatal(err)
		}
		if s, err := box.Leave(b.Context(), all[1], "room"); s != wschannels.ChannelRemoved || err != nil {
			b.Fatal(s, err)
		}
	}
}

func BenchmarkSendTo(b *testing.B) {
	for _, channels := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("channels=%d", channels), func(b *testing.B) {
			box, all := benchBox(b, channels, new(atomic.Uint64))
			ids := make([]uuid.UUID, 100)
			for i := range ids {
				ids[i] = all[i*len(all)/len(ids)].ID()
			}
			i := 0
			runtime.GC()
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // what lives makes collecting dearer, not SendTo
			b.ReportAllocs()
			for b.Loop() {
				if err := box.SendTo(b.Context(), ids[i%len(ids)], benchPayload); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

func BenchmarkHistoryAppend(b *testing.B) {
	for _, appended := range []int{1, 1_000_000} {
		b.Run(fmt.Sprintf("after=%d", appended), func(b *testing.B) {
			h, err := wschannels.NewHistory(&wschannels.HistoryLimits{Bytes: 1 << 20})
			if err != nil {
				b.Fatal(err)
			}
			m := wschannels.Message{Created: time.Now(), Data: []byte(benchPayload)}
			for range max(appended, 10_000) { // at the cap in any case
				m.Seq++
				if err := h.Append(m); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				m.Seq++
				if err := h.Append(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReceive(b *testing.B) {
	in := make(chan []byte)
	c := benchChannel(b, in, nil)
	go func() {
		p := []byte(benchPayload)
		for {
			select {
			case in <- p:
			case <-c.Done():
				return
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Receive(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// browserRequest is an upgrade request with the headers that browsers send.
const browserRequest = "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\nOrigin: http://%s\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en-US;q=0.9,en;q=0.8\r\nCookie: session=2f0c5bb1c7a0488aa0d4c1d4f8e2a9b7; theme=dark\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"

// What an idle connection keeps at the server, its request included. The clients are
// another process.
func BenchmarkIdleConnection(b *testing.B) {
	wait := func(ctx context.Context, c *wschannels.Channel) error {
		_, err := c.Receive(ctx)
		return err
	}
	for _, mode := range []struct {
		name string
		h    wschannels.Handler
	}{{"events", nil}, {"handler", wait}} {
		b.Run(mode.name, func(b *testing.B) {
			const connections = 4000
			box, err := wschannels.New(nil)
			if err != nil {
				b.Fatal(err)
			}
			srv := httptest.NewServer(box.Handler(mode.h))
			defer srv.Close()
			for b.Loop() {
				before := inUse()
				clients := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestIdleClients$")
				clients.Env = append(os.Environ(), fmt.Sprintf("IDLE_CLIENTS=%s %d", strings.TrimPrefix(srv.URL, "http://"), connections))
				if err := clients.Start(); err != nil {
					b.Fatal(err)
				}
				until(func() bool { return box.Stats().Channels == connections })
				after := inUse()
				stack := float64(after.StackInuse) - float64(before.StackInuse)
				heap := float64(after.HeapAlloc) - float64(before.HeapAlloc)
				b.ReportMetric(heap/connections, "heapB/conn")
				b.ReportMetric(stack/connections, "stackB/conn")
				b.ReportMetric((heap+stack)/connections, "B/conn")
				b.ReportMetric(float64(runtime.NumGoroutine())/connections, "goroutines/conn")
				_ = clients.Process.Kill()
				_ = clients.Wait() // killed: an error
				until(func() bool { return box.Stats().Channels == 0 })
			}
		})
	}
}

// TestIdleClients is the other process of BenchmarkIdleConnection.
func TestIdleClients(t *testing.T) {
	var host string
	var n int
	if _, err := fmt.Sscanf(os.Getenv("IDLE_CLIENTS"), "%s %d", &host, &n); err != nil {
		t.Skip("only run by BenchmarkIdleConnection")
	}
	for range n {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, browserRequest, host, host); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	select {} // until killed
}

// until returns once what another process does has led to cond.
func until(cond func() bool) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		<-tick.C
	}
}

// inUse is what is in use after garbage collection.
func inUse() (m runtime.MemStats) {
	for range 3 { // finalizers and pools take more than one round
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m
}
