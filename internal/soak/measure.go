package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/wschannels/wschannels"
)

// A sample is what there is at one moment.
type sample struct {
	at                      time.Duration
	goroutines, descriptors int
	heap, inuse, rss        uint64 // after a collection
	stats                   wschannels.Stats
}

// take returns what the process has.
func take() sample {
	runtime.GC()
	runtime.GC() // pools keep what they have through one
	return quick()
}

// quick is take, as it is without a collection.
func quick() (m sample) {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.heap, m.inuse = mem.HeapAlloc, mem.HeapInuse
	m.rss = resident()
	m.goroutines = runtime.NumGoroutine()
	m.descriptors, _ = descriptors() // 0 where they cannot be counted, each time
	return m
}

func (s *server) take() sample {
	m := take()
	m.stats = s.box.Stats()
	return m
}

// resident is the memory of the process in bytes; 0 where that is not known.
func resident() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, _ := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize())
}

const sampleHead = "  time  channels goroutines descriptors     heap      RSS  groups  queued history mailboxes      sent   dropped"

func (m sample) String() string {
	s := &m.stats
	return fmt.Sprintf("%5ds %9d %10d %11d %5d MiB %4d MiB %7d %7d %3d MiB %9d %9d %9d", int(m.at.Seconds()), s.Channels, m.goroutines,
		m.descriptors, m.heap>>20, m.rss>>20, s.Groups, s.QueuedMessages, s.HistoryBytes>>20, s.Mailboxes, s.Sent, s.Dropped)
}

// same returns what differs of goroutines and descriptors, "" if nothing does.
func (m sample) same(now sample) string {
	if m.goroutines == now.goroutines && m.descriptors == now.descriptors {
		return ""
	}
	return fmt.Sprintf("%d goroutines and %d descriptors, and there were %d and %d", now.goroutines, now.descriptors, m.goroutines, m.descriptors)
}

// held returns which gauges are not 0.
func held(s *wschannels.Stats) string {
	if s.Channels == 0 && s.Groups == 0 && s.Mailboxes == 0 && s.MailboxBytes == 0 && s.QueuedMessages == 0 &&
		s.QueuedBytes == 0 && s.HistoryBytes == 0 {
		return ""
	}
	return fmt.Sprintf("a gauge is not back at 0: %+v", *s)
}

// settle waits until everything is as it was at the start, and tells what is not. What
// is saved is deleted; what is in mailboxes has to expire.
func (s *server) settle(start *sample) (problems []string) {
	if err := s.box.FlushHistory(context.Background()); err != nil {
		problems = append(problems, err.Error())
	}
	var differs, holds string
	back := eventually(func() bool {
		stats := s.box.Stats()
		differs, holds = start.same(quick()), held(&stats)
		return differs == "" && holds == ""
	})
	if !back && differs != "" {
		stacks := make([]byte, 1<<16)
		stacks = stacks[:runtime.Stack(stacks, true)]
		problems = append(problems, differs+"\n"+string(stacks))
	}
	if !back && holds != "" {
		problems = append(problems, holds)
	}
	debug.FreeOSMemory()
	return problems
}

// eventually waits until done, and reports whether that was in time.
func eventually(done func() bool) bool {
	for end := time.Now().Add(settling); !done(); {
		if time.Now().After(end) {
			return false
		}
		wait(context.Background(), 20*time.Millisecond)
	}
	return true
}

// overCaps returns which limits are exceeded.
func (s *server) overCaps(m *sample) (over []string) {
	st, cfg := &m.stats, s.cfg
	for _, c := range []struct {
		what     string
		got, max int64
	}{
		{"QueuedBytes", st.QueuedBytes, int64(st.Channels+cfg.conns) * 2 * queueBytes},
		{"HistoryBytes", st.HistoryBytes, cfg.historyBytes()},
		{"Mailboxes", int64(st.Mailboxes), cfg.mailboxes()},
		{"MailboxBytes", st.MailboxBytes, cfg.mailboxes() * mailboxBytes},
	} {
		if c.got > c.max {
			over = append(over, fmt.Sprintf("%s is %d, and the limit is %d", c.what, c.got, c.max))
		}
	}
	return over
}

// margin is how much more heap than at the base line is no leak: what the runtime keeps
// for goroutines and timers that there have been, and maps for entries.
func (cfg *config) margin() uint64 { return 4<<20 + 512*uint64(cfg.conns) }

// judge returns what is wrong with the figures.
func (r *result) judge() (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	st, l := &r.end.stats, r.ledger
	if limit := r.base.heap + r.cfg.margin(); r.end.heap > limit {
		wrong("the heap is %d KiB, and was %d KiB: the margin is %d KiB", r.end.heap>>10, r.base.heap>>10, r.cfg.margin()>>10)
	}
	if st.Accepted != st.Disconnected || l.connects.Load() != st.Accepted || l.disconnects.Load() != st.Accepted {
		wrong("%d accepted, %d disconnected, OnConnect %d times, OnDisconnect %d times: not the same",
			st.Accepted, st.Disconnected, l.connects.Load(), l.disconnects.Load())
	}
	if made := l.upgraded.Load(); made != st.Accepted+st.Refused || st.Refused < l.refused.Load() {
		wrong("%d connections were made, %d accepted and %d refused (%d as they asked for): it does not add up",
			made, st.Accepted, st.Refused, l.refused.Load())
	}
	if st.Panics != l.panics.Load() {
		wrong("%d panics, and %d were asked for", st.Panics, l.panics.Load())
	}
	accepted, unknown := l.accepted()
	if done := st.Sent + st.Dropped; done < accepted || done > accepted+unknown {
		wrong("%d messages were accepted (and at most %d more by joins that were cut short), %d sent and %d dropped: it does not add up",
			accepted, unknown, st.Sent, st.Dropped)
	}
	if got := l.received.Load(); got > st.Sent {
		wrong("the clients have received %d messages, and the server has sent %d", got, st.Sent)
	}
	return problems
}
