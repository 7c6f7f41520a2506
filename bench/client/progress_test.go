package client

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"
)

// said collects reports.
type said struct {
	net.Conn
	reports []int64
}

func (s *said) Write(p []byte) (int, error) {
	s.reports = append(s.reports, int64(binary.LittleEndian.Uint64(p)))
	return len(p), nil
}

func TestProgressIsTheSlowest(t *testing.T) {
	var s said
	p := newProgress(&s, 3, 10)
	p.reach(0, 2)
	p.reach(0, 1)
	p.reach(0, 5)
	p.reach(1, 4)
	p.reach(2, 4)
	if want := []int64{10, 20, 40}; !slices.Equal(s.reports, want) {
		t.Errorf("reports %v, want %v", s.reports, want)
	}
}

func TestProgressWithoutThoseWhoAreLost(t *testing.T) {
	var s said
	p := newProgress(&s, 3, 1)
	p.reach(0, 3)
	p.reach(0, 2)
	p.lose(0)
	p.lose(3)
	p.reach(2, 6)
	p.lose(6)
	if want := []int64{2, 6}; !slices.Equal(s.reports, want) {
		t.Errorf("reports %v, want %v", s.reports, want)
	}
}

func TestProgressGoesRound(t *testing.T) {
	var s said
	p := newProgress(&s, 2, 1)
	const far = 3 * farthest
	for step := int64(0); step < far; step += 64 {
		p.reach(step, step+64)
		p.reach(step, step+64)
	}
	if last := s.reports[len(s.reports)-1]; last != far {
		t.Errorf("the last report is %d, want %d", last, far)
	}
}
