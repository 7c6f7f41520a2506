// Command soak holds thousands of real connections in one process, server and clients,
// and lets them do anything for a while: join, leave, send, replay, reconnect, stall,
// break the protocol, vanish. Every client checks all that it gets. In the end
// goroutines, descriptors, memory and every gauge must be back where they were, and the
// counters must add up; else the exit code is 1.
//
//	go run ./internal/soak                              # 8,000 connections, 10 minutes
//	go run ./internal/soak -conns 500 -for 20s -seed 7
//	go run ./internal/soak -report docs/reliability.md  # writes the figures there, too
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	if err := command(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func command(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	conns := flags.Int("conns", 8000, "`connections` at a time")
	length := flags.Duration("for", 10*time.Minute, "how `long`")
	seed := flags.Uint64("seed", 1, "of what is random")
	report := flags.String("report", "", "a Markdown `file` whose section between the markers gets the figures")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *conns < 1 || *conns > maxConns || *length <= 0 || flags.NArg() > 0 {
		return fmt.Errorf("what is to be done? %d connections (1 to %d) for %v, and %q", *conns, maxConns, *length, flags.Args())
	}
	if *report != "" { // not after ten minutes
		if _, err := splice(*report, ""); err != nil {
			return err
		}
	}
	res, err := soak(newConfig(*conns, *length, *seed, out))
	if err != nil {
		return err
	}
	text := res.markdown()
	fmt.Fprint(out, "\n", text, "\n")
	if len(res.problems) > 0 {
		return fmt.Errorf("%d problems:\n  %s", len(res.problems), strings.Join(res.problems, "\n  "))
	}
	fmt.Fprintln(out, "Everything is back where it was.")
	if *report == "" {
		return nil
	}
	page, err := splice(*report, text)
	if err != nil {
		return err
	}
	return os.WriteFile(*report, page, 0o644)
}

// maxConns keeps clear of the 28,000 ports that a system has for connections to one
// address.
const maxConns = 20_000

// A config says how much of everything.
type config struct {
	conns  int
	length time.Duration
	seed   uint64
	out    io.Writer

	rooms  int
	rate   int           // group sends a second by the server
	act    time.Duration // between two actions of a client, on average
	life   time.Duration // of a connection, on average
	beat   time.Duration // Heartbeat
	expiry time.Duration // TTL of the channels that have one; twice that is MaxLifetime
	mail   time.Duration // MailboxTTL
}

// newConfig chooses the load so that two processors can hold it: no more than some 1,600
// commands of clients, 550 group sends of the server and 130 new connections a second.
func newConfig(conns int, length time.Duration, seed uint64, out io.Writer) *config {
	each := time.Duration(conns)
	life := max(time.Second, each*7500*time.Microsecond)
	return &config{
		conns: conns, length: length, seed: seed, out: out,
		rooms: max(12, conns/5), rate: 50 + conns/16,
		act: max(250*time.Millisecond, each*625*time.Microsecond), life: life,
		beat: max(time.Second, life/6), expiry: max(time.Second, life/6), mail: min(5*time.Second, life),
	}
}

// Limits of the channels. The times are long: a machine that has other things to do is no
// failure.
const (
	queueBytes   = 64 << 10
	readLimit    = 16 << 10
	historyLen   = 64
	mailboxBytes = 16 << 10

	readTimeout  = 30 * time.Second
	writeTimeout = 30 * time.Second
	staleTimeout = time.Minute     // HeartbeatTimeout
	closeTimeout = 2 * time.Minute // nobody needs it but on a machine that is much too busy
	patience     = 4 * time.Minute // of a client, with what the server must do
	settling     = time.Minute     // until all that is left is a leak
)

func (cfg *config) historyBytes() int64 { return int64(cfg.rooms) * 16 << 10 } // of all groups
func (cfg *config) mailboxes() int64    { return int64(max(10, cfg.conns/20)) }
