package wschannels_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// The model test of the box: several goroutines do random operations, all that was
// called, returned and received is written down, and then compared with what the
// promises allow. Each seed is a run of its own kind.
//
//	go test -run TestModel .                       # some hundred seeds
//	go test -run TestModel -model.seeds 20000 .    # that many of each kind
//	go test -run TestModel -model.seed 17 .        # one again
var (
	modelSeeds = flag.Int("model.seeds", 0, "how many seeds each TestModel runs; 0: some hundred")
	modelSeed  = flag.Uint64("model.seed", 0, "the only seed that each TestModel runs; 0: from 1 on")
)

var errModel = errors.New("the model has failed the connection")

// Real concurrency: what happens at the same time is only known within bounds.
func TestModel(t *testing.T) {
	modelEach(t, 250, func(t *testing.T, seed uint64) {
		before := runtime.NumGoroutine()
		t.Cleanup(func() { boxGoroutines(t, before) }) // after all others
		runModel(t, seed, false)
	})
}

// The fake clock: nothing that the operations do takes time, so the model knows to the
// nanosecond what each of them found, and when and how each channel must end.
func TestModelFakeClock(t *testing.T) {
	modelEach(t, 250, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { runModel(t, seed, true) })
	})
}

func modelEach(t *testing.T, n int, run func(*testing.T, uint64)) {
	if boxRace {
		n /= 4
	}
	first := uint64(1)
	switch {
	case *modelSeed > 0:
		first, n = *modelSeed, 1
	case *modelSeeds > 0:
		n = *modelSeeds
	case testing.Short():
		n /= 10
	}
	failed := 0
	for seed := first; seed < first+uint64(n); seed++ {
		ok := t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					name, _, _ := strings.Cut(t.Name(), "/")
					t.Logf("again, perhaps more than once: go test -run '^%s$' -model.seed %d -count 10 .", name, seed)
				}
			}()
			run(t, seed)
		})
		if !ok {
			if failed++; failed == 5 {
				t.Fatal("five seeds are enough")
			}
		}
	}
}

// A modelConfig is what kind of run a seed makes.
type modelConfig struct {
	workers, ops, channels, boxes, accepted int
	groups, users                           int

	opts    wschannels.Options
	broker  *wschannels.MemoryBrokerOptions // of boxes that share one
	weights []int
}

func (c *modelConfig) history() wschannels.HistoryLimits {
	if c.broker != nil {
		return c.broker.History
	}
	return c.opts.History
}

// exactHistory reports whether a group's history depends on that group alone.
func (c *modelConfig) exactHistory() bool { return c.opts.HistoryTotalBytes == 0 }

func (c *modelConfig) roomyMailboxes() bool {
	return c.opts.MailboxBytes == 0 && c.opts.MaxMailboxes == 0
}

func newModelConfig(rnd *rand.Rand, fake bool) modelConfig {
	one := func(values ...int) int { return pick(rnd, values) }
	cfg := modelConfig{
		workers: one(1, 2, 3, 4), ops: one(30, 60, 90), channels: one(2, 4, 6), boxes: one(1, 1, 2),
		groups: one(1, 2, 3), users: one(2, 3), accepted: one(0, 0, 0, 1, 2),
		opts: wschannels.Options{
			History:      wschannels.HistoryLimits{Len: one(0, 3, 8), Bytes: one(0, 700, 2000)},
			MailboxBytes: one(0, 0, 0, 500, -1), MaxMailboxes: one(0, 0, 0, 1),
			MaxGroupsPerChannel: one(0, 0, 1, 2),
		},
	}
	if fake {
		cfg.opts.History.TTL = pick(rnd, []time.Duration{0, 0, 20*time.Second + time.Duration(rnd.IntN(1e9))})
		cfg.opts.MailboxTTL = pick(rnd, []time.Duration{0, 20*time.Second + time.Duration(rnd.IntN(1e9))})
	}
	if cfg.boxes == 1 {
		cfg.opts.HistoryTotalBytes = one(0, 0, 0, 1500)
		cfg.opts.MaxGroups = one(0, 0, 0, 0, 2)
		if cfg.accepted == 0 {
			cfg.opts.MaxChannels = one(0, 0, 0, 4)
		}
	} else {
		cfg.broker = &wschannels.MemoryBrokerOptions{History: cfg.opts.History}
	}
	for _, op := range modelOps {
		cfg.weights = append(cfg.weights, op.weight*one(0, 1, 1, 2, 4))
	}
	for i, op := range modelOps {
		switch op.name {
		case "open", "join", "groupSend":
			cfg.weights[i] = max(6, cfg.weights[i]) // else nothing happens
		}
	}
	return cfg
}

// A modelRun is one run and all that is known of it.
type modelRun struct {
	t    *testing.T
	seed uint64
	fake bool
	cfg  modelConfig
	rnd  *rand.Rand

	boxes         []*wschannels.ChannelBox
	groups, users []string
	clock         atomic.Int64
	numbers       atomic.Int64   // of messages, to know them again
	gone          []atomic.Int64 // OnDisconnect of the boxes
	workers       []*modelWorker
	helpers       sync.WaitGroup

	mu       sync.Mutex // guards what follows
	chans    []*modelChannel
	refused  []*modelChannel // by MaxChannels
	failures int
	stats    []wschannels.Stats // of the boxes, when all had closed
	statsAt  time.Time
}

func (run *modelRun) tick() int64 { return run.clock.Add(1) }

