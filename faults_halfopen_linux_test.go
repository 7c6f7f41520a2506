package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// faultsNetwork runs the test in a process with a network of its own, in which it returns
// true; where it may not, it skips.
func faultsNetwork(t *testing.T) (inside bool) {
	t.Helper()
	if faultsIsChild(t) {
		faultsLoopback(t, true)
		return true
	}
	t.Parallel()
	cmd := faultsChild(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case err == nil && strings.Contains(string(out), "--- SKIP"):
		t.Skipf("the machine gives no loopback of our own:\n%s", out)
	case errors.As(err, &failed):
		t.Errorf("%v:\n%s", err, out)
	case err != nil:
		t.Skipf("the machine gives no network namespace: %v", err)
	}
	return false
}

// faultsLoopback takes the loopback interface up or down.
func faultsLoopback(t *testing.T, up bool) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	var request struct { // struct ifreq
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	ioctl := func(op uintptr) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), op, uintptr(unsafe.Pointer(&request))); errno != 0 {
			t.Skipf("the loopback interface is not ours: %v", errno)
		}
	}
	ioctl(syscall.SIOCGIFFLAGS)
	request.flags &^= syscall.IFF_UP
	if up {
		request.flags |= syscall.IFF_UP
	}
	ioctl(syscall.SIOCSIFFLAGS)
}

// Peers whose network is gone, without a packet that says so, are found out by the
// heartbeat. Until then what is queued for them stays within its bound, and others notice
// nothing.
func TestHalfOpenConnectionsEndByTheHeartbeat(t *testing.T) {
	if !faultsNetwork(t) {
		return
	}
	const gone, queue = 5, 32 << 10
	const heartbeat, timeout = 200 * time.Millisecond, time.Second
	log := newWireLog()
	events := log.events()
	var box *ChannelBox
	events.OnConnect = faultsJoins(&box)
	box = wireBox(t, &Options{
		Channel: ChannelOptions{PayloadType: Text, Slow: SlowDropNewest, QueueBytes: queue, CloseTimeout: 100 * time.Millisecond},
		Events:  events,
	})
	srv := faultsServe(t, box.HandlerWith(&ChannelOptions{
		PayloadType: Text, Slow: SlowDropNewest, QueueBytes: queue, CloseTimeout: 100 * time.Millisecond,
		Heartbeat: heartbeat, HeartbeatTimeout: timeout,
	}, nil), box)
	for range gone {
		newFaultsAnswerer(faultsDial(t, srv))
	}
	bystander := wschannelstest.Dial(t, box, "/") // in memory
	boxEventually(t, "all are members", func() bool { return len(box.Members("g")) == gone+1 })
	<-time.After(2 * heartbeat) // they answer
	if s := box.Stats(); s.Channels != gone+1 {
		t.Fatalf("Stats: %+v, want all there", s)
	}

	faultsLoopback(t, false)
	down := time.Now()
	full := false
	for i := 0; len(box.Members("g")) > 1; i++ {
		if time.Since(down) > boxPatience {
			t.Fatalf("after %v: %+v", time.Since(down), box.Stats())
		}
		text := faultsText(i, 8<<10)
		boxSend(t, box, "g", text, nil)
		if _, p, err := bystander.Read(t.Context()); err != nil || string(p) != text {
			t.Fatalf("the bystander got %.20q, %v; want message %d", p, err, i)
		}
		s := box.Stats()
		if s.QueuedBytes > gone*queue {
			t.Fatalf("%d bytes are queued for %d peers", s.QueuedBytes, gone)
		}
		full = full || s.QueuedBytes > gone*queue/2
	}
	if took := time.Since(down); took < timeout/2 {
		t.Errorf("they were gone after %v", took)
	}
	if !full {
		t.Error("nothing was queued for those who were gone")
	}
	for range gone {
		if end := log.end(t); end.Code != StatusStale || end.Remote || !errors.Is(end, ErrStale) {
			t.Errorf("the end is %v, want 4000", end)
		}
	}
	faultsLoopback(t, true)
	if s := box.Stats(); s.Stale != gone || s.Channels != 1 || s.QueuedMessages != 0 || len(log.ends) != gone {
		t.Errorf("Stats: %+v, %d ends; want %d stale, and nothing left of them", s, len(log.ends), gone)
	}
	newFaultsAnswerer(faultsDial(t, srv)) // others may come
	boxEventually(t, "another comes", func() bool { return len(box.Members("g")) == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), boxPatience)
	defer cancel()
	go bystander.Read(ctx) // answers the close frame
	if _, err := box.CloseAll(ctx, 1000, ""); err != nil {
		t.Error(err)
	}
	boxNothingLeft(t, box)
}

// A network that comes back before the heartbeat has given up has lost nothing.
func TestANetworkThatComesBackInTimeHasLostNothing(t *testing.T) {
	if !faultsNetwork(t) {
		return
	}
	var box *ChannelBox
	box = wireBox(t, &Options{
		Channel: ChannelOptions{PayloadType: Text, Heartbeat: 100 * time.Millisecond, HeartbeatTimeout: boxPatience, WriteTimeout: boxPatience},
		Events:  Events{OnConnect: faultsJoins(&box)},
	})
	a := newFaultsAnswerer(faultsDial(t, faultsServe(t, box, box)))
	boxEventually(t, "it is a member", func() bool { return len(box.Members("g")) == 1 })
	sent := 0
	send := func() {
		sent++
		if res := boxSend(t, box, "g", fmt.Sprint(sent), nil); res.Queued != 1 {
			t.Errorf("message %d: %+v", sent, res)
		}
	}
	for range 2 { // times
		send()
		faultsLoopback(t, false)
		for again := time.NewTicker(20 * time.Millisecond); sent%20 != 0; <-again.C {
			send()
		}
		if len(a.texts) > sent-10 {
			t.Errorf("%d of %d messages came: the network was not down", len(a.texts), sent)
		}
		faultsLoopback(t, true)
		boxEventually(t, "what was sent meanwhile comes", func() bool { return len(a.texts) == sent })
	}
	send()
	for i := range sent {
		select {
		case text := <-a.texts:
			if text != fmt.Sprint(i+1) {
				t.Fatalf("got %q, want message %d", text, i+1)
			}
		case <-time.After(boxPatience):
			t.Fatalf("message %d does not come", i+1)
		}
	}
	boxEventually(t, "all of it counts as sent", func() bool { return box.Stats().Sent == uint64(sent) })
	if s := box.Stats(); s.Dropped != 0 || s.Channels != 1 {
		t.Errorf("Stats: %+v", s)
	}
	a.Close()
	boxNothingLeft(t, box)
}
