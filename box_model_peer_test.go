package wschannels_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// A modelChannel is a channel of the run, its peer, and what both have seen.
type modelChannel struct {
	id, box  int
	calm     bool // its peer always reads, and nobody ends it by force
	accepted bool // by a handshake, from a real client
	opts     wschannels.ChannelOptions
	c        *wschannels.Channel
	conn     *modelConn      // nil if accepted
	client   *websocket.Conn // if accepted
	opened   modelSpan
	entered  bool
	served   bool // by Serve
	created  time.Time

	connected                chan struct{} // closed by OnConnect
	closed                   chan struct{} // closed when closedBy and closedAt are known
	closedBy                 int64         // had closed by this tick
	closedAt                 time.Time
	connects, gone, problems atomic.Int32
	goneAt                   time.Time // of OnDisconnect
	flushed                  bool      // all that was queued in the end has been written

	mu       sync.Mutex // guards what follows
	frames   []modelFrame
	inbound  []modelInbound
	pushed   []modelPush
	pings    []modelPing
	writes   []modelWrite
	stalls   []modelStall
	tries    []time.Time // of Authenticate, with the right token
	mute     bool
	answerIn time.Duration // how late the peer answers pings
}

// A modelFrame is what the peer got.
type modelFrame struct {
	typ  websocket.MessageType
	data []byte
	at   time.Time
}

// A modelInbound is what the channel's reader got.
type modelInbound struct {
	data string
	err  error
	at   time.Time
}

type modelPush struct {
	data string
	at   time.Time
}

type modelPing struct {
	at, answered time.Time // answered: zero if never
}

type modelWrite struct {
	from, to time.Time
	err      error
}

type modelStall struct {
	from, to time.Time // to: zero if it lasts
}

// modelConn is a fake that notes what reaches its peer, and answers pings as that peer
// does.
type modelConn struct {
	*wschannelstest.Conn
	ch *modelChannel
}

func (m *modelConn) Write(ctx context.Context, typ websocket.MessageType, p []byte) error {
	from := time.Now()
	err := m.Conn.Write(ctx, typ, p)
	m.ch.mu.Lock()
	defer m.ch.mu.Unlock()
	to := time.Now()
	m.ch.writes = append(m.ch.writes, modelWrite{from, to, err})
	if err == nil {
		m.ch.frames = append(m.ch.frames, modelFrame{typ, append([]byte(nil), p...), to})
	}
	return err
}

func (m *modelConn) Ping(ctx context.Context) error {
	ch := m.ch
	ch.mu.Lock()
	i := len(ch.pings)
	ch.pings = append(ch.pings, modelPing{at: time.Now()})
	mute, late := ch.mute, ch.answerIn
	ch.mu.Unlock()
	if err := m.Conn.Ping(ctx); err != nil {
		return err
	}
	switch {
	case mute:
		<-ctx.Done()
		return ctx.Err()
	case late > 0:
		select {
		case <-time.After(late):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.pings[i].answered = time.Now()
	return nil
}

// readClient notes what reaches a real client, until its connection ends.
func (ch *modelChannel) readClient() {
	for {
		typ, p, err := ch.client.Read(context.Background())
		if err != nil {
			return
		}
		ch.mu.Lock()
		ch.frames = append(ch.frames, modelFrame{typ, p, time.Now()})
		ch.mu.Unlock()
	}
}

// receive notes what the channel's reader gets.
func (ch *modelChannel) receive(m wschannels.Message, err error) {
	if errors.As(err, new(*wschannels.CloseError)) {
		return // the end
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.inbound = append(ch.inbound, modelInbound{m.Text(), err, time.Now()})
}

// push has the peer send data.
func (ch *modelChannel) push(data string) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	typ := websocket.MessageText
	if ch.opts.PayloadType == wschannels.Bytes {
		typ = websocket.MessageBinary
	}
	ch.pushed = append(ch.pushed, modelPush{data, time.Now()})
	ch.conn.Push(typ, []byte(data))
}

func (ch *modelChannel) stall(on bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	stalled := ch.stalled()
	switch {
	case on && !stalled:
		ch.conn.Stall()
		ch.stalls = append(ch.stalls, modelStall{from: time.Now()})
	case !on && stalled:
		ch.stalls[len(ch.stalls)-1].to = time.Now()
		ch.conn.Resume()
	}
}

// stalled reports whether the peer does not read. ch.mu is held.
func (ch *modelChannel) stalled() bool {
	return len(ch.stalls) > 0 && ch.stalls[len(ch.stalls)-1].to.IsZero()
}

// events are those of the channel.
func (ch *modelChannel) events(run *modelRun) wschannels.Events {
	return wschannels.Events{
		OnConnect: func(context.Context, *wschannels.Channel) error {
			if ch.connects.Add(1) == 1 {
				close(ch.connected)
			}
			return nil
		},
		OnMessage: func(_ context.Context, _ *wschannels.Channel, m wschannels.Message) error {
			ch.receive(m, nil)
			return nil
		},
		OnError: func(_ *wschannels.Channel, err error) {
			if errors.As(err, new(*wschannels.PayloadError)) || errors.Is(err, wschannels.ErrRateLimited) {
				ch.receive(wschannels.Message{}, err)
			}
		},
		OnDisconnect: func(c *wschannels.Channel, err error) {
			if ch.gone.Add(1) == 1 {
				ch.goneAt = time.Now()
			}
			if err == nil || err != c.Err() {
				ch.problems.Add(1)
			}
			if _, ok := run.boxes[ch.box].Channel(c.ID()); ok {
				ch.problems.Add(1) // it is still in the registry
			}
		},
	}
}

// watch notes when c closes.
func (ch *modelChannel) watch(run *modelRun) {
	ch.closed = make(chan struct{})
	context.AfterFunc(ch.c.Context(), func() {
		ch.closedAt, ch.closedBy = time.Now(), run.tick()
		close(ch.closed)
	})
}

// end is how ch has ended; nil if it has not.
func (ch *modelChannel) end() *wschannels.CloseError {
	var end *wschannels.CloseError
	errors.As(ch.c.Err(), &end)
	return end
}

// tooSlow reports whether a group send has closed ch.
func (ch *modelChannel) tooSlow() bool {
	end := ch.end()
	return end != nil && end.Reason == "too slow"
}
