package wschannels

import (
	"bytes"
	"testing"
	"testing/synctest"
)

func FuzzQueue(f *testing.F) {
	f.Add(uint8(0), []byte{0, 1, 0, 1, 3, 0, 4, 0})
	f.Add(uint8(1), []byte{0, 3, 0, 3, 0, 3, 5, 1, 6, 0, 3, 0, 4, 0, 3, 0, 5, 4})
	f.Add(uint8(2), []byte{2, 64, 2, 135, 2, 7, 2, 200, 6, 0, 3, 0, 7, 0})
	f.Add(uint8(3), bytes.Repeat([]byte{0, 11, 3, 0, 2, 140, 6, 0, 4, 0}, 10))
	f.Fuzz(func(t *testing.T, limit uint8, program []byte) {
		if len(program) > 1000 {
			t.Skip("longer ones find no more, and take long")
		}
		synctest.Test(t, func(t *testing.T) {
			newQueueModel(t, queueLimits[int(limit)%len(queueLimits)]).run(program)
		})
	})
}
