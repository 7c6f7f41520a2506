package wschannelstest_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels/wschannelstest"
)

// accepted is a handler that runs serve on every connection.
func accepted(serve func(r *http.Request, c *websocket.Conn)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		serve(r, c)
	})
}

// echo answers every message with itself.
var echo = accepted(func(_ *http.Request, c *websocket.Conn) {
	c.SetReadLimit(-1)
	for {
		typ, data, err := c.Read(context.Background())
		if err != nil {
			return
		}
		c.Write(context.Background(), typ, data)
	}
})

func TestDialRequest(t *testing.T) {
	c := wschannelstest.Dial(t, accepted(func(r *http.Request, c *websocket.Conn) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(writer{c}, r.URL.Path, " ", r.URL.Query().Get("name"), " ", host, " ", err)
		c.Close(websocket.StatusNormalClosure, "bye")
	}), "/a/b?name=ann")
	_, data, err := c.Read(t.Context())
	if got, want := string(data), "/a/b ann 192.0.2.1 <nil>"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	_, _, err = c.Read(t.Context())
	wantError(t, "Read", err, websocket.CloseError{Code: 1000, Reason: "bye"})
}

// writer sends what is written as one message.
type writer struct{ c *websocket.Conn }

func (w writer) Write(p []byte) (int, error) {
	return len(p), w.c.Write(context.Background(), websocket.MessageText, p)
}

func TestDialCarriesLargeMessages(t *testing.T) {
	c := wschannelstest.Dial(t, echo, "/")
	for seed := range uint64(3) {
		want := randomBytes(seed)
		go c.Write(t.Context(), websocket.MessageBinary, want)
		typ, got, err := c.Read(t.Context())
		if err != nil || typ != websocket.MessageBinary || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(want))
		}
	}
}

func TestDialTwice(t *testing.T) {
	var mu sync.Mutex
	names := map[string]bool{}
	h := accepted(func(r *http.Request, c *websocket.Conn) {
		mu.Lock()
		names[r.URL.Path] = true
		mu.Unlock()
		c.Close(websocket.StatusNormalClosure, "")
	})
	for _, path := range []string{"/a", "/b"} {
		if _, _, err := wschannelstest.Dial(t, h, path).Read(t.Context()); websocket.CloseStatus(err) != 1000 {
			t.Errorf("Read: %v, want 1000", err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !names["/a"] || !names["/b"] {
		t.Errorf("the handler got %v, want both", names)
	}
}

func TestDialInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := wschannelstest.Dial(t, accepted(func(_ *http.Request, c *websocket.Conn) {
			time.Sleep(time.Hour)
			c.Close(websocket.StatusGoingAway, "an hour is over")
		}), "/")
		start := time.Now()
		_, _, err := c.Read(t.Context())
		if websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("Read: %v, want 1001", err)
		}
		if d := time.Since(start); d != time.Hour {
			t.Errorf("Read took %v, want 1h", d)
		}
	})
}

// The buffers between server and client are small, so that a client that does
// not read soon stalls its server.
func TestDialClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled := make(chan time.Duration, 1)
		wschannelstest.Dial(t, accepted(func(_ *http.Request, c *websocket.Conn) {
			start := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			for range 1000 {
				if err := c.Write(ctx, websocket.MessageText, make([]byte, 1000)); err != nil {
					break
				}
			}
			stalled <- time.Since(start)
		}), "/")
		if d := <-stalled; d != time.Minute {
			t.Errorf("the server wrote 1 MB in %v, want it to wait for its timeout of 1m", d)
		}
	})
}

func TestDialCleanup(t *testing.T) {
	for name, wait := range map[string]func(r *http.Request, c *websocket.Conn){
		"read":    func(_ *http.Request, c *websocket.Conn) { c.Read(context.Background()) },
		"context": func(r *http.Request, _ *websocket.Conn) { <-r.Context().Done() },
		"write": func(_ *http.Request, c *websocket.Conn) {
			c.Write(context.Background(), websocket.MessageText, make([]byte, 1<<20))
		},
		"close": func(_ *http.Request, c *websocket.Conn) { c.Close(1000, "") },
	} {
		t.Run(name, func(t *testing.T) {
			var returned bool // written by the handler, read after Dial's cleanup
			t.Run("test", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					wschannelstest.Dial(t, accepted(func(r *http.Request, c *websocket.Conn) {
						wait(r, c)
						time.Sleep(time.Hour) // as long as it takes
						returned = true
					}), "/")
				})
			})
			if !returned {
				t.Error("the cleanup did not wait for the handler")
			}
		})
	}
}

func TestDialCleanupWhileClosing(t *testing.T) {
	tb := &recorder{TB: t}
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		tb.run(func() {
			c := wschannelstest.Dial(tb, accepted(func(r *http.Request, _ *websocket.Conn) {
				<-r.Context().Done() // reads nothing, so answers no close frame
			}), "/")
			go func() {
				c.Close(1000, "")
				close(done)
			}()
			synctest.Wait()
		})
		start := time.Now()
		tb.cleanup()
		if d := time.Since(start); d != 0 {
			t.Errorf("the cleanup took %v, want it not to wait for the timeouts of Close", d)
		}
		<-done
	})
}

func TestDialRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which nothing may be left running
		tb := &recorder{TB: t}
		tb.run(func() {
			wschannelstest.Dial(tb, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "not you", http.StatusForbidden)
			}), "/")
		})
		for _, want := range []string{"403", "not you"} {
			if !strings.Contains(tb.fatal, want) {
				t.Errorf("failed with %q, want %q in it", tb.fatal, want)
			}
		}
		tb.cleanup()
	})
}

func TestDialBadPath(t *testing.T) {
	tb := &recorder{TB: t}
	tb.run(func() { wschannelstest.Dial(tb, echo, "chat") })
	if !strings.Contains(tb.fatal, "slash") {
		t.Errorf("failed with %q, want a hint at the slash", tb.fatal)
	}
}

func TestDialLogsPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := &recorder{TB: t}
		var log *log.Logger
		tb.run(func() {
			c := wschannelstest.Dial(tb, accepted(func(r *http.Request, c *websocket.Conn) {
				log = r.Context().Value(http.ServerContextKey).(*http.Server).ErrorLog
				panic("oops")
			}), "/")
			c.Read(t.Context())
		})
		synctest.Wait()
		if !strings.Contains(tb.logged(), "oops") {
			t.Errorf("logged %q, want the panic in it", tb.logged())
		}
		tb.cleanup()
		log.Print("after the test")
		if strings.Contains(tb.logged(), "after the test") {
			t.Error("logged after the test, which would panic")
		}
	})
}
