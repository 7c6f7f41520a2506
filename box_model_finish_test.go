package wschannels_test

import (
	"context"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// finish brings the run to an end in which everything is known: what waits is written
// where the peer reads, everything is looked at, and all channels close.
func (run *modelRun) finish() {
	w := &modelWorker{run: run, id: len(run.workers), rnd: run.rnd}
	run.workers = append(run.workers, w)
	for _, ch := range run.chans {
		if !ch.calm && run.rnd.IntN(4) > 0 {
			ch.stall(false)
		}
	}
	if run.fake && run.rnd.IntN(2) == 0 {
		time.Sleep(time.Duration(run.rnd.Int64N(int64(time.Minute))))
	}
	for _, ch := range run.chans {
		ch.mu.Lock()
		reads := !ch.stalled()
		ch.mu.Unlock()
		if ch.c.Err() != nil || !reads {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), boxPatience)
		err := ch.c.Flush(ctx)
		cancel()
		ch.flushed = err == nil
		if err != nil && ch.c.Err() == nil {
			run.failf("channel %d: Flush, with a peer that reads: %v", ch.id, err)
		}
	}
	for i := range run.boxes {
		for _, g := range run.groups {
			for what := range 4 {
				if run.fake {
					time.Sleep(time.Nanosecond) // one thing at a time
				}
				w.lookAt(&modelLook{box: i, group: g}, what)
			}
		}
		w.closeBox(i)
	}
	for i := range run.boxes {
		for _, u := range run.users {
			w.collect(i, u)
		}
		w.closeBox(i) // waits for the last events
	}
	for _, ch := range append(run.chans, run.refused...) {
		<-ch.closed
	}
	run.statsAt = time.Now()
	for _, b := range run.boxes {
		run.stats = append(run.stats, b.Stats())
		ctx, cancel := context.WithTimeout(context.Background(), boxPatience)
		if err := b.Shutdown(ctx); err != nil {
			run.failf("Shutdown: %v", err)
		}
		cancel()
		boxNothingLeft(run.t, b)
	}
	run.helpers.Wait()
}

// collect opens a channel for user, which gets what waits, and closes it.
func (w *modelWorker) collect(box int, user string) {
	if w.run.fake {
		time.Sleep(time.Nanosecond) // one thing at a time
	}
	ch := &modelChannel{box: box, calm: true, connected: make(chan struct{})}
	ch.opts = wschannels.ChannelOptions{PayloadType: wschannels.Bytes, Heartbeat: -1, CloseTimeout: boxPatience, Events: ch.events(w.run)}
	ch.conn = &modelConn{Conn: wschannelstest.NewConn(), ch: ch}
	ch.created = time.Now()
	c, err := wschannels.NewChannel(ch.conn, &ch.opts)
	if err != nil {
		panic(err)
	}
	ch.c = c
	ch.watch(w.run)
	ch.opened = w.span(func() { err = w.run.boxes[box].Add(c) })
	ch.entered = err == nil
	w.run.opened(ch, err)
	n := &modelName{ch: ch, user: user}
	w.run.settle()
	n.modelSpan = w.span(func() { n.err = c.SetUser(user) })
	w.names = append(w.names, n)
	w.run.settle()
	ctx, cancel := context.WithTimeout(context.Background(), boxPatience)
	defer cancel()
	if err := c.Flush(ctx); err != nil {
		w.run.failf("Flush of the channel that collects the mail of %s: %v", user, err)
	}
	ch.flushed = true
	end := &modelClose{box: box, ch: ch, how: "Close", code: 3950}
	end.modelSpan = w.span(func() { c.Close(end.code, "") })
	w.closes = append(w.closes, end)
	<-ch.closed
}

// settle waits until no box has anything to do beside what it was called for.
func (run *modelRun) settle() {
	if run.cfg.broker == nil {
		return
	}
	if run.fake {
		synctest.Wait()
		return
	}
	for _, b := range run.boxes {
		boxEventually(run.t, "the box has settled", func() bool { return wschannels.Settled(b) })
	}
}

// checkCaps looks whether the box is over a limit at this moment.
func (run *modelRun) checkCaps(b *wschannels.ChannelBox) {
	s, o := b.Stats(), run.cfg.opts
	for _, over := range []struct {
		what       string
		have, most int64
	}{
		{"channels", int64(s.Channels), int64(o.MaxChannels)},
		{"groups", int64(s.Groups), int64(o.MaxGroups)},
		{"mailboxes", int64(s.Mailboxes), int64(o.MaxMailboxes + run.cfg.engineMailboxes())},
		{"bytes of mailboxes", s.MailboxBytes, run.cfg.mailboxBytes(s.Mailboxes)},
		{"bytes of histories", s.HistoryBytes, int64(o.HistoryTotalBytes)},
		{"bytes of histories", s.HistoryBytes, int64(run.cfg.history().Bytes * run.cfg.groups)},
	} {
		if over.most > 0 && over.have > over.most {
			run.failf("%d %s, over the limit of %d", over.have, over.what, over.most)
		}
	}
	if o.MailboxBytes < 0 && s.Mailboxes > 0 {
		run.failf("%d mailboxes, and there are to be none", s.Mailboxes)
	}
	if s.QueuedMessages < 0 || s.QueuedBytes < s.QueuedMessages {
		run.failf("%d messages and %d bytes in queues", s.QueuedMessages, s.QueuedBytes)
	}
}
