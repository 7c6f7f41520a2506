package wschannels_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

// A modelSpan is when an operation was called and when it returned, by the run's own
// clock, of which each tick is one event, and by the time.
type modelSpan struct {
	call, ret int64
	from, to  time.Time
}

// A modelSend is a message to a group, a user or one channel.
type modelSend struct {
	modelSpan
	modelPayload
	worker, box int
	group, user string
	ch          *modelChannel
	save        bool
	except      []*modelChannel
	res         wschannels.SendResult
	err         error
}

type modelJoin struct {
	modelSpan
	box   int
	ch    *modelChannel
	group string
	opts  *wschannels.JoinOptions
	res   wschannels.JoinResult
	err   error
}

// A modelLeave ends memberships: one, or with a nil ch all of a box.
type modelLeave struct {
	modelSpan
	box    int
	ch     *modelChannel
	group  string
	status wschannels.RemoveStatus
	err    error
}

type modelFlush struct {
	modelSpan
	group string // "": all
}

// A modelLook is what somebody saw of a group.
type modelLook struct {
	modelSpan
	box      int
	group    string
	position *wschannels.Position
	history  []wschannels.Message // if not nil: all of it
	members  []*wschannels.Channel
	listed   bool // members were asked for
}

// A modelClose is what ends a channel, or with a nil ch all of a box.
type modelClose struct {
	modelSpan
	box    int
	ch     *modelChannel
	how    string
	code   websocket.StatusCode
	closed int
}

type modelName struct {
	modelSpan
	ch   *modelChannel
	user string
	err  error
}

type modelTouch struct {
	modelSpan
	ch *modelChannel
}

// A modelWorker does operations, one after the other, and writes down what came of them.
type modelWorker struct {
	run *modelRun
	id  int
	rnd *rand.Rand
	own []*modelChannel // it alone joins them to groups and names their users

	sends   []*modelSend
	joins   []*modelJoin
	leaves  []*modelLeave
	flushes []*modelFlush
	looks   []*modelLook
	closes  []*modelClose
	names   []*modelName
	touches []*modelTouch
}

// modelOps is what workers do, and how often.
var modelOps = []struct {
	name   string
	weight int
	do     func(*modelWorker)
}{
	{"open", 6, (*modelWorker).open},
	{"join", 14, (*modelWorker).join},
	{"slowJoin", 3, (*modelWorker).slowJoin},
	{"contend", 2, (*modelWorker).contend},
	{"leave", 6, (*modelWorker).leave},
	{"groupSend", 24, (*modelWorker).groupSend},
	{"send", 8, (*modelWorker).send},
	{"sendToUser", 8, (*modelWorker).sendToUser},
	{"setUser", 4, (*modelWorker).setUser},
	{"close", 3, (*modelWorker).close},
	{"stall", 4, (*modelWorker).stall},
	{"push", 4, (*modelWorker).push},
	{"look", 6, (*modelWorker).look},
	{"touch", 2, (*modelWorker).touch},
	{"flushHistory", 1, (*modelWorker).flushHistory},
	{"flushGroups", 1, (*modelWorker).flushGroups},
	{"closeAll", 1, (*modelWorker).closeAll},
}

// span notes when op is called and when it has returned.
func (w *modelWorker) span(op func()) (s modelSpan) {
	s.from, s.call = time.Now(), w.run.tick()
	op()
	s.ret, s.to = w.run.tick(), time.Now()
	return s
}

func pick[T any](rnd *rand.Rand, from []T) T { return from[rnd.IntN(len(from))] }

// mine returns an open channel of the worker's.
func (w *modelWorker) mine() *modelChannel {
	for range 4 {
		if len(w.own) == 0 {
			return nil
		}
		i := w.rnd.IntN(len(w.own))
		if ch := w.own[i]; ch.c.Err() == nil || w.rnd.IntN(8) == 0 { // closed ones, too, sometimes
			return ch
		}
		w.own = append(w.own[:i], w.own[i+1:]...)
	}
	return nil
}

