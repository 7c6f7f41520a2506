package wschannels_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

func (w *modelWorker) open() {
	cfg := &w.run.cfg
	if len(w.own) > cfg.channels {
		w.close()
		return
	}
	ch := &modelChannel{box: w.rnd.IntN(cfg.boxes), calm: w.rnd.IntN(2) == 0, connected: make(chan struct{})}
	ch.opts = w.channelOptions(ch)
	ch.conn = &modelConn{Conn: wschannelstest.NewConn(), ch: ch}
	ch.created = time.Now()
	c, err := wschannels.NewChannel(ch.conn, &ch.opts)
	if err != nil {
		panic(err)
	}
	ch.c = c
	ch.watch(w.run)
	b := w.run.boxes[ch.box]
	mode := w.rnd.IntN(3)
	ch.served = mode > 0
	ch.opened = w.span(func() {
		if mode == 0 {
			err = b.Add(c)
			return
		}
		served := make(chan error, 1)
		var h wschannels.Handler
		if mode == 1 {
			h = func(ctx context.Context, c *wschannels.Channel) error {
				ch.receiveAll(ctx)
				return nil
			}
		}
		w.run.helpers.Go(func() { served <- b.Serve(context.Background(), c, h) })
		select {
		case <-ch.connected:
		case err = <-served:
		}
	})
	if mode == 0 {
		w.run.helpers.Go(func() { ch.receiveAll(context.Background()) })
	}
	if errors.As(err, new(*wschannels.CloseError)) {
		err = nil // it was in the box, and a CloseAll came before its handler
	}
	ch.entered = err == nil
	w.run.opened(ch, err)
	if err != nil {
		c.CloseNow()
		return
	}
	w.own = append(w.own, ch)
}

func (ch *modelChannel) receiveAll(ctx context.Context) {
	for m, err := range ch.c.Messages(ctx) {
		ch.receive(m, err)
	}
}

func (w *modelWorker) channelOptions(ch *modelChannel) wschannels.ChannelOptions {
	o := wschannels.ChannelOptions{
		PayloadType: wschannels.PayloadType(w.rnd.IntN(3)), Heartbeat: -1, CloseTimeout: boxPatience, WriteTimeout: 2 * boxPatience,
		Events: ch.events(w.run),
	}
	for i := range o.ID {
		o.ID[i] = byte(w.rnd.IntN(256))
	}
	o.Envelope = o.PayloadType != wschannels.Bytes && w.rnd.IntN(3) == 0
	if !ch.calm {
		o.QueueBytes = 30 + w.rnd.IntN(700)
		o.Slow = wschannels.SlowPolicy(w.rnd.IntN(3))
		o.CloseTimeout = time.Millisecond
	}
	if w.run.fake {
		w.timeOptions(ch, &o)
	}
	return o
}

// joinOptions asks for a replay, perhaps of what a client could know.
func (w *modelWorker) joinOptions(group string) *wschannels.JoinOptions {
	switch w.rnd.IntN(4) {
	case 0:
		return &wschannels.JoinOptions{ReplayLast: 1 + w.rnd.IntN(8)}
	case 1:
		return nil
	}
	at, err := w.run.boxes[0].Position(context.Background(), group)
	if err != nil {
		return nil
	}
	if n := w.rnd.IntN(10); n == 0 {
		at.Epoch = "another"
	} else if n == 1 {
		at.Seq += 1 + w.rnd.Uint64N(2) // from the future, or not by then
	} else {
		at.Seq -= w.rnd.Uint64N(min(at.Seq, 12) + 1)
	}
	return &wschannels.JoinOptions{ReplayAfter: &at}
}

func (w *modelWorker) join() {
	ch := w.mine()
	if ch == nil {
		w.open()
		return
	}
	j := &modelJoin{box: ch.box, ch: ch, group: pick(w.rnd, w.run.groups)}
	j.opts = w.joinOptions(j.group)
	ctx, cancel := w.brief(ch)
	defer cancel()
	j.modelSpan = w.span(func() { j.res, j.err = w.run.boxes[ch.box].Join(ctx, ch.c, j.group, j.opts) })
	w.joins = append(w.joins, j)
}

// slowJoin joins a channel whose peer reads only when messages have come meanwhile: they
// wait behind those that are replayed.
func (w *modelWorker) slowJoin() {
	ch := w.mine()
	if ch == nil || ch.calm {
		return
	}
	j := &modelJoin{box: ch.box, ch: ch, group: pick(w.rnd, w.run.groups), opts: &wschannels.JoinOptions{ReplayLast: 8}}
	b := w.run.boxes[ch.box]
	ch.stall(true)
	wait := 10 * time.Millisecond
	if w.run.fake {
		wait = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		j.modelSpan = w.span(func() { j.res, j.err = b.Join(ctx, ch.c, j.group, j.opts) })
	}()
	for range 1 + w.rnd.IntN(4) {
		if w.run.fake {
			time.Sleep(1 + time.Duration(w.rnd.Int64N(int64(time.Second))))
		} else {
			runtime.Gosched()
		}
		w.sendTo(j.group)
	}
	ch.stall(false)
	<-joined
	w.joins = append(w.joins, j)
}

// contend joins a channel while others send to the group and make it leave.
func (w *modelWorker) contend() {
	ch := w.mine()
	if ch == nil {
		return
	}
	group := pick(w.rnd, w.run.groups)
	b := w.run.boxes[ch.box]
	for range 8 {
		other := &modelWorker{run: w.run, id: w.id, rnd: rand.New(rand.NewPCG(w.rnd.Uint64(), 0))}
		l := &modelLeave{box: ch.box, ch: ch, group: group}
		j := &modelJoin{box: ch.box, ch: ch, group: group}
		var all sync.WaitGroup
		all.Go(func() { l.modelSpan = w.span(func() { l.status, l.err = b.Leave(context.Background(), ch.c, group) }) })
		all.Go(func() { other.sendTo(group) })
		ctx, cancel := w.brief(ch) // what comes meanwhile is queued before Join returns
		j.modelSpan = w.span(func() { j.res, j.err = b.Join(ctx, ch.c, group, nil) })
		cancel()
		all.Wait()
		w.leaves, w.joins, w.sends = append(w.leaves, l), append(w.joins, j), append(w.sends, other.sends...)
	}
}

func (w *modelWorker) leave() {
	ch := w.run.any(w.rnd)
	if w.rnd.IntN(2) == 0 {
		ch = w.mine()
	}
	if ch == nil {
		return
	}
	l := &modelLeave{box: ch.box, ch: ch, group: pick(w.rnd, w.run.groups)}
	l.modelSpan = w.span(func() { l.status, l.err = w.run.boxes[ch.box].Leave(context.Background(), ch.c, l.group) })
	w.leaves = append(w.leaves, l)
}
