package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
)

// The short form of the soak, on the same code.
func TestAShortSoakLeavesEverythingAsItWas(t *testing.T) {
	var out bytes.Buffer
	cfg := newConfig(200, 2*time.Second, 1, &out)
	r, err := soak(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.problems {
		t.Error(p)
	}
	if t.Failed() {
		t.Logf("%s\n%s", &out, r.markdown())
	}
	st, l := r.end.stats, r.ledger
	for what, n := range map[string]uint64{
		"samples": uint64(len(r.during)), "reconnects": l.upgraded.Load() / uint64(2*cfg.conns), "recovered joins": l.recovered.Load(),
		"replayed messages": l.replayed.Load(), "checked places": l.checked.Load(), "sends to users": l.userSends.Load(),
		"Sent": st.Sent, "Dropped": st.Dropped, "Invalid": st.Invalid, "Panics": st.Panics, "Refused": st.Refused,
	} {
		if n == 0 {
			t.Errorf("%s: none. Too peaceful to mean anything", what)
		}
	}
}

// What a client would see if the library were wrong is an error.
func TestAClientNoticesWhatIsWrong(t *testing.T) {
	type step struct {
		seq    uint64 // a message
		note   uint64 // the same, without an envelope
		epoch  string
		answer *answer // to a join
	}
	m := func(seq uint64) step { return step{seq: seq, epoch: "e"} }
	n := func(n uint64) step { return step{note: n} }
	joined := func(seq uint64, replayed int, recovered bool) step {
		return step{answer: &answer{Epoch: "e", Seq: seq, Replayed: replayed, Recovered: recovered}}
	}
	after := func(seq uint64) request { return request{Epoch: "e", Seq: seq} }
	gapless, lossy, plain := &kind{envelope: true}, &kind{envelope: true, lossy: true}, &kind{}

	for _, tt := range []struct {
		name  string
		kind  *kind
		group string
		asked request
		steps []step
		wrong bool // the last of them
	}{
		{"in order", gapless, "mixed", request{}, []step{joined(4, 0, false), m(5), m(6)}, false},
		{"messages before the answer", gapless, "mixed", request{}, []step{m(5), m(6), joined(4, 0, false), m(7)}, false},
		{"a gap", gapless, "mixed", request{}, []step{joined(4, 0, false), m(5), m(7)}, true},
		{"a gap on a lossy channel", lossy, "mixed", request{}, []step{joined(4, 0, false), m(5), m(7)}, false},
		{"twice", lossy, "mixed", request{}, []step{joined(4, 0, false), m(5), m(5)}, true},
		{"another epoch", lossy, "mixed", request{}, []step{joined(4, 0, false), m(5), {seq: 6, epoch: "f"}}, true},
		{"a gap after the join", gapless, "mixed", request{}, []step{joined(4, 0, false), m(6)}, true},
		{"a gap before the answer", gapless, "mixed", request{}, []step{m(6), joined(4, 0, false)}, true},
		{"out of order before the answer", lossy, "mixed", request{}, []step{m(6), m(5), joined(4, 0, false)}, true},
		{"recovered", gapless, "archive", after(2), []step{m(3), m(4), joined(4, 2, true), m(5)}, false},
		{"recovered with a gap", gapless, "archive", after(2), []step{m(4), joined(4, 1, true)}, true},
		{"recovered nothing", gapless, "archive", after(2), []step{joined(4, 0, true)}, true},
		{"nothing to recover", gapless, "archive", after(4), []step{joined(4, 0, true)}, false},
		{"not all are saved", gapless, "mixed", after(2), []step{m(4), joined(4, 1, true)}, false},
		{"not recovered", gapless, "archive", after(2), []step{m(4), joined(4, 1, false)}, false},
		{"a hole in what is replayed", gapless, "archive", request{Last: 3}, []step{m(2), m(4), joined(4, 2, false)}, true},
		{"the newest is missing", gapless, "archive", request{Last: 3}, []step{m(2), m(3), joined(4, 2, false)}, true},
		{"replayed what it had", gapless, "mixed", after(3), []step{m(3), joined(4, 1, true)}, true},
		{"replayed more than asked for", plain, "mixed", request{Last: 1}, []step{joined(4, 2, false)}, true},
		{"replayed without being asked", plain, "mixed", request{}, []step{joined(4, 1, false)}, true},
		{"less came than was replayed", gapless, "mixed", request{Last: 3}, []step{m(4), joined(4, 2, false)}, true},
		{"recovered in another epoch", plain, "mixed", request{Epoch: "f", Seq: 2}, []step{joined(4, 0, true)}, true},
		{"notes in order", plain, "mixed", request{}, []step{n(3), n(7), joined(9, 0, false), n(9), n(10)}, false},
		{"a note is missing", plain, "mixed", request{}, []step{joined(9, 0, false), n(9), n(11)}, true},
		{"a note is early", plain, "mixed", request{}, []step{n(7), n(3)}, true},
	} {
		p := &place{group: tt.group, kind: tt.kind, state: joining, asked: tt.asked}
		for i, s := range tt.steps {
			var err error
			switch {
			case s.answer != nil:
				err = p.joined(s.answer)
			case s.note > 0:
				err = p.sees(&note{From: 1, N: s.note}, nil)
			default:
				err = p.sees(&note{From: nobody}, &envelope{Epoch: s.epoch, Seq: s.seq})
			}
			if wrong := tt.wrong && i == len(tt.steps)-1; (err != nil) != wrong {
				t.Errorf("%s, step %d: %v, want an error: %v", tt.name, i, err, wrong)
			}
		}
	}
	left := &place{kind: lossy, state: member}
	left.leaves()
	if err := left.sees(&note{From: nobody}, nil); err == nil {
		t.Error("a message after the group was left is no error")
	}
	changed := note{N: 5, Pad: padding(5)}
	if changed.damaged() {
		t.Error("a note is damaged from the start")
	}
	if changed.Pad = changed.Pad[1:] + "x"; !changed.damaged() {
		t.Error("a damaged note is not noticed")
	}
}

func TestAClientNoticesMessagesToItsUserThatComeTwice(t *testing.T) {
	for _, tt := range []struct {
		name  string
		gone  bool // the visit before
		seen  []uint64
		wrong bool // the last of them
	}{
		{"in order, some lost", true, []uint64{1, 2, 5, 90}, false},
		{"twice", false, []uint64{1, 2, 1}, true},
		{"the last one twice", false, []uint64{1, 2, 2}, true},
		{"late, from the visit before", false, []uint64{1, 3, 2}, false},
		{"late, from nowhere", true, []uint64{1, 3, 2}, true},
		{"late, and then twice", false, []uint64{1, 3, 2, 2}, true},
		{"long ago", false, []uint64{1, 300, 2, 2}, false}, // nobody can remember everything
	} {
		var b inbox
		b.connects(tt.gone)
		for i, n := range tt.seen {
			err := b.sees(n)
			if wrong := tt.wrong && i == len(tt.seen)-1; (err != nil) != wrong {
				t.Errorf("%s: message %d: %v, want an error: %v", tt.name, n, err, wrong)
			}
		}
	}
}

func TestFiguresThatDoNotAddUpAreProblems(t *testing.T) {
	healthy := func() *result {
		r := &result{cfg: newConfig(100, time.Second, 1, nil), ledger: new(ledger)}
		r.end.stats = wschannels.Stats{Accepted: 5, Disconnected: 5, Refused: 1, Sent: 8, Dropped: 2, Panics: 1}
		l := r.ledger
		l.connects.Store(5)
		l.disconnects.Store(5)
		l.upgraded.Store(6)
		l.refused.Store(1)
		l.panics.Store(1)
		l.queued.Store(6)
		l.direct.Store(3)
		l.dropped.Store(1)
		l.received.Store(7)
		return r
	}
	for name, harm := range map[string]func(*result){
		"":                        func(*result) {},
		"heap":                    func(r *result) { r.end.heap = r.base.heap + r.cfg.margin() + 1 },
		"not disconnected":        func(r *result) { r.end.stats.Disconnected-- },
		"OnDisconnect twice":      func(r *result) { r.ledger.disconnects.Add(1) },
		"no OnConnect":            func(r *result) { r.ledger.connects.Store(4) },
		"a connection is missing": func(r *result) { r.ledger.upgraded.Add(1) },
		"a panic of the library":  func(r *result) { r.end.stats.Panics++ },
		"lost silently":           func(r *result) { r.end.stats.Sent-- },
		"from nowhere":            func(r *result) { r.end.stats.Dropped++ },
		"received, and not sent":  func(r *result) { r.ledger.received.Add(2) },
	} {
		r := healthy()
		harm(r)
		if got := r.judge(); (len(got) == 0) != (name == "") || len(got) > 1 {
			t.Errorf("%q: the problems are %q", name, got)
		}
	}
	for _, st := range []wschannels.Stats{
		{Channels: 1}, {Groups: 1}, {Mailboxes: 1}, {MailboxBytes: 1}, {QueuedMessages: 1}, {QueuedBytes: 1}, {HistoryBytes: 1},
	} {
		if held(&st) == "" {
			t.Errorf("%+v: nothing is held", st)
		}
	}
}

func TestWhatIsLeftOpenOrRunningIsFound(t *testing.T) {
	before := take()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := descriptors(); n > 0 && before.same(take()) == "" {
		t.Error("an open file is not found")
	}
	file.Close()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		<-end
		close(ended)
	}()
	if before.same(take()) == "" {
		t.Error("a goroutine is not found")
	}
	close(end)
	<-ended
	if !eventually(func() bool { return before.same(take()) == "" }) {
		t.Errorf("with nothing left: %s", before.same(take()))
	}
}

func TestFiguresGoBetweenTheMarkers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	for page, want := range map[string]string{
		"a" + beginMark + "old" + endMark + "z": "a" + beginMark + "\nnew" + endMark + "z",
		"a" + endMark + "z":                     "",
		"a" + beginMark + "z":                   "",
	} {
		if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := splice(file, "new")
		if string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%q became %q, %v; want %q", page, got, err, want)
		}
	}
}

func TestWhatCannotBeDoneIsRefusedAtOnce(t *testing.T) {
	for _, args := range []string{"-conns 0", "-conns 1000000", "-for 0s", "and more", "-report /nowhere/page.md"} {
		if err := command(strings.Fields(args), new(bytes.Buffer)); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
	if n, _ := descriptors(); n == 0 {
		return // they are not known here
	}
	if err := needDescriptors(1 << 40); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("more descriptors than there are: %v, want what to do", err)
	}
}
