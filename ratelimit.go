package wschannels

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A RateLimiter allows each key a number of events in any window of time. Its table
// is bounded. All methods may be called concurrently; none blocks.
type RateLimiter struct {
	limit  int
	window time.Duration
	opts   RateLimitOptions
	start  time.Time

	mu     sync.Mutex // guards what follows
	keys   map[string]*limited
	recent list.List // of *limited, the one that was allowed something longest ago first
	stats  RateLimitStats
}

// RateLimitStats is what a [RateLimiter] holds now and has done since it was made.
type RateLimitStats struct {
	Keys             int    // in the table: at most MaxKeys
	Allowed, Limited uint64 // events
	Forgotten        uint64 // keys that made room for others while their events still counted
}

// limited is what is known of one key.
type limited struct {
	key    string
	window slidingWindow
	last   time.Duration // when it was last allowed something, since start
	place  *list.Element
}

// RateLimitOptions configures [NewRateLimiter].
type RateLimitOptions struct {
	// Key names whose request it is. Nil: the host of RemoteAddr. Forwarded headers
	// are never trusted by default: anybody can send them. Channels that came from
	// no request share one key.
	Key func(r *http.Request) string

	// MaxKeys bounds the table; past it, the key that was allowed something longest
	// ago is forgotten. A key takes some 200 bytes, and 8 for each event that counts;
	// one over 256 bytes is kept as its SHA-256. 0: 100,000.
	MaxKeys int
}

const maxKeyBytes = 256

// NewRateLimiter returns a limiter that allows limit events in any window.
func NewRateLimiter(limit int, window time.Duration, opts *RateLimitOptions) (*RateLimiter, error) {
	var o RateLimitOptions
	if opts != nil {
		o = *opts
	}
	switch {
	case limit <= 0:
		return nil, badOption("limit", "is not above 0")
	case window <= 0:
		return nil, badOption("window", "is not above 0")
	case o.MaxKeys < 0:
		return nil, badOption("RateLimitOptions.MaxKeys", "is negative")
	}
	o.MaxKeys = cmp.Or(o.MaxKeys, 100_000)
	if o.Key == nil {
		o.Key = remoteHost
	}
	return &RateLimiter{limit: limit, window: window, opts: o, start: time.Now(), keys: make(map[string]*limited)}, nil
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Allow reports whether key may do it once more, and counts it if so. If not,
// retryAfter is how long until it may.
func (l *RateLimiter) Allow(key string) (ok bool, retryAfter time.Duration) {
	if len(key) > maxKeyBytes {
		sum := sha256.Sum256([]byte(key))
		key = string(sum[:])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	for e := l.recent.Front(); e != nil && now-e.Value.(*limited).last >= l.window; e = l.recent.Front() {
		l.forget(e.Value.(*limited)) // its window is empty
	}
	k := l.keys[key]
	if k == nil {
		if len(l.keys) >= l.opts.MaxKeys {
			l.forget(l.recent.Front().Value.(*limited))
			l.stats.Forgotten++
		}
		k = &limited{key: strings.Clone(key)} // it may be a part of something large
		k.place = l.recent.PushBack(k)
		l.keys[k.key] = k
	}
	ok, retryAfter = k.window.allow(now, l.limit, l.window)
	if ok {
		k.last = now
		l.recent.MoveToBack(k.place)
		l.stats.Allowed++
	} else {
		l.stats.Limited++
	}
	return ok, retryAfter
}

// Stats returns the limiter's figures. Keys whose events count no more are among them
// until the next Allow.
func (l *RateLimiter) Stats() RateLimitStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Keys = len(l.keys)
	return s
}

func (l *RateLimiter) forget(k *limited) {
	l.recent.Remove(k.place)
	delete(l.keys, k.key)
}

// Middleware refuses channels past the limit with [StatusRateLimited].
func (l *RateLimiter) Middleware() Middleware {
	return func(next Handler) Handler {
		return func(ctx context.Context, c *Channel) error {
			key := ""
			if r := c.Request(); r != nil {
				key = l.opts.Key(r)
			}
			if ok, _ := l.Allow(key); !ok {
				return &CloseError{Code: StatusRateLimited, Reason: "rate limited", Err: ErrRateLimited}
			}
			return next(ctx, c)
		}
	}
}

// HTTP answers requests past the limit with 429 and Retry-After (RFC 6585 section 4,
// RFC 9110 section 10.2.3), before they are upgraded.
func (l *RateLimiter) HTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ok, after := l.Allow(l.opts.Key(r)); !ok {
			seconds := after / time.Second
			if after%time.Second > 0 {
				seconds++
			}
			w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
			http.Error(w, http.StatusText(http.StatusTooManyRequests), http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// A slidingWindow remembers when events were allowed, as long as they count.
type slidingWindow struct {
	times []time.Duration // oldest first
}

// allow counts an event at now if fewer than limit were allowed less than window ago.
func (s *slidingWindow) allow(now time.Duration, limit int, window time.Duration) (ok bool, retryAfter time.Duration) {
	expired := 0
	for expired < len(s.times) && now-s.times[expired] >= window {
		expired++
	}
	s.times = s.times[expired:]
	if len(s.times) >= limit {
		return false, s.times[len(s.times)-limit] + window - now
	}
	s.times = append(s.times, now) // moves to a new array when this one is used up
	return true, 0
}
