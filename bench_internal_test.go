package wschannels

import (
	"fmt"
	"net"
	"testing"

	"github.com/coder/websocket"
)

// Ways to hand a batch to a connection, over TCP to a reader in this process: laid out
// for every connection, laid out once for many, or from where its frames lie.
func BenchmarkTransmit(b *testing.B) {
	for _, shape := range []struct{ frames, size int }{{1, 128}, {32, 128}, {1, 16 << 10}, {4, 16 << 10}, {16, 16 << 10}, {1, 1 << 20}} {
		for _, way := range []string{"copied", "copied once", "writev"} {
			b.Run(fmt.Sprintf("%dx%d/%s", shape.frames, shape.size, way), func(b *testing.B) {
				conn := benchConn(b)
				bt := new(batch)
				for range shape.frames {
					bt.frames = append(bt.frames, newFrame(websocket.MessageBinary, make([]byte, shape.size)))
				}
				b.SetBytes(int64(shape.frames * shape.size))
				b.ReportAllocs()
				for b.Loop() {
					var err error
					switch way {
					case "copied":
						bt.laid = bt.laid[:0]
						_, err = conn.Write(bt.layOut())
					case "copied once":
						_, err = conn.Write(bt.layOut())
					case "writev":
						parts := make(net.Buffers, 0, 2*len(bt.frames))
						for _, f := range bt.frames {
							parts = append(parts, f.header[:f.hlen], f.payload)
						}
						_, err = parts.WriteTo(conn)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// benchConn returns a TCP connection whose other end is read.
func benchConn(b *testing.B) net.Conn {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	peer, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, 256<<10)
		for {
			if _, err := peer.Read(p); err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() {
		conn.Close()
		<-done
		peer.Close()
	})
	return conn
}

func BenchmarkDeflate(b *testing.B) {
	p := []byte(`{"items":[`)
	for i := range 12 {
		p = fmt.Appendf(p, `{"id":%d,"name":"item %x","price":%d.%02d,"available":%t,"tags":["a%d","b"]},`, 1000+i*37, i*i*7919, i*13%97, i*31%100, i%3 == 0, i)
	}
	p = append(p, `null]}`...)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if deflate(p) == nil {
			b.Fatal("not shorter")
		}
	}
}