// brief is for calls that may wait for a peer that does not read.
func (w *modelWorker) brief(ch *modelChannel) (context.Context, context.CancelFunc) {
	if ch.calm {
		return context.WithCancel(context.Background())
	}
	if w.run.fake {
		return context.WithTimeout(context.Background(), 1+time.Duration(w.rnd.Int64N(int64(5*time.Second))))
	}
	return context.WithTimeout(context.Background(), time.Millisecond)
}

func (w *modelWorker) payload() modelPayload {
	form := modelForm(w.rnd.IntN(int(modelForms)))
	if w.rnd.IntN(25) == 0 {
		form = modelBroken + modelForm(w.rnd.IntN(2))
	}
	padding := w.rnd.IntN(20)
	switch w.rnd.IntN(10) {
	case 0:
		padding = 100 + w.rnd.IntN(300)
	case 1:
		padding = 800
	}
	return newModelPayload(int(w.run.numbers.Add(1)), form, padding)
}

func (w *modelWorker) groupSend() {
	for range 1 + w.rnd.IntN(3) {
		w.sendTo(pick(w.rnd, w.run.groups))
	}
}

func (w *modelWorker) sendTo(group string) {
	s := &modelSend{
		modelPayload: w.payload(), worker: w.id, box: w.rnd.IntN(w.run.cfg.boxes), group: group, save: w.rnd.IntN(2) == 0,
	}
	var ids []uuid.UUID
	if n := w.rnd.IntN(20); n < 4 {
		for range 1 + n*n {
			if ch := w.run.any(w.rnd); ch != nil {
				s.except, ids = append(s.except, ch), append(ids, ch.c.ID())
			}
		}
	}
	value := s.value()
	s.modelSpan = w.span(func() {
		s.res, s.err = w.run.boxes[s.box].GroupSend(context.Background(), s.group, value, &wschannels.SendOptions{SaveHistory: s.save, Except: ids})
	})
	w.sends = append(w.sends, s)
}

func (w *modelWorker) send() {
	ch := w.run.any(w.rnd)
	if ch == nil {
		return
	}
	for range 1 + w.rnd.IntN(4) {
		s := &modelSend{modelPayload: w.payload(), worker: w.id, box: ch.box, ch: ch}
		value := s.value()
		ctx, cancel := w.brief(ch)
		to := w.rnd.IntN(2) == 0
		s.modelSpan = w.span(func() {
			if to {
				s.err = w.run.boxes[ch.box].SendTo(ctx, ch.c.ID(), value)
			} else {
				s.err = ch.c.Send(ctx, value)
			}
		})
		cancel()
		w.sends = append(w.sends, s)
	}
}

func (w *modelWorker) sendToUser() {
	s := &modelSend{modelPayload: w.payload(), worker: w.id, box: w.rnd.IntN(w.run.cfg.boxes), user: pick(w.rnd, w.run.users)}
	value := s.value()
	s.modelSpan = w.span(func() { s.res, s.err = w.run.boxes[s.box].SendToUser(context.Background(), s.user, value) })
	w.sends = append(w.sends, s)
}

func (w *modelWorker) setUser() {
	ch := w.mine()
	if ch == nil {
		return
	}
	if ch.opts.Authenticator != nil {
		return // the channel is nobody's before it has authenticated
	}
	n := &modelName{ch: ch}
	if w.rnd.IntN(6) > 0 {
		n.user = pick(w.rnd, w.run.users)
	}
	if !ch.calm && calmUser(n.user) {
		n.user = w.run.users[len(w.run.users)-1]
	}
	n.modelSpan = w.span(func() { n.err = ch.c.SetUser(n.user) })
	w.names = append(w.names, n)
}

// close ends a channel in one of the ways that it may end.
func (w *modelWorker) close() {
	ch := w.run.any(w.rnd)
	if ch == nil {
		return
	}
	c := &modelClose{box: ch.box, ch: ch, how: "Close", code: 3000 + websocket.StatusCode(w.rnd.IntN(900))}
	if !ch.calm && !ch.accepted {
		c.how = pick(w.rnd, []string{"Close", "CloseNow", "Hangup", "lost", "FailWrites", "FailReads"})
	}
	c.modelSpan = w.span(func() {
		switch c.how {
		case "Close":
			ch.c.Close(c.code, "")
		case "CloseNow":
			c.code = websocket.StatusAbnormalClosure
			ch.c.CloseNow()
		case "Hangup":
			ch.conn.Hangup(c.code, "")
		case "lost":
			c.code = websocket.StatusAbnormalClosure
			ch.conn.Hangup(websocket.StatusAbnormalClosure, "")
		case "FailWrites":
			c.code = websocket.StatusAbnormalClosure
			ch.conn.FailWrites(errModel)
		case "FailReads":
			c.code = websocket.StatusAbnormalClosure
			ch.conn.FailReads(errModel)
		}
	})
	w.closes = append(w.closes, c)
}

