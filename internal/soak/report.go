package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	beginMark = "<!-- soak:begin -->"
	endMark   = "<!-- soak:end -->"
)

// splice returns the file with text between its markers.
func splice(file, text string) ([]byte, error) {
	page, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	head, rest, begins := strings.Cut(string(page), beginMark)
	_, tail, ends := strings.Cut(rest, endMark)
	if !begins || !ends {
		return nil, fmt.Errorf("%s has no markers %s and %s", file, beginMark, endMark)
	}
	return []byte(head + beginMark + "\n" + text + endMark + tail), nil
}

// markdown is the result as a section of a page.
func (r *result) markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	cfg, l, st := r.cfg, r.ledger, &r.end.stats

	line("`go run ./internal/soak -conns %d -for %v -seed %d`, on %d processors, %s, %s: %d problems.", cfg.conns, cfg.length, cfg.seed,
		runtime.NumCPU(), strings.Split(runtime.Version(), " ")[0], runtime.GOOS, len(r.problems))
	line("Server and clients together kept %.1f processors busy; the longest wait for one was %v. The", r.processors, r.pause.Round(time.Millisecond))
	line("longest time until a close frame came that was due at once: %v.\n", time.Duration(l.longest.ns.Load()).Round(time.Millisecond))

	line("| | before | while it ran | after |\n|---|---|---|---|")
	row := func(name string, get func(sample) uint64, unit string) {
		low, high := ^uint64(0), uint64(0)
		for _, m := range r.steady() {
			low, high = min(low, get(m)), max(high, get(m))
		}
		during := number(low) + " to " + number(high)
		if low >= high {
			during = number(high)
		}
		line("| %s | %s%s | %s%s | %s%s |", name, number(get(r.base)), unit, during, unit, number(get(r.end)), unit)
	}
	row("goroutines", func(m sample) uint64 { return uint64(m.goroutines) }, "")
	row("descriptors", func(m sample) uint64 { return uint64(m.descriptors) }, "")
	row("heap (`HeapAlloc` after a collection)", func(m sample) uint64 { return m.heap >> 10 }, " KiB")
	row("`HeapInuse`", func(m sample) uint64 { return m.inuse >> 10 }, " KiB")
	row("resident memory", func(m sample) uint64 { return m.rss >> 20 }, " MiB")
	row("`Stats.Channels`", func(m sample) uint64 { return uint64(m.stats.Channels) }, "")
	row("`Groups`", func(m sample) uint64 { return uint64(m.stats.Groups) }, "")
	row("`QueuedMessages`", func(m sample) uint64 { return uint64(m.stats.QueuedMessages) }, "")
	row("`QueuedBytes`", func(m sample) uint64 { return uint64(m.stats.QueuedBytes) }, "")
	row("`HistoryBytes`", func(m sample) uint64 { return uint64(m.stats.HistoryBytes) }, "")
	row("`Mailboxes`", func(m sample) uint64 { return uint64(m.stats.Mailboxes) }, "")
	row("`MailboxBytes`", func(m sample) uint64 { return uint64(m.stats.MailboxBytes) }, "")

	accepted, unknown := l.accepted()
	line("\nBefore is after a first round of %v with all connections, which fills what the runtime and the box keep. After is when all", (cfg.ramp() + 2*cfg.act).Round(time.Second))
	line("were closed, histories flushed and mailboxes expired. Margin of the heap: %s KiB. Both rounds together:\n", number(cfg.margin()>>10))
	line("| | |\n|---|---|")
	count := func(name string, n uint64) { line("| %s | %s |", name, number(n)) }
	count("connections made", l.upgraded.Load())
	line("| accepted = disconnected = `OnConnect` = `OnDisconnect` | %s |", number(st.Accepted))
	count("refused, as they asked for, or gone before they were accepted", st.Refused)
	count("joins", l.joins.Load())
	count("joins that recovered everything after a reconnect", l.recovered.Load())
	count("sends to groups", l.groupSends.Load())
	count("sends to users", l.userSends.Load())
	count("messages received from clients", st.Received)
	line("| messages accepted for channels and mailboxes | %s, and at most %s more |", number(accepted), number(unknown))
	line("| = sent + dropped | %s + %s = %s |", number(st.Sent), number(st.Dropped), number(st.Sent+st.Dropped))
	count("messages that clients have received and checked", l.received.Load())
	count("of these checked for their place in a group", l.checked.Load())
	count("invalid messages", st.Invalid)
	count("panics of the application, as asked for", st.Panics)
	line("\n(At most so many more: a `Join` with replay that its channel's end cuts short does not say how many it had queued.)")

	line("\nHow the connections ended:\n\n| | |\n|---|---|")
	for _, e := range l.ends.sorted() {
		count(e.how, uint64(e.n))
	}
	return b.String()
}

// steady are the samples after all have connected; all, if there are none.
func (r *result) steady() []sample {
	i := slices.IndexFunc(r.during, func(m sample) bool { return m.at > r.cfg.ramp()+r.cfg.act })
	return r.during[max(0, i):]
}

// number is n with commas.
func number(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
