package wschannelstest_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/wschannels/wschannels/wschannelstest"
)

// deadlines are the two operations that a deadline ends, and its setters.
var deadlines = map[string]struct {
	wait func(c net.Conn) error
	set  func(c net.Conn, t time.Time) error
}{
	"Read": {
		func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		net.Conn.SetReadDeadline,
	},
	"Write": {
		func(c net.Conn) error { _, err := c.Write([]byte("x")); return err },
		net.Conn.SetWriteDeadline,
	},
	"Read, both": {
		func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		net.Conn.SetDeadline,
	},
	"Write, both": {
		func(c net.Conn) error { _, err := c.Write([]byte("x")); return err },
		net.Conn.SetDeadline,
	},
}

func TestPipeDeadlines(t *testing.T) {
	for name, op := range deadlines {
		t.Run(name, func(t *testing.T) {
			withPipe(t, func(t *testing.T, a, b net.Conn) {
				fill(t, a)
				start := time.Now()
				after := func(d time.Duration) {
					t.Helper()
					err := op.wait(a)
					var timeout net.Error
					if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
						t.Errorf("%v, want a timeout", err)
					}
					if got := time.Since(start); got != d {
						t.Errorf("returned after %v, want %v", got, d)
					}
				}

				op.set(a, start.Add(time.Second))
				after(time.Second)
				after(time.Second) // stays so

				op.set(a, start.Add(time.Minute))
				op.set(a, start.Add(time.Hour)) // replaces
				after(time.Hour)

				op.set(a, time.Unix(1, 0)) // in the past
				after(time.Hour)

				op.set(a, time.Time{}) // none
				go func() {
					time.Sleep(time.Hour)
					op.set(a, time.Now()) // ends a wait that has begun
				}()
				after(2 * time.Hour)
			})
		})
	}
}

func TestPipeDeadlineComesFirst(t *testing.T) {
	withPipe(t, func(t *testing.T, a, b net.Conn) {
		b.Write([]byte("x"))
		a.SetDeadline(time.Unix(1, 0))
		for name, op := range deadlines {
			wantError(t, name, op.wait(a), os.ErrDeadlineExceeded)
		}
		a.SetDeadline(time.Time{})
		for name, op := range deadlines {
			if name != "Read, both" {
				wantError(t, name+" without deadline", op.wait(a), nil)
			}
		}
	})
}

func TestPipeWriteTimesOutHalfway(t *testing.T) {
	withPipe(t, func(t *testing.T, a, b net.Conn) {
		a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := a.Write(make([]byte, 2*wschannelstest.PipeBuffer))
		if n != wschannelstest.PipeBuffer || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %d, %v; want what fits, and a timeout", n, err)
		}
	})
}
