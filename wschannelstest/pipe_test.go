package wschannelstest_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels/wschannelstest"
)

// withPipe runs test in a bubble, so that what waits for ever fails at once.
func withPipe(t *testing.T, test func(t *testing.T, a, b net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		a, b := wschannelstest.NewPipe()
		defer b.Close()
		defer a.Close()
		test(t, a, b)
	})
}

// fill writes until the buffer towards the other end is full.
func fill(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Write(make([]byte, wschannelstest.PipeBuffer)); n != wschannelstest.PipeBuffer || err != nil {
		t.Fatalf("Write of a whole buffer: %d, %v", n, err)
	}
}

func TestPipeCarriesBothWays(t *testing.T) {
	for name, from := range map[string]int{"to server": 0, "to client": 1} {
		t.Run(name, func(t *testing.T) {
			withPipe(t, func(t *testing.T, a, b net.Conn) {
				ends := []net.Conn{a, b}
				want := randomBytes(uint64(from)) // far more than the buffer holds
				go func() {
					ends[from].Write(want)
					ends[from].Close()
				}()
				var got bytes.Buffer
				p := make([]byte, 1000)
				for {
					n, err := ends[1-from].Read(p[:1+rand.IntN(len(p))])
					got.Write(p[:n])
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				if !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%d bytes arrived, not the %d that were written", got.Len(), len(want))
				}
			})
		})
	}
}

// randomBytes returns the same MiB for the same seed.
func randomBytes(seed uint64) []byte {
	p := make([]byte, 1<<20)
	r := rand.NewPCG(seed, seed)
	for i := range p {
		p[i] = byte(r.Uint64())
	}
	return p
}

func TestPipePartialRead(t *testing.T) {
	withPipe(t, func(t *testing.T, a, b net.Conn) {
		a.Write([]byte("abc"))
		p := make([]byte, 2)
		for _, want := range []string{"ab", "c"} {
			if n, err := b.Read(p); err != nil || string(p[:n]) != want {
				t.Errorf("Read: %q, %v; want %q", p[:n], err, want)
			}
		}
		if n, err := b.Read(nil); n != 0 || err != nil {
			t.Errorf("Read into nothing: %d, %v; want 0, nil at once", n, err)
		}
		if n, err := b.Write(nil); n != 0 || err != nil {
			t.Errorf("Write of nothing: %d, %v", n, err)
		}
	})
}

func TestPipeWriteWaitsForRoom(t *testing.T) {
	withPipe(t, func(t *testing.T, a, b net.Conn) {
		fill(t, a)
		wrote := make(chan error, 1)
		go func() {
			_, err := a.Write([]byte("xyz"))
			wrote <- err
		}()
		synctest.Wait()
		select {
		case err := <-wrote:
			t.Fatalf("Write to a full buffer: %v, want it to wait", err)
		default:
		}
		if _, err := io.ReadFull(b, make([]byte, wschannelstest.PipeBuffer)); err != nil {
			t.Fatal(err)
		}
		if err := <-wrote; err != nil {
			t.Errorf("Write: %v", err)
		}
	})
}

func TestPipeWritesDoNotMix(t *testing.T) {
	withPipe(t, func(t *testing.T, a, b net.Conn) {
		const size = 3 * wschannelstest.PipeBuffer / 2
		for _, c := range "xyz" {
			go a.Write(bytes.Repeat([]byte{byte(c)}, size))
		}
		p := make([]byte, size)
		for range "xyz" {
			if _, err := io.ReadFull(b, p); err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(p, p[:1]); n != size {
				t.Errorf("%d bytes of %d are of another Write", size-n, size)
			}
		}
	})
}

func TestPipeCloseOfTheOther(t *testing.T) {
	withPipe(t, func(t *testing.T, a, b net.Conn) {
		a.Write([]byte("last"))
		b.Write([]byte("discarded"))
		a.Close()
		if got, err := io.ReadAll(b); err != nil || string(got) != "last" {
			t.Errorf("read %q, %v; want all that was written, then io.EOF", got, err)
		}
		if n, err := b.Write([]byte("x")); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Write: %d, %v; want io.ErrClosedPipe", n, err)
		}
	})
}

func TestPipeCloseEndsWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		closer            int
		wantRead, wantErr error
	}{
		"own":   {0, net.ErrClosed, net.ErrClosed},
		"other": {1, io.EOF, io.ErrClosedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			withPipe(t, func(t *testing.T, a, b net.Conn) {
				fill(t, a)
				read, wrote := make(chan error, 1), make(chan error, 1)
				go func() {
					_, err := a.Read(make([]byte, 1))
					read <- err
				}()
				go func() {
					_, err := a.Write([]byte("x"))
					wrote <- err
				}()
				synctest.Wait()
				var wg sync.WaitGroup
				for range 3 { // at the same time
					wg.Go(func() { []net.Conn{a, b}[tt.closer].Close() })
				}
				wg.Wait()
				wantError(t, "Read", <-read, tt.wantRead)
				wantError(t, "Write", <-wrote, tt.wantErr)
			})
		})
	}
}

func TestPipeAfterClose(t *testing.T) {
	withPipe(t, func(t *testing.T, a, b net.Conn) {
		b.Write([]byte("x"))
		a.Close()
		_, err := a.Read(make([]byte, 1))
		wantError(t, "Read", err, net.ErrClosed)
		_, err = a.Write([]byte("x"))
		wantError(t, "Write", err, net.ErrClosed)
		wantError(t, "SetDeadline", a.SetDeadline(time.Now()), net.ErrClosed)
		wantError(t, "SetWriteDeadline", a.SetWriteDeadline(time.Time{}), net.ErrClosed)
	})
}

func TestPipeConcurrentUse(t *testing.T) {
	withPipe(t, func(t *testing.T, a, b net.Conn) {
		var wg sync.WaitGroup
		for _, c := range []net.Conn{a, b} {
			for range 20 {
				wg.Go(func() { c.Read(make([]byte, 100)) })
				wg.Go(func() { c.Write(make([]byte, 10_000)) })
				wg.Go(func() { c.SetDeadline(time.Now().Add(time.Second)) })
				wg.Go(func() { c.SetReadDeadline(time.Now().Add(time.Millisecond)) })
				wg.Go(func() { c.LocalAddr(); c.RemoteAddr() })
			}
		}
		wg.Wait() // the deadlines end what waits
		if a.LocalAddr() != b.RemoteAddr() || a.RemoteAddr() != b.LocalAddr() {
			t.Error("the ends disagree about their addresses")
		}
	})
}