// failf reports a broken promise; the first ones are enough.
func (run *modelRun) failf(format string, args ...any) {
	run.t.Helper()
	run.mu.Lock()
	run.failures++
	n := run.failures
	run.mu.Unlock()
	if n <= 3 {
		run.t.Errorf("seed %d: "+format, append([]any{run.seed}, args...)...)
	}
}

// any returns one of the channels of the run, mostly one of the latest.
func (run *modelRun) any(rnd *rand.Rand) *modelChannel {
	run.mu.Lock()
	defer run.mu.Unlock()
	if len(run.chans) == 0 {
		return nil
	}
	from := 0
	if n := run.cfg.channels * run.cfg.workers * 2; n < len(run.chans) && rnd.IntN(10) > 0 {
		from = len(run.chans) - n
	}
	return run.chans[from+rnd.IntN(len(run.chans)-from)]
}

// opened notes what became of a new channel.
func (run *modelRun) opened(ch *modelChannel, err error) {
	run.mu.Lock()
	defer run.mu.Unlock()
	ch.id = len(run.chans) + len(run.refused)
	switch {
	case err == nil:
		run.chans = append(run.chans, ch)
	case errors.Is(err, wschannels.ErrTooManyChannels):
		run.refused = append(run.refused, ch)
	default:
		run.t.Errorf("seed %d: a channel was refused: %v", run.seed, err)
	}
}

func runModel(t *testing.T, seed uint64, fake bool) {
	rnd := rand.New(rand.NewPCG(seed, uint64(len(t.Name()))))
	run := &modelRun{t: t, seed: seed, fake: fake, rnd: rnd, cfg: newModelConfig(rnd, fake)}
	run.start()
	run.work()
	run.finish()
	if !t.Failed() {
		newModelCheck(run).all()
	}
}

func (run *modelRun) start() {
	for i := range run.cfg.groups {
		run.groups = append(run.groups, fmt.Sprint("g", i))
	}
	for i := range run.cfg.users {
		run.users = append(run.users, fmt.Sprint([]string{"calm", "wild"}[min(1, i*2/run.cfg.users)], i))
	}
	opts := run.cfg.opts
	if run.cfg.broker != nil {
		broker, err := wschannels.NewMemoryBroker(run.cfg.broker)
		if err != nil {
			run.t.Fatal(err)
		}
		opts.Broker = broker
	}
	run.gone = make([]atomic.Int64, run.cfg.boxes)
	for i := range run.cfg.boxes {
		opts.Events.OnDisconnect = func(*wschannels.Channel, error) { run.gone[i].Add(1) }
		b, err := wschannels.New(&opts)
		if err != nil {
			run.t.Fatal(err)
		}
		run.boxes = append(run.boxes, b)
	}
	for i := range run.cfg.workers {
		run.workers = append(run.workers, &modelWorker{run: run, id: i, rnd: rand.New(rand.NewPCG(run.seed, uint64(i)+1))})
	}
	for range run.cfg.accepted {
		run.accept(pick(run.rnd, run.workers))
	}
}

func calmUser(name string) bool { return strings.HasPrefix(name, "calm") }

// accept opens a channel of w's for a real client, over a real handshake.
func (run *modelRun) accept(w *modelWorker) {
	ch := &modelChannel{box: w.rnd.IntN(run.cfg.boxes), calm: true, accepted: true, connected: make(chan struct{})}
	fake := run.fake
	run.fake = false // no deadlines: when a real client gets something is not known exactly
	ch.opts = w.channelOptions(ch)
	run.fake = fake
	ch.opts.ID = uuid.Nil
	var err error
	ch.opened = w.span(func() {
		ch.client = wschannelstest.Dial(run.t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if ch.c, err = run.boxes[ch.box].Accept(rw, r, &ch.opts); err == nil {
				ch.created = ch.c.Created()
				ch.watch(run)
			}
			close(ch.connected)
		}), "/")
		<-ch.connected
	})
	ch.entered = err == nil
	run.opened(ch, err)
	if err == nil {
		w.own = append(w.own, ch)
		run.helpers.Go(ch.readClient)
		run.helpers.Go(func() { ch.receiveAll(context.Background()) })
	}
}

// work lets the workers work.
func (run *modelRun) work() {
	total := 0
	for _, n := range run.cfg.weights {
		total += n
	}
	var wg sync.WaitGroup
	for _, w := range run.workers {
		wg.Go(func() {
			w.open()
			for range run.cfg.ops {
				if run.fake {
					time.Sleep(1 + time.Duration(w.rnd.Int64N(int64(2*time.Second))))
				}
				n, op := w.rnd.IntN(total), 0
				for ; n >= run.cfg.weights[op]; op++ {
					n -= run.cfg.weights[op]
				}
				modelOps[op].do(w)
			}
		})
	}
	wg.Wait()
}

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
					time.Sleep(time.Nanosecond)
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
		time.Sleep(time.Nanosecond)
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
	n.modelSpan = w.span(func() { n.err = c.SetUser(user) })
	w.names = append(w.names, n)
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

// checkCaps looks whether the box is over a limit at this moment.
func (run *modelRun) checkCaps(b *wschannels.ChannelBox) {
	s, o := b.Stats(), run.cfg.opts
	for _, over := range []struct {
		what       string
		have, most int64
	}{
		{"channels", int64(s.Channels), int64(o.MaxChannels)},
		{"groups", int64(s.Groups), int64(o.MaxGroups)},
		{"mailboxes", int64(s.Mailboxes), int64(o.MaxMailboxes)},
		{"bytes of mailboxes", s.MailboxBytes, int64(max(0, o.MailboxBytes) * s.Mailboxes)},
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
