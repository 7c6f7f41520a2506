// Package hist has a histogram of durations: a few kilobytes, a few nanoseconds a
// value, and an error of at most three percent.
package hist

import (
	"math/bits"
	"time"
)

// Values below 32 ns have buckets of their own; above, each power of two is cut into
// 32. The last bucket holds everything from half an hour on.
const (
	perPower = 32
	shift    = 5 // perPower is 1 << shift
	buckets  = (41 - shift + 1) * perPower
)

// A Histogram is not safe for concurrent use. The zero value is empty.
type Histogram struct {
	counts [buckets]uint32
	total  int64
	max    time.Duration
}

// Add counts d.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(d)]++
	h.total++
	h.max = max(h.max, d)
}

// Merge adds all that o counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// Len is how many values were counted.
func (h *Histogram) Len() int64 { return h.total }

// Max is the largest value, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns the value below which the share q of all are, 0 without any.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int64(q*float64(h.total) + 0.5)
	rank = min(max(rank, 1), h.total)
	var seen int64
	for i, n := range h.counts {
		seen += int64(n)
		if n > 0 && seen >= rank {
			return min(upper(i), h.max)
		}
	}
	return 0
}

func bucket(d time.Duration) int {
	v := uint64(d)
	if v < perPower {
		return int(v)
	}
	power := bits.Len64(v) - shift - 1
	return min(power*perPower+int(v>>power), buckets-1)
}

// upper is the largest value of a bucket.
func upper(i int) time.Duration {
	if i < perPower {
		return time.Duration(i)
	}
	power := i/perPower - 1
	return time.Duration((i%perPower+perPower+1)<<power - 1)
}
