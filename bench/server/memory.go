package server

import (
	"runtime"
	"runtime/debug"
	"time"

	"github.com/wschannels/wschannels/bench/usage"
)

// Memory is what the process holds.
type Memory struct {
	Heap, Stack, Resident int64
	Goroutines            int
}

// settledMemory is Memory once goroutines that are about to end have done so, and what
// is not needed has been given back.
func settledMemory() Memory {
	calm := 0
	for last, tries := 0, 0; calm < 5 && tries < 100; tries++ {
		if n := runtime.NumGoroutine(); n == last {
			calm++
		} else {
			last, calm = n, 0
		}
		time.Sleep(20 * time.Millisecond)
	}
	runtime.GC()
	runtime.GC() // what pools kept over the first is gone now
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Memory{int64(m.HeapAlloc), int64(m.StackInuse), usage.Resident(), runtime.NumGoroutine()}
}
