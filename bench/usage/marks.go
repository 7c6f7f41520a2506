package usage

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

// A Usage is what the process used between two marks.
type Usage struct {
	CPU    time.Duration // user and system
	Allocs uint64        // objects
}

// Begin is the first mark.
type Begin struct {
	Profile string // where to write profiles, without the ending; "": none
}

// Marks are the two, in the process that is measured.
type Marks struct {
	profile string
	cpu     *os.File
	started Usage
}

// Begin sets the first mark.
func (m *Marks) Begin(b Begin) (struct{}, error) {
	m.profile = b.Profile
	if b.Profile != "" {
		f, err := os.Create(b.Profile + ".cpu.pprof")
		if err != nil {
			return struct{}{}, err
		}
		m.cpu = f
		if err := pprof.StartCPUProfile(f); err != nil {
			return struct{}{}, err
		}
	}
	m.started = used()
	return struct{}{}, nil
}

// End sets the second one.
func (m *Marks) End(struct{}) (Usage, error) {
	now := used()
	u := Usage{now.CPU - m.started.CPU, now.Allocs - m.started.Allocs}
	if m.profile == "" {
		return u, nil
	}
	pprof.StopCPUProfile()
	f, err := os.Create(m.profile + ".allocs.pprof")
	if err != nil {
		return u, err
	}
	return u, errors.Join(m.cpu.Close(), pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

func used() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{CPU(), m.Mallocs}
}
