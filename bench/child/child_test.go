package child

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wschannels/wschannels/internal/leak"
)

func TestMain(m *testing.M) {
	if Role() != "test" {
		leak.Main(m) // exits
	}
	Serve(map[string]Handler{
		"double": Func(func(n int) (int, error) { return 2 * n, nil }),
		"fail":   Func(func(why string) (int, error) { return 0, errors.New(why) }),
		"hang":   Func(func(struct{}) (int, error) { select {} }),
		"die":    Func(func(why string) (int, error) { fmt.Fprintln(os.Stderr, why); os.Exit(3); return 0, nil }),
	})
}

func start(t *testing.T) *Process {
	t.Helper()
	p, err := Start("test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func TestCalls(t *testing.T) {
	p := start(t)
	for n := range 3 {
		var twice int
		if err := p.Call(time.Minute, "double", n, &twice); err != nil || twice != 2*n {
			t.Errorf("twice %d is %d, %v", n, twice, err)
		}
	}
	for do, want := range map[string]string{"fail": "the reason", "shuffle": "unknown call", "double": "unmarshal"} {
		if err := p.Call(time.Minute, do, "the reason", nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", do, err, want)
		}
	}
	if err := p.Call(time.Minute, "double", 1, nil); err != nil {
		t.Errorf("after errors: %v", err)
	}
}

func TestCallThatTakesTooLong(t *testing.T) {
	p := start(t)
	if err := p.Call(50*time.Millisecond, "hang", struct{}{}, nil); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
}

func TestCallOfADyingProcess(t *testing.T) {
	p := start(t)
	if err := p.Call(time.Minute, "die", "last words", nil); err == nil {
		t.Error("no error")
	}
	p.Stop() // waits for what it wrote
	if said := p.says.String(); said != "last words" {
		t.Errorf("it said %q", said)
	}
}

func TestStopInTheMiddleOfACall(t *testing.T) {
	p, err := Start("test")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- p.Call(time.Minute, "hang", struct{}{}, nil) }()
	var twice int
	_ = p.in.Close()
	if err := <-ended; err == nil {
		t.Errorf("the call returned %d", twice)
	}
	p.Stop()
}

func TestTail(t *testing.T) {
	var says tail
	for i := range 1000 {
		fmt.Fprintf(&says, "line %d\n", i)
	}
	if s := says.String(); len(s) > 1000 || !strings.HasSuffix(s, "line 998 line 999") {
		t.Errorf("it is %q", s)
	}
}
