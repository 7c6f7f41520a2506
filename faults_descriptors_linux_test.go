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
	free := descriptors - s.descriptors()
	var in, waiting []*wirePeer
	for range free {
		p := faultsKnock(t, s.addr)
		p.upgraded(t)
		in = append(in, p)
	}
	waiting = append(waiting, faultsKnock(t, s.addr))
	select {
	case <-s.full:
	case <-time.After(boxPatience):
		t.Fatal("the descriptors have not run out")
	}
	broadcasts := 0
	broadcast := func() {
		t.Helper()
		broadcasts++
		boxEventually(t, "everybody is a member", func() bool { return s.ask("members") == fmt.Sprint(len(in)) })
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
	if free < 5 || s.descriptors() != descriptors {
		t.Fatalf("%d clients fit, and %d descriptors are open of %d", free, s.descriptors(), descriptors)
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
	boxEventually(t, "their descriptors are free", func() bool { return s.descriptors() == descriptors-free })
	s.end()
}

// descriptors is how many the child has open.
func (s *faultsServer) descriptors() (n int) {
	s.t.Helper()
	if _, err := fmt.Sscan(s.ask("descriptors"), &n); err != nil {
		s.t.Fatal(err)
	}
	return n
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
