package client

import (
	"bytes"
	"compress/flate"
	"hash/maphash"
	"io"
	"sync"
)

// flushed ends a compressed message: what RFC 7692 takes off each, and an empty last
// block, so that the reader sees an end.
const flushed = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// An inflater is used by one goroutine. What it returns is valid until the next call.
type inflater struct {
	r   io.ReadCloser
	in  bytes.Buffer
	out bytes.Buffer
}

func (i *inflater) inflate(p []byte) ([]byte, error) {
	i.in.Reset()
	i.in.Write(p)
	i.in.WriteString(flushed)
	if i.r == nil {
		i.r = flate.NewReader(&i.in)
	} else if err := i.r.(flate.Resetter).Reset(&i.in, nil); err != nil {
		return nil, err
	}
	i.out.Reset()
	_, err := i.out.ReadFrom(i.r)
	return i.out.Bytes(), err
}

// A lineCache knows how many lines there are in compressed messages. All members get
// the same bytes when they get the same messages, so that each is inflated once, not
// once a member: the client would cost more than the server.
type lineCache struct {
	seed  maphash.Seed
	mu    sync.Mutex
	known map[uint64]int
	order []uint64 // what was added, a ring
	next  int
	in    inflater
}

// newLineCache returns one that remembers so many messages.
func newLineCache(messages int) *lineCache {
	return &lineCache{seed: maphash.MakeSeed(), known: make(map[uint64]int), order: make([]uint64, messages)}
}

func (c *lineCache) lines(p []byte) (int, error) {
	key := maphash.Bytes(c.seed, p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.known[key]; ok {
		return n, nil
	}
	text, err := c.in.inflate(p)
	if err != nil {
		return 0, err
	}
	n := replies(text)
	delete(c.known, c.order[c.next])
	c.order[c.next], c.known[key] = key, n
	c.next = (c.next + 1) % len(c.order)
	return n, nil
}

// replies is how many publications there are in a message of centrifuge's: one a line,
// but for pings.
func replies(p []byte) (n int) {
	for len(p) > 0 {
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line, p = p[:i], p[i+1:]
		} else {
			p = nil
		}
		if len(line) > 2 {
			n++
		}
	}
	return n
}
