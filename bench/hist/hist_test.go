package hist

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsMeetWithoutGaps(t *testing.T) {
	for i := range buckets - 1 {
		if got := bucket(upper(i)); got != i {
			t.Fatalf("the largest value of bucket %d, %d, is in bucket %d", i, upper(i), got)
		}
		if got := bucket(upper(i) + 1); got != i+1 {
			t.Fatalf("the value after the largest of bucket %d is in bucket %d", i, got)
		}
	}
	if got := bucket(1000 * time.Hour); got != buckets-1 {
		t.Errorf("a huge value is in bucket %d, not in the last one", got)
	}
}

func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var a, b Histogram
	var all []time.Duration
	for i := range 20000 {
		d := time.Duration(r.ExpFloat64() * float64(3*time.Millisecond))
		all = append(all, d)
		if i%3 == 0 {
			a.Add(d)
		} else {
			b.Add(d)
		}
	}
	a.Merge(&b)
	slices.Sort(all)
	if a.Len() != 20000 || a.Max() != all[len(all)-1] {
		t.Errorf("%d values up to %v, want %d up to %v", a.Len(), a.Max(), len(all), all[len(all)-1])
	}
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))-1]
		if got := a.Quantile(q); got < want || float64(got) > float64(want)*1.032 {
			t.Errorf("quantile %v is %v, want %v or up to 3.2%% more", q, got, want)
		}
	}
	if got := a.Quantile(1); got != a.Max() {
		t.Errorf("quantile 1 is %v, want %v", got, a.Max())
	}
}

func TestFewValues(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 {
		t.Error("an empty histogram has values")
	}
	h.Add(-time.Second) // a clock that was set back
	if h.Quantile(0.5) != 0 || h.Len() != 1 {
		t.Error("a negative value does not count as 0")
	}
	h.Add(time.Second)
	if got := h.Quantile(0.99); got != time.Second {
		t.Errorf("the larger one of two is %v", got)
	}
}
