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
	modelEach(t, 500, func(t *testing.T, seed uint64) {
		before := runtime.NumGoroutine()
		t.Cleanup(func() { boxGoroutines(t, before) }) // after all others
		runModel(t, seed, false)
	})
}

// The fake clock: nothing that the operations do takes time, so the model knows to the
// nanosecond what each of them found, and when and how each channel must end.
func TestModelFakeClock(t *testing.T) {
	modelEach(t, 500, func(t *testing.T, seed uint64) {
		synctest.Test(t, func(t *testing.T) { runModel(t, seed, true) })
	})
}

func modelEach(t *testing.T, n int, run func(*testing.T, uint64)) {
	if boxRace {
		n /= 8
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

// engineMailboxes is how many there may be beside those of each box.
func (c *modelConfig) engineMailboxes() int {
	if c.broker == nil || c.opts.MaxMailboxes == 0 {
		return 0
	}
	return c.broker.MaxMailboxes
}

// mailboxBytes is what n mailboxes may hold; 0: not known.
func (c *modelConfig) mailboxBytes(n int) int64 {
	if c.broker != nil {
		return 0 // some wait behind what is on its way, as many as fit in a queue
	}
	return int64(max(0, c.opts.MailboxBytes) * n)
}

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
		cfg.broker = &wschannels.MemoryBrokerOptions{History: cfg.opts.History, MaxMailboxes: cfg.opts.MaxMailboxes}
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
