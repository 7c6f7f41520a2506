package report

import "math"

// A scale says where on a chart values are.
type scale struct {
	log    bool
	lo, hi float64
	ticks  []float64
}

// spreadOut is from which ratio on of the largest to the smallest bar a scale is
// logarithmic.
const spreadOut = 20

func newScale(rows []*Row, key string) scale {
	small, smallest, largest := math.Inf(1), math.Inf(1), 0.0
	positive := true
	for _, r := range rows {
		if !r.OK() {
			continue
		}
		v := r.Values[key]
		small, smallest, largest = min(small, v.Median), min(smallest, v.Min), max(largest, v.Max)
		positive = positive && v.Min > 0
	}
	switch {
	case largest <= 0:
		return scale{hi: 1, ticks: []float64{0, 1}}
	case positive && largest/small > spreadOut:
		return logScale(smallest, largest)
	default:
		return linearScale(largest)
	}
}

// logScale begins at the power of ten below the smallest value's half, so that no bar
// is without length.
func logScale(smallest, largest float64) scale {
	from := math.Floor(math.Log10(smallest / 2))
	s := scale{log: true, lo: math.Pow(10, from), hi: largest}
	for e := from; math.Pow(10, e) <= largest; e++ {
		s.ticks = append(s.ticks, math.Pow(10, e))
	}
	return s
}

// linearScale has from four to nine ticks.
func linearScale(largest float64) scale {
	unit := math.Pow(10, math.Floor(math.Log10(largest)))
	switch n := largest / unit; {
	case n < 2:
		unit /= 4
	case n < 4:
		unit /= 2
	}
	s := scale{hi: largest}
	for i := 0; float64(i)*unit <= largest; i++ {
		s.ticks = append(s.ticks, float64(i)*unit)
	}
	return s
}

// at is where v is, from left to right.
func (s scale) at(v float64) float64 {
	part := v / s.hi
	if s.log {
		part = math.Log(v/s.lo) / math.Log(s.hi/s.lo)
	}
	return left + (right-left)*min(max(part, 0), 1)
}
