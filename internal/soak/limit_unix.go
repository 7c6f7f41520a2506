//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// needDescriptors makes sure that the process may have n open files, if need be by
// raising its soft limit.
func needDescriptors(n int) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("the limit of open files: %w", err)
	}
	if uint64(l.Cur) >= uint64(n) {
		return nil
	}
	if uint64(l.Max) < uint64(n) {
		return fmt.Errorf("%d descriptors are needed, and the limit is %d: try ulimit -n %d, as root, or fewer -conns", n, l.Max, n)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("%d descriptors are needed, raising the limit to that: %w: try ulimit -n %d", n, err, n)
	}
	return nil
}

// descriptors counts the open files of the process, /dev/fd itself aside.
func descriptors() (int, error) {
	d, err := os.Open("/dev/fd")
	if err != nil {
		return 0, err
	}
	names, err := d.Readdirnames(-1)
	return len(names) - 1, errors.Join(err, d.Close())
}

// processorTime is what the process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
