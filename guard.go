package wschannels

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
)

// guard calls f, which is or calls the application's code, and turns a panic into a
// *PanicError. An error whose own methods panic, as those of a nil pointer may, is such a
// panic, too: nobody who is handed it later needs to be on guard.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	if err = f(); err != nil {
		try(err)
	}
	return err
}

var errNone = errors.New("no error is this one")

type noError struct{ error }

// try calls the methods of err and of all that it wraps.
func try(err error) {
	if end, ok := err.(*CloseError); ok && end.Err == nil {
		return // most channels end so, and nothing of it is foreign
	}
	_ = err.Error()
	_ = errors.Is(err, errNone)
	_ = errors.As(err, new(noError))
}

// sound reports whether try survives err.
func sound(err error) (ok bool) {
	defer func() { _ = recover() }()
	try(err)
	return true
}

// textOf is fmt.Sprint for any value: that one survives a panic of v's methods, but not
// a panic with something that panics in turn.
func textOf(v any) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("a %T that cannot be printed", v)
		}
	}()
	return fmt.Sprint(v)
}

// counted counts err in panics if it is one, once: the error of a call may come back as
// that of the handler. It returns err.
func counted(err error, panics *atomic.Uint64) error {
	if err == nil {
		return nil // most often: As would allocate
	}
	var p *PanicError
	if errors.As(err, &p) && atomic.CompareAndSwapUint32(&p.counted, 0, 1) {
		panics.Add(1)
	}
	return err
}

// chosenEnd returns the CloseError that err, of the application's, is or wraps. One that
// somebody panicked with was not chosen.
func chosenEnd(err error) (end *CloseError, ok bool) {
	var p *PanicError
	var inside *CloseError
	if !errors.As(err, &end) || errors.As(err, &p) && errors.As(error(p), &inside) && inside == end {
		return nil, false
	}
	return end, true
}
