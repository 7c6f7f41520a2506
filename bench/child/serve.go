// Package child is how the program talks with the processes that it starts of itself:
// a JSON object a line, in turns, over their standard input and output.
package child

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// A call is what the parent asks for, and an answer what it gets.
type call struct {
	Do   string          `json:"do"`
	With json.RawMessage `json:"with"`
}

type answer struct {
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// A Handler does what a call asks for.
type Handler func(with json.RawMessage) (any, error)

// Func makes a Handler of a function with arguments of its own type.
func Func[A, R any](f func(A) (R, error)) Handler {
	return func(with json.RawMessage) (any, error) {
		var a A
		if err := json.Unmarshal(with, &a); err != nil {
			return nil, err
		}
		return f(a)
	}
}

// Serve answers the parent's calls. It ends the process when the parent is gone, also
// in the middle of a call.
func Serve(handlers map[string]Handler) {
	calls := make(chan call)
	go func() {
		in := bufio.NewReader(os.Stdin)
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				if err != io.EOF {
					fmt.Fprintln(os.Stderr, err)
				}
				os.Exit(0)
			}
			var c call
			if err := json.Unmarshal(line, &c); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			calls <- c
		}
	}()
	out := json.NewEncoder(os.Stdout)
	for c := range calls {
		var a answer
		if h := handlers[c.Do]; h == nil {
			a.Error = "unknown call " + c.Do
		} else if v, err := h(c.With); err != nil {
			a.Error = err.Error()
		} else if a.Value, err = json.Marshal(v); err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			os.Exit(1)
		}
	}
}
