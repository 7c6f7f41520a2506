package wschannels

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimersWakeInTimeAndOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts timers
		began := time.Now()
		const n = 1000
		woken := make([]time.Duration, 0, n)
		for range n {
			d := time.Duration(rand.IntN(1e9))
			a := &alarm{waker: wakeFunc(func(now time.Time) time.Time {
				woken = append(woken, d)
				if late := now.Sub(began) - d; late != 0 {
					t.Errorf("woken %v late", late)
				}
				return time.Time{}
			})}
			ts.set(a, began.Add(d))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(woken) != n || !slices.IsSorted(woken) {
			t.Errorf("%d of %d were woken, in order: %v", len(woken), n, slices.IsSorted(woken))
		}
		if len(ts.heap) != 0 {
			t.Errorf("%d are left in the heap", len(ts.heap))
		}
	})
}

func TestAlarmIsSetAgainByItsWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts timers
		var woken atomic.Int32
		a := &alarm{waker: wakeFunc(func(now time.Time) time.Time {
			if woken.Add(1) == 5 {
				return time.Time{}
			}
			return now.Add(time.Second)
		})}
		ts.set(a, time.Now().Add(time.Second))
		time.Sleep(4*time.Second + 1)
		synctest.Wait()
		if n := woken.Load(); n != 4 {
			t.Errorf("woken %d times after 4 s, want 4", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := woken.Load(); n != 5 {
			t.Errorf("woken %d times, want 5 and no more", n)
		}
	})
}

func TestAlarmIsMovedForwardOnly(t *testing.T) {
	for _, tt := range []struct{ first, second, want time.Duration }{
		{2 * time.Second, time.Second, time.Second},
		{time.Second, 2 * time.Second, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var ts timers
			began := time.Now()
			var got []time.Duration
			a := &alarm{waker: wakeFunc(func(now time.Time) time.Time {
				got = append(got, now.Sub(began))
				return time.Time{}
			})}
			ts.set(a, began.Add(tt.first))
			ts.set(a, began.Add(tt.second))
			time.Sleep(time.Minute)
			synctest.Wait()
			if fmt.Sprint(got) != fmt.Sprint([]time.Duration{tt.want}) {
				t.Errorf("%v, then %v: woken after %v, want %v", tt.first, tt.second, got, tt.want)
			}
		})
	}
}

func TestStoppedAlarmsStaySilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts timers
		silent := wakeFunc(func(time.Time) time.Time { t.Error("woken"); return time.Time{} })
		stopped, closed, heard := &alarm{waker: silent}, &alarm{waker: silent}, false
		ts.set(stopped, time.Now().Add(time.Second))
		ts.set(&alarm{waker: wakeFunc(func(time.Time) time.Time { heard = true; return time.Time{} })}, time.Now().Add(2*time.Second))
		ts.stop(stopped)
		ts.set(stopped, time.Now().Add(time.Second)) // dead: stays so
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !heard {
			t.Error("stopping one silenced another")
		}
		ts.set(closed, time.Now().Add(time.Second))
		ts.close()
		ts.set(closed, time.Now().Add(time.Second))
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(ts.heap) != 0 {
			t.Errorf("%d are left in the heap", len(ts.heap))
		}
	})
}

type wakeFunc func(now time.Time) time.Time

func (f wakeFunc) wake(now time.Time) time.Time { return f(now) }
