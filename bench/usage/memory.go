package usage

import (
	"runtime"
	"runtime/debug"
	"time"
)

// A Memory is what the process holds.
type Memory struct {
	Heap, Stack, Resident int64
	Goroutines            int
}

// SettledMemory returns the Memory once goroutines that are about to end have done so, and what
// is not needed has been given back.
func SettledMemory() Memory {
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
	return Memory{int64(m.HeapAlloc), int64(m.StackInuse), Resident(), runtime.NumGoroutine()}
}
