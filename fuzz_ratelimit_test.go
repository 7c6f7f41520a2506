package wschannels_test

import (
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/wschannels/wschannels"
)

// FuzzRateLimiter compares a RateLimiter with a list of all that it has allowed.
func FuzzRateLimiter(f *testing.F) {
	f.Add(uint8(2), uint8(1), []byte{0, 0, 0, 6, 0, 46, 0, 0})
	f.Add(uint8(0), uint8(0), []byte{0, 8, 16, 0, 8, 16, 14, 0, 78, 0, 8})
	f.Add(uint8(1), uint8(2), []byte{0, 6, 8, 6, 16, 6, 0, 6, 24, 6, 8, 70, 16, 0})
	f.Fuzz(func(t *testing.T, limit, keys uint8, program []byte) {
		if len(program) > 1000 {
			t.Skip("longer ones find no more, and take long")
		}
		synctest.Test(t, func(t *testing.T) {
			const window = 10 * time.Second
			most, limit := 1+int(keys)%5, 1+int(limit)%4
			l := chanLimiter(t, limit, window, &RateLimitOptions{MaxKeys: most})
			allowed := map[string][]time.Time{}
			var known []string // the one that was allowed something longest ago first
			forget := func(key string) {
				known = slices.DeleteFunc(known, func(k string) bool { return k == key })
			}
			for i, b := range program {
				if b%8 >= 6 {
					time.Sleep(time.Duration(b/8) * window / 20)
					continue
				}
				key, now := strconv.Itoa(int(b%8)), time.Now()
				for k, times := range allowed { // what has left the window
					if times = slices.DeleteFunc(times, func(at time.Time) bool { return now.Sub(at) >= window }); len(times) == 0 {
						delete(allowed, k)
						forget(k)
					} else {
						allowed[k] = times
					}
				}
				if !slices.Contains(known, key) && len(known) == most {
					delete(allowed, known[0])
					known = known[1:]
				}
				times := allowed[key]
				want, wantAfter := len(times) < limit, time.Duration(0)
				if want {
					forget(key)
					known = append(known, key)
					allowed[key] = append(times, now)
				} else {
					wantAfter = times[0].Add(window).Sub(now)
				}
				if ok, after := l.Allow(key); ok != want || after != wantAfter {
					t.Fatalf("step %d: Allow(%s) = %v, %v; want %v, %v", i, key, ok, after, want, wantAfter)
				}
			}
		})
	})
}
