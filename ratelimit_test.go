package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

func chanLimiter(t *testing.T, limit int, window time.Duration, opts *wschannels.RateLimitOptions) *wschannels.RateLimiter {
	t.Helper()
	l, err := wschannels.NewRateLimiter(limit, window, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestRateLimiterOptionsThatMeanNothing(t *testing.T) {
	for _, tt := range []struct {
		limit   int
		window  time.Duration
		maxKeys int
	}{{0, 1, 0}, {-1, 1, 0}, {1, 0, 0}, {1, -1, 0}, {1, 1, -1}} {
		l, err := wschannels.NewRateLimiter(tt.limit, tt.window, &wschannels.RateLimitOptions{MaxKeys: tt.maxKeys})
		if l != nil || !errors.Is(err, wschannels.ErrInvalidOption) {
			t.Errorf("NewRateLimiter(%+v) = %v, %v; want ErrInvalidOption", tt, l, err)
		}
	}
}

// At every instant, the window behind it holds no more than the limit.
func TestRateLimiterSlides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chanLimiter(t, 3, time.Minute, nil)
		allow := func(want bool, wantAfter time.Duration) {
			t.Helper()
			if ok, after := l.Allow("k"); ok != want || after != wantAfter {
				t.Fatalf("after %v: Allow = %v, %v; want %v, %v", time.Since(chanEpoch), ok, after, want, wantAfter)
			}
		}
		time.Sleep(50 * time.Second)
		allow(true, 0) // at 50 s
		time.Sleep(9 * time.Second)
		allow(true, 0) // 59
		allow(true, 0)
		allow(false, 51*time.Second)
		time.Sleep(time.Second) // 60: no new window begins
		allow(false, 50*time.Second)
		time.Sleep(50*time.Second - 1)
		allow(false, 1)
		time.Sleep(time.Nanosecond) // 110: the first is a minute ago
		allow(true, 0)
		allow(false, 9*time.Second) // a refusal did not count
		if ok, _ := l.Allow("other"); !ok {
			t.Error("one key's limit is another's")
		}
		time.Sleep(9 * time.Second)
		allow(true, 0)
		allow(true, 0)
		allow(false, 51*time.Second)
	})
}

var chanEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when bubbles begin

func TestRateLimiterOfLongWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chanLimiter(t, 1, math.MaxInt64, nil)
		time.Sleep(time.Hour)
		if ok, _ := l.Allow("k"); !ok {
			t.Error("the first is refused")
		}
		time.Sleep(time.Hour)
		if ok, after := l.Allow("k"); ok || after != math.MaxInt64-time.Hour {
			t.Errorf("Allow = %v, %v; want the rest of the window", ok, after)
		}
	})
}

// A million keys take no more memory than MaxKeys do; the busiest are remembered.
func TestRateLimiterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chanLimiter(t, 1, time.Hour, &wschannels.RateLimitOptions{MaxKeys: 100})
		for i := range 101 {
			time.Sleep(time.Millisecond)
			if ok, _ := l.Allow(fmt.Sprint(i)); !ok {
				t.Fatalf("key %d is refused", i)
			}
		}
		if ok, _ := l.Allow("1"); ok {
			t.Error("a key that fits in the table was forgotten")
		}
		if ok, _ := l.Allow("0"); !ok {
			t.Error("the oldest key was remembered: the table has more than MaxKeys")
		}
		if got, want := l.Stats(), (wschannels.RateLimitStats{Keys: 100, Allowed: 102, Limited: 1, Forgotten: 2}); got != want {
			t.Errorf("Stats: %+v, want %+v", got, want)
		}
		before := chanHeap()
		for i := range 1_000_000 {
			l.Allow(strconv.Itoa(i + 1000))
		}
		if grown := chanHeap() - before; grown > 1<<20 {
			t.Errorf("a million keys took %d bytes", grown)
		}
		if ok, _ := l.Allow("1000950"); ok {
			t.Error("a recent key was forgotten")
		}
	})
}

// Long keys, which a client may send, take no more than short ones.
func TestRateLimiterKeepsNoLongKeys(t *testing.T) {
	l := chanLimiter(t, 1, time.Hour, nil)
	before := chanHeap()
	key := func(i, n int) string { return strings.Repeat("x", n) + fmt.Sprint(i) }
	for i := range 1000 {
		if ok, _ := l.Allow(key(i, 100_000)); !ok {
			t.Fatalf("long key %d is refused", i)
		}
		if ok, _ := l.Allow(key(i, 100_000)[99_990:]); !ok {
			t.Fatalf("short key %d is refused", i)
		}
	}
	if grown := chanHeap() - before; grown > 2<<20 {
		t.Errorf("2,000 keys took %d bytes", grown)
	}
	if ok, _ := l.Allow(key(0, 100_000)); ok {
		t.Error("a long key was not remembered")
	}
}

func chanHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What nobody has asked for within a window is forgotten, by itself.
func TestRateLimiterForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chanLimiter(t, 1, time.Minute, nil)
		before := chanHeap()
		for i := range 50_000 {
			l.Allow(fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		l.Allow("k")
		if grown := chanHeap() - before; grown > 4<<20 { // the empty map keeps its buckets
			t.Errorf("50,000 keys of old still take %d bytes", grown)
		}
		runtime.KeepAlive(l)
	})
}

func TestRateLimiterHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := 0
		h := chanLimiter(t, 2, 90*time.Second, nil).HTTP(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
		get := func(addr, forwarded string) *http.Response {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = addr
			r.Header.Set("X-Forwarded-For", forwarded)
			r.Header.Set("X-Real-Ip", forwarded)
			r.Header.Set("Forwarded", "for="+forwarded)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Result()
		}
		get("192.0.2.1:1111", "198.51.100.1")
		get("192.0.2.1:2222", "198.51.100.2")
		time.Sleep(500 * time.Millisecond)
		resp := get("192.0.2.1:3333", "198.51.100.3") // another port and a forged header
		if after := resp.Header.Get("Retry-After"); resp.StatusCode != http.StatusTooManyRequests || after != "90" || served != 2 {
			t.Errorf("got %d, Retry-After %q, %d served; want 429, 89.5 s rounded up, 2", resp.StatusCode, after, served)
		}
		if resp := get("192.0.2.2:1111", "198.51.100.1"); resp.StatusCode != http.StatusOK {
			t.Errorf("another host got %d", resp.StatusCode)
		}
		if resp := get("[2001:db8::1]:1111", ""); resp.StatusCode != http.StatusOK {
			t.Errorf("a host of IPv6 got %d", resp.StatusCode)
		}
		time.Sleep(90*time.Second - 500*time.Millisecond)
		if resp := get("192.0.2.1:3333", ""); resp.StatusCode != http.StatusOK {
			t.Errorf("after the window: %d", resp.StatusCode)
		}
	})
}

func TestRateLimiterHTTPOfTheLongestWindow(t *testing.T) {
	h := chanLimiter(t, 1, math.MaxInt64, nil).HTTP(http.NotFoundHandler())
	for range 2 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if after := w.Header().Get("Retry-After"); strings.HasPrefix(after, "-") {
			t.Errorf("Retry-After: %s", after)
		}
	}
}

func TestRateLimiterMiddleware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := new(chanTrace)
		box := chanBox(t, &wschannels.Options{Events: chanTraced(trace)})
		limiter := chanLimiter(t, 1, time.Minute, &wschannels.RateLimitOptions{
			Key: func(r *http.Request) string { return r.URL.Query().Get("key") },
		})
		h := box.Handler(func(context.Context, *wschannels.Channel) error { return nil }, limiter.Middleware())
		for _, tt := range []struct {
			key    string
			code   int
			reason string
		}{{"a", 1000, ""}, {"a", 4002, "rate limited"}, {"b", 1000, ""}} {
			code, reason := chanEnd(t, wschannelstest.Dial(t, h, "/?key="+tt.key))
			if int(code) != tt.code || reason != tt.reason {
				t.Errorf("%s: the peer saw %d %q, want %d %q", tt.key, code, reason, tt.code, tt.reason)
			}
		}
		if got := len(trace.all()); got != 4 {
			t.Errorf("events %q, want none of the refused channel", trace.all())
		}
		// Channels that came from no request share one key.
		refused := 0
		next := limiter.Middleware()(func(context.Context, *wschannels.Channel) error { return nil })
		for range 2 {
			c, _ := chanOpen(t, nil)
			if err := next(t.Context(), c); errors.Is(err, wschannels.ErrRateLimited) {
				refused++
			}
		}
		if refused != 1 {
			t.Errorf("%d of 2 channels without a request were refused, want 1", refused)
		}
	})
}

// No window of MessageWindow holds more than MessageLimit messages; the rest is
// discarded, and the channel lives.
func TestMessageLimitSlides(t *testing.T) {
	for _, window := range []time.Duration{0, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c, conn := chanOpen(t, &wschannels.ChannelOptions{MessageLimit: 3, MessageWindow: window})
			if window == 0 {
				window = time.Minute
			}
			n := 0
			receive := func(want bool) {
				t.Helper()
				n++
				conn.PushJSON(n)
				m, err := c.Receive(t.Context())
				if want && (err != nil || m.Text() != fmt.Sprint(n)) || !want && err != wschannels.ErrRateLimited {
					t.Fatalf("%v: message %d after %v: %q, %v; want it: %v", window, n, time.Since(c.Created()), m.Data, err, want)
				}
			}
			time.Sleep(window - 2) // late in what a fixed window would be
			receive(true)
			receive(true)
			receive(true)
			receive(false)
			time.Sleep(2 * time.Nanosecond) // and early in the next
			receive(false)
			time.Sleep(window - 3)
			receive(false)
			time.Sleep(time.Nanosecond)
			receive(true)
			receive(true)
			receive(true) // what was discarded did not count
			receive(false)
			chanIsOpen(t, c)
		})
	}
}
