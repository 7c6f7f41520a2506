package redisbroker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/redisbroker"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

// A loser is an engine that has lost what was published between keep and lose.
type loser struct {
	url  string
	keep func()
	lose func()
}

// Whoever has seen what the engine has lost has missed what then took its place.
func TestWhoHasSeenWhatTheEngineLostIsToldThatMessagesAreMissing(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) loser{
		"an append-only file lost its end": losesItsFilesEnd,
		"a snapshot":                       hasSnapshots,
		"another master":                   hasAReplica,
		"a master that was away":           comesBack,
	} {
		t.Run(name, func(t *testing.T) {
			engine := start(t)
			b := open(t, engine.url, &fast) // and nobody is subscribed
			for i := range 10 {
				publish(t, b, saved("a", fmt.Sprint(i+1)))
			}
			engine.keep()
			var last *wschannels.Publication
			for range 5 {
				last = publish(t, b, saved("a", "lost"))
			}
			engine.lose()
			for range 8 {
				until(t, "publishing", func() bool { return b.Publish(within(t, time.Second), saved("a", "new")) == nil })
			}
			page := history(t, b, "a", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: last.Epoch, Seq: last.Seq}})
			if page.Complete || page.Position.Epoch == last.Epoch {
				t.Errorf("after %d of %s: %q, complete %t, at %+v", last.Seq, last.Epoch, texts(page), page.Complete, page.Position)
			}
			wantTexts(t, history(t, b, "a", nil), "1:new", "2:new", "3:new", "4:new", "5:new", "6:new", "7:new", "8:new")
		})
	}
}

func losesItsFilesEnd(t *testing.T) loser {
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "everysec")
	var file string
	var size int64
	return loser{s.URL(), func() {
		files, err := filepath.Glob(filepath.Join(s.Dir(), "appendonlydir", "*.incr.aof"))
		if err != nil || len(files) != 1 {
			t.Fatalf("append-only files: %q, %v", files, err)
		}
		info, err := os.Stat(files[0])
		if err != nil {
			t.Fatal(err)
		}
		file, size = files[0], info.Size()
	}, func() {
		s.Stop()
		if err := os.Truncate(file, size); err != nil {
			t.Fatal(err)
		}
		s.Restart()
	}}
}

func hasSnapshots(t *testing.T) loser {
	s := redistest.Start(t)
	return loser{s.URL(), func() { s.CLI("SAVE") }, func() { s.Stop(); s.Restart() }}
}

// replicated returns a server, and a replica that no longer hears of it once cut was called.
func replicated(t *testing.T) (s, replica *redistest.Server, cut func()) {
	s = redistest.Start(t, "--repl-diskless-sync-delay", "0")
	p := redistest.NewProxy(t, s.Addr())
	host, port, _ := strings.Cut(p.Addr(), ":")
	replica = redistest.Start(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	return s, replica, func() {
		until(t, "replication", func() bool {
			return replica.CLI("HGETALL", "wschannels:{g.a}") == s.CLI("HGETALL", "wschannels:{g.a}")
		})
		p.Deafen()
	}
}

func hasAReplica(t *testing.T) loser {
	s, replica, cut := replicated(t)
	p := redistest.NewProxy(t, s.Addr())
	return loser{p.URL(), cut, func() {
		replica.CLI("REPLICAOF", "NO", "ONE")
		p.Redirect(replica.Addr())
		p.Cut()
	}}
}

// comesBack is the server itself, with what another one had that was master for a moment. Its
// clients have had no reason to notice.
func comesBack(t *testing.T) loser {
	s, replica, cut := replicated(t)
	return loser{s.URL(), cut, func() {
		replica.CLI("REPLICAOF", "NO", "ONE")
		host, port, _ := strings.Cut(replica.Addr(), ":")
		s.CLI("REPLICAOF", host, port)
		until(t, "replication", func() bool { return strings.Contains(s.CLI("INFO", "replication"), "master_link_status:up") })
		s.CLI("REPLICAOF", "NO", "ONE")
	}}
}

// Nobody can know that nothing is missing, unless it is said that nothing ever is.
func TestARestartStartsAllGroupsAnewUnlessTheEngineIsDurable(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	for _, opts := range []redisbroker.Options{{Prefix: "a"}, {Prefix: "b", Durable: true}} {
		b := open(t, s.URL(), &opts)
		before := publish(t, b, saved("a", "1"))
		s.Stop()
		s.Restart()
		until(t, "publishing", func() bool { return b.Publish(within(t, time.Second), saved("a", "2")) == nil })
		at, err := b.Position(within(t, redistest.Patience), "a")
		if err != nil || (at.Epoch == before.Epoch) != opts.Durable {
			t.Errorf("durable %t: at %+v, %v, before the restart at %d of %s", opts.Durable, at, err, before.Seq, before.Epoch)
		}
	}
}
