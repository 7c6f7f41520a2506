package natsbroker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A line carries one question at a time, and its one answer. It is kept for the next: that is
// less work than the client's requests are, for the client, which hands the answer to who
// waits for it, and for the server, which knows the way back.
type line struct {
	inbox   *nats.Subscription
	answers chan *nats.Msg
	timer   *time.Timer
	replies [8]string // what questions are to be answered to, in turn: none takes another's answer
	turn    int
}

// lines are those that nobody uses.
type lines struct {
	mu   sync.Mutex // guards what follows
	idle []*line
	over bool // none is kept any more
}

// maxLines is how many are kept.
const maxLines = 256

var errSlow = errors.New("no answer in time")

func (ls *lines) get(nc *nats.Conn) (*line, error) {
	ls.mu.Lock()
	if n := len(ls.idle); n > 0 {
		l := ls.idle[n-1]
		ls.idle = ls.idle[:n-1]
		ls.mu.Unlock()
		return l, nil
	}
	ls.mu.Unlock()
	inbox := nc.NewInbox()
	l := &line{answers: make(chan *nats.Msg, len(line{}.replies)), timer: time.NewTimer(time.Hour)}
	for i := range l.replies {
		l.replies[i] = inbox + "." + string('0'+rune(i))
	}
	var err error
	l.inbox, err = nc.ChanSubscribe(inbox+".*", l.answers)
	return l, err
}

func (ls *lines) put(l *line) {
	ls.mu.Lock()
	keep := !ls.over && len(ls.idle) < maxLines
	if keep {
		ls.idle = append(ls.idle, l)
	}
	ls.mu.Unlock()
	if !keep {
		l.hangUp()
	}
}

func (l *line) hangUp() {
	l.timer.Stop()
	_ = l.inbox.Unsubscribe() // an error says that nc is closed
}

// end ends them all, and those that are in use with their answer.
func (ls *lines) end() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.idle {
		l.hangUp()
	}
	ls.idle, ls.over = nil, true
}

// ask sends m, and returns the answer, or nats.ErrNoResponders. It waits no longer than
// patience, and as c lasts.
func (b *Broker) ask(c *call, m *nats.Msg, patience time.Duration) (*nats.Msg, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	l, err := b.lines.get(b.nc)
	if err != nil {
		return nil, err
	}
	l.turn = (l.turn + 1) % len(l.replies)
	m.Reply = l.replies[l.turn]
	l.timer.Reset(min(patience, time.Until(c.ends)))
	if err := b.nc.PublishMsg(m); err != nil {
		l.hangUp()
		return nil, err
	}
	answer, err := l.wait(c)
	if err != nil {
		l.hangUp() // an answer may still come
		return nil, err
	}
	l.timer.Stop()
	b.lines.put(l)
	if len(answer.Data) == 0 && answer.Header.Get("Status") == "503" {
		return nil, nats.ErrNoResponders
	}
	return answer, nil
}

func (l *line) wait(c *call) (*nats.Msg, error) {
	for {
		select {
		case answer := <-l.answers:
			if answer.Subject == l.replies[l.turn] {
				return answer, nil
			}
		case <-l.timer.C:
			return nil, errSlow
		case <-c.caller.Done():
			return nil, context.Cause(c.caller)
		case <-c.up.Done():
			return nil, context.Cause(c.up)
		}
	}
}
