package wschannels_test

import (
	"bufio"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	. "github.com/wschannels/wschannels"
)

// A server that has no file descriptor left goes on with whom it has; those who wait get
// in when others leave.
func TestDescriptorsRunOut(t *testing.T) {
	const descriptors = 40
	if faultsIsChild(t) {
		limit := syscall.Rlimit{Cur: descriptors, Max: descriptors}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		faultsServeChild(t, ChannelOptions{})
		return
	}
	t.Parallel()
	s := faultsStart(t)
	var first <-chan struct{} // closed when the first who waits is answered
	var in, waiting []*wirePeer
	for full := false; !full; {
		p := faultsKnock(t, s.addr)
		answered := make(chan struct{})
		go func() { // ends with the answer, or the deadline
			defer close(answered)
			_, _ = p.br.Peek(1)
		}()
		select {
		case <-answered:
		case <-s.full:
			if full = s.count("accepted") == len(in); full {
				first, waiting = answered, append(waiting, p)
				continue
			}
			<-answered
		}
		p.upgraded(t)
		in = append(in, p)
	}
	free := len(in)
	broadcasts := 0
	broadcast := func() {
		t.Helper()
		broadcasts++
		boxEventually(t, "all are members", func() bool { return s.count("members") == len(in) })
		if got := s.ask("send"); got != fmt.Sprint(len(in), " <nil>") {
			t.Errorf("the send was queued for %s; want %d members", got, len(in))
		}
		for i, p := range in {
			if op, text, err := p.next(); op != wireText || string(text) != fmt.Sprint(broadcasts) || err != nil {
				t.Fatalf("client %d of %d got %x %q, %v; want message %d", i, len(in), op, text, err, broadcasts)
			}
		}
	}
	gauges := func(when string, left int) {
		t.Helper()
		boxEventually(t, "the gauges are right "+when, func() bool { return s.stats().Channels == len(in) })
		st := s.stats()
		if int(st.Accepted)-int(st.Disconnected) != len(in) || int(st.Disconnected) != left || st.Groups != 1 || st.Refused != 0 || st.Panics != 0 || st.Dropped != 0 {
			t.Errorf("%s: %+v; want %d channels, and %d gone", when, st, len(in), left)
		}
	}
	if free < 5 || s.count("descriptors") != descriptors {
		t.Fatalf("%d clients fit, and %d descriptors are open of %d", free, s.count("descriptors"), descriptors)
	}
	for range 3 {
		broadcast()
	}
	gauges("when no more fit", 0)

	// Three leave, and one who waited and two who come get in.
	for _, p := range in[:3] {
		p.Close()
	}
	in = in[3:]
	waiting = append(waiting, faultsKnock(t, s.addr), faultsKnock(t, s.addr))
	<-first
	for _, p := range waiting {
		p.upgraded(t)
		in = append(in, p)
	}
	gauges("when three have left and three have come", 3)
	broadcasts = 3
	broadcast()
	for _, p := range in {
		p.Close()
	}
	boxEventually(t, "everybody is gone", func() bool { return s.stats().Channels == 0 })
	boxEventually(t, "their descriptors are free", func() bool { return s.count("descriptors") <= descriptors-free })
	s.end()
}

// faultsKnock asks for a channel and does not wait for the answer.
func faultsKnock(t *testing.T, addr string) *wirePeer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(boxPatience))
	p := &wirePeer{Conn: conn, br: bufio.NewReader(conn)}
	p.send(t, wireRequest())
	return p
}
