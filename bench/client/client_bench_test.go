package client

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/wschannels/wschannels/bench/wire"
)

// What the client can take at most: a server that costs next to nothing sends 32 KiB
// at a time to 100 members. It should be several times what any contestant sends.
func BenchmarkClient(b *testing.B) {
	const members, size = 100, 128
	var chunk []byte
	for len(chunk) < 32<<10 {
		chunk = wire.AppendFrame(chunk, 0x80|wire.OpText, wire.AppendPayload(nil, size, 1e18, 1))
	}
	perChunk := bytes.Count(chunk, []byte(`{"t":`))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	p := newProgress(discard{}, members, 32)
	ended := make(chan struct{}, members)
	servers := make([]net.Conn, members)
	all := make([]*member, members)
	for i := range members {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		if servers[i], err = l.Accept(); err != nil {
			b.Fatal(err)
		}
		all[i] = adopt(&session{tcp: c.(*net.TCPConn)}, p)
		go func() { all[i].run(); ended <- struct{}{} }()
	}
	sent := 0
	for b.Loop() {
		for _, c := range servers {
			if _, err := c.Write(chunk); err != nil {
				b.Fatal(err)
			}
		}
		sent += perChunk
	}
	for _, c := range servers {
		c.Close()
	}
	for range members {
		<-ended
	}
	for i, m := range all {
		if m.end != io.EOF || m.received != int64(sent) {
			b.Fatalf("member %d: %d of %d messages: %v", i, m.received, sent, m.end)
		}
		m.tcp.Close()
	}
	b.ReportMetric(float64(sent)*members/b.Elapsed().Seconds(), "deliveries/s")
}

type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error) { return len(p), nil }