func (w *modelWorker) stall() {
	if ch := w.run.any(w.rnd); ch != nil && !ch.calm {
		ch.stall(w.rnd.IntN(2) == 0)
	}
}

func (w *modelWorker) push() {
	ch := w.run.any(w.rnd)
	if ch == nil || ch.accepted {
		return
	}
	for range 1 + w.rnd.IntN(5) {
		data := fmt.Sprintf(`{"n":%d}`, w.run.numbers.Add(1))
		if ch.opts.PayloadType == wschannels.JSON && w.rnd.IntN(6) == 0 {
			data = data[1:]
		}
		ch.push(data)
		if window := ch.opts.MessageWindow; w.run.fake && window > 0 {
			time.Sleep(window / 4 * time.Duration(w.rnd.IntN(4)))
		}
	}
}

func (w *modelWorker) look() {
	l := &modelLook{box: w.rnd.IntN(w.run.cfg.boxes), group: pick(w.rnd, w.run.groups)}
	w.lookAt(l, w.rnd.IntN(4))
}

func (w *modelWorker) lookAt(l *modelLook, what int) {
	b := w.run.boxes[l.box]
	var err error
	l.modelSpan = w.span(func() {
		switch what {
		case 0:
			var at wschannels.Position
			at, err = b.Position(context.Background(), l.group)
			l.position = &at
		case 1:
			l.history, err = b.History(context.Background(), l.group, nil)
			l.history = append([]wschannels.Message{}, l.history...) // not nil
		case 2:
			l.listed, l.members = true, b.Members(l.group)
		default:
			w.run.checkCaps(b)
		}
	})
	if err != nil {
		w.run.failf("looking at %q: %v", l.group, err)
	}
	w.looks = append(w.looks, l)
}

func (w *modelWorker) touch() {
	if ch := w.mine(); ch != nil {
		t := &modelTouch{ch: ch}
		t.modelSpan = w.span(ch.c.Touch)
		w.touches = append(w.touches, t)
		w.authenticate(ch)
	}
}

func (w *modelWorker) flushHistory() {
	f := &modelFlush{}
	var names []string
	if w.rnd.IntN(2) == 0 {
		f.group = pick(w.rnd, w.run.groups)
		names = append(names, f.group)
	}
	f.modelSpan = w.span(func() {
		if err := w.run.boxes[0].FlushHistory(context.Background(), names...); err != nil {
			w.run.failf("FlushHistory: %v", err)
		}
	})
	w.flushes = append(w.flushes, f)
}

func (w *modelWorker) flushGroups() {
	if w.rnd.IntN(3) > 0 {
		return
	}
	l := &modelLeave{box: w.rnd.IntN(w.run.cfg.boxes)}
	l.modelSpan = w.span(func() { l.err = w.run.boxes[l.box].FlushGroups(context.Background()) })
	w.leaves = append(w.leaves, l)
}

func (w *modelWorker) closeAll() {
	if w.rnd.IntN(3) == 0 {
		w.closeBox(w.rnd.IntN(w.run.cfg.boxes))
	}
}

func (w *modelWorker) closeBox(box int) {
	c := &modelClose{box: box, how: "CloseAll", code: websocket.StatusCode(4100 + w.run.numbers.Add(1)%800)}
	c.modelSpan = w.span(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*boxPatience)
		defer cancel()
		var err error
		if c.closed, err = w.run.boxes[box].CloseAll(ctx, c.code, ""); err != nil {
			w.run.failf("CloseAll: %v", err)
		}
	})
	w.closes = append(w.closes, c)
}
