package wschannels_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/wschannels/wschannels"
)

// A faultsAnswerer is a client that answers pings when it is let.
type faultsAnswerer struct {
	*wirePeer
	texts  chan string
	closes chan int

	mu   sync.Mutex // guards what follows
	mute bool
	owed int // pongs
}

func newFaultsAnswerer(p *wirePeer) *faultsAnswerer {
	a := &faultsAnswerer{wirePeer: p, texts: make(chan string, 1000), closes: make(chan int, 10)}
	go func() { // ends with the connection
		for {
			op, payload, err := p.next()
			switch {
			case err != nil:
				close(a.closes)
				return
			case op == wirePing:
				a.answer(1)
			case op == wireText:
				a.texts <- string(payload)
			case op == wireClose:
				a.closes <- int(wireCode(payload))
			}
		}
	}()
	return a
}

// answer answers n more pings, and all that were not answered before.
func (a *faultsAnswerer) answer(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.owed += n; a.owed > 0 && !a.mute; a.owed-- {
		_, _ = a.Write(wireFrame(wireFin|wirePong, nil))
	}
}

func (a *faultsAnswerer) setMute(mute bool) {
	a.mu.Lock()
	a.mute = mute
	a.mu.Unlock()
	a.answer(0)
}

func (a *faultsAnswerer) owes() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.owed > 0
}

// A server that is stopped for longer than all its heartbeats asks again: who has
// answered meanwhile, or does now, stays. Who is gone, goes.
func TestAServerThatWasSuspendedAsksAgain(t *testing.T) {
	const heartbeat, timeout = 200 * time.Millisecond, 1200 * time.Millisecond
	if faultsIsChild(t) {
		faultsServeChild(t, ChannelOptions{Heartbeat: heartbeat, HeartbeatTimeout: timeout})
		return
	}
	if testing.Short() {
		t.Skip("takes seconds of real time")
	}
	t.Parallel()
	s := faultsStart(t)
	var healthy, all, mute []*faultsAnswerer
	for i := range 9 {
		p := faultsKnock(t, s.addr)
		p.upgraded(t)
		a := newFaultsAnswerer(p)
		all = append(all, a)
		if i > 0 {
			healthy = append(healthy, a)
		}
		if i%2 == 0 {
			mute = append(mute, a)
		}
	}
	dead := all[0]
	boxEventually(t, "all are members", func() bool { return s.count("members") == len(all) })
	for _, a := range mute { // the dead one, and half of the others, are asked just before
		a.setMute(true)
	}
	for _, a := range mute {
		boxEventually(t, "it is asked", a.owes)
	}
	pid := s.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the server does not stop: %v, %v", status, err)
	}
	for _, a := range healthy {
		a.setMute(false) // the answer waits in its socket
	}
	<-time.After(heartbeat + timeout + 1500*time.Millisecond)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-dead.closes:
		if code != int(StatusStale) {
			t.Errorf("the dead one was closed with %d, want %d", code, StatusStale)
		}
	case <-time.After(boxPatience):
		t.Fatal("the dead one lives")
	}
	dead.Close()
	boxEventually(t, "the dead one is gone", func() bool { return s.stats().Disconnected > 0 })
	if got := s.ask("send"); got != fmt.Sprint(len(healthy), " <nil>") {
		t.Errorf("the send was queued for %s, want %d members", got, len(healthy))
	}
	for i, a := range healthy {
		select {
		case text := <-a.texts:
			if text != "1" {
				t.Errorf("client %d got %q", i, text)
			}
		case code := <-a.closes:
			t.Errorf("client %d was closed with %d", i, code)
		case <-time.After(boxPatience):
			t.Fatalf("client %d got nothing", i)
		}
	}
	if st := s.stats(); st.Stale != 1 || st.Channels != len(healthy) || st.Disconnected != 1 || st.Dropped != 0 {
		t.Errorf("%+v; want the dead one stale, and the others there", st)
	}
	for _, a := range all {
		a.Close()
	}
	s.end()
}
