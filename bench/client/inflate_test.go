package client

import (
	"bytes"
	"compress/flate"
	"fmt"
	"testing"
)

func deflated(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}

func TestInflate(t *testing.T) {
	var in inflater
	for i := range 3 {
		want := fmt.Sprintf("message %d", i)
		if got, err := in.inflate(deflated(t, want)); err != nil || string(got) != want {
			t.Errorf("inflated to %q, %v; want %q", got, err, want)
		}
	}
	if _, err := in.inflate([]byte("this is not compressed")); err == nil {
		t.Error("no error for what is not compressed")
	}
}

func TestLines(t *testing.T) {
	c := newLineCache(50)
	for i := range 3 * len(c.order) {
		p := deflated(t, fmt.Sprintf("{\"push\":%d}\n{}\n{\"push\":1}", i))
		for range 2 {
			if n, err := c.lines(p); err != nil || n != 2 {
				t.Fatalf("%d lines, %v; want 2", n, err)
			}
		}
	}
	if len(c.known) > len(c.order) {
		t.Errorf("%d are kept", len(c.known))
	}
	for text, want := range map[string]int{"": 0, "{}": 0, "{}\n{}": 0, `{"push":{}}`: 1, "{\"a\":1}\n{\"b\":2}\n": 2} {
		if got := replies([]byte(text)); got != want {
			t.Errorf("%d replies in %q, want %d", got, text, want)
		}
	}
}
