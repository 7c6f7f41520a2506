package wschannels_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// Promise 2: a stalled or hostile client never delays another: no socket call and no
// callback under a lock.
func TestPromise2AStalledOrHostileClientNeverDelaysAnother(t *testing.T) {
	t.Run("by no time at all", testHostileClientsCostNoTime)
	t.Run("over TCP", testStalledClientsOverTCP)
	t.Run("no socket call under a lock", testNoSocketCallUnderALock)
	t.Run("no callback under a lock", testNoCallbackUnderALock)
}

// promiseJoins is an OnConnect that puts every channel in the group "g".
func promiseJoins(b **wschannels.ChannelBox) func(context.Context, *wschannels.Channel) error {
	return func(ctx context.Context, c *wschannels.Channel) error {
		_, err := (*b).Join(ctx, c, "g", nil)
		return err
	}
}

// In a bubble time stands still until everybody waits. Over pipes without any buffer,
// with every sort of hostile peer in the group, it stands still for the whole test.
func testHostileClientsCostNoTime(t *testing.T) {
	for _, queue := range []int{0, 500} { // the stalled stay; they are closed on the way
		synctest.Test(t, func(t *testing.T) {
			var b *wschannels.ChannelBox
			b = wireBox(t, &wschannels.Options{
				Channel: wschannels.ChannelOptions{QueueBytes: queue},
				Events:  wschannels.Events{OnConnect: promiseJoins(&b)},
			})
			for _, tt := range promiseHostile {
				p := wirePipe(t, b)
				if tt.reads {
					p.frames()
				}
				go p.Write(tt.sends) // ends with the connection
			}
			var healthy []<-chan wireGot
			for range 3 {
				healthy = append(healthy, wirePipe(t, b).frames())
			}
			synctest.Wait()
			start := time.Now()
			for i := range 100 {
				want := fmt.Sprintf(`"%098d"`, i)
				boxSend(t, b, "g", strings.Trim(want, `"`), nil)
				for _, frames := range healthy {
					if f := <-frames; f.payload != want || !f.at.Equal(start) {
						t.Fatalf("message %d: a healthy client got %q after %v, want it at once", i, f.payload, f.at.Sub(start))
					}
				}
			}
			if s := b.Stats(); (queue == 0) != (s.QueuedMessages > 200) || (queue > 0) != (s.SlowClosed > 0) {
				t.Errorf("%+v: the hostile clients were not what they are to be", s)
			}
			wireShutdown(t, b)
		})
	}
}

// Over TCP, where whole workers could be held up: the stalled clients hold out to the
// end, with megabytes in the kernel's buffers, and every message reaches the healthy
// ones nevertheless, before the next one is sent.
func testStalledClientsOverTCP(t *testing.T) {
	const size = 256 << 10
	var b *wschannels.ChannelBox
	b = wireBox(t, &wschannels.Options{
		Channel: wschannels.ChannelOptions{
			PayloadType: wschannels.Bytes, Slow: wschannels.SlowDropNewest, WriteTimeout: time.Hour, Heartbeat: -1,
			CloseTimeout: 100 * time.Millisecond,
		},
		Events: wschannels.Events{OnConnect: promiseJoins(&b)},
	})
	srv := wireServe(t, b, b)
	for range 4 {
		promiseDial(t, srv) // reads nothing
	}
	healthy := []*wirePeer{promiseDial(t, srv), promiseDial(t, srv)}
	boxEventually(t, "all are in", func() bool { return len(b.Members("g")) == 6 })
	message := make([]byte, size)
	for i := 0; i < 30 || i < 1000 && b.Stats().Dropped < 20; i++ { // it takes what buffers take
		message[0] = byte(i)
		boxSend(t, b, "g", message, nil)
		for _, p := range healthy {
			if op, data, err := p.next(); err != nil || op != wireBinary || !bytes.Equal(data, message) {
				t.Fatalf("message %d: a healthy client got opcode %d, %d bytes, %v", i, op, len(data), err)
			}
		}
	}
	if s := b.Stats(); s.Dropped == 0 || s.QueuedMessages == 0 || s.Disconnected != 0 {
		t.Errorf("%+v: nobody was stalled", s)
	}
}

// Each call on a connection hangs, until everybody else has done their business.
func testNoSocketCallUnderALock(t *testing.T) {
	b := boxOf(t, nil)
	for call, provoke := range map[string]func(*wschannels.Channel){
		"Read":  func(c *wschannels.Channel) { go c.Receive(t.Context()) },
		"Write": func(c *wschannels.Channel) { boxSend(t, b, "g", "x", nil) },
		"Ping":  func(c *wschannels.Channel) { go c.Receive(t.Context()) }, // heartbeats are for who reads
		"Close": func(c *wschannels.Channel) { go c.Close(websocket.StatusNormalClosure, "") },
	} {
		t.Run(call, func(t *testing.T) {
			conn := promiseStuck{wschannelstest.NewConn(), call, make(chan struct{}, 100)}
			conn.Stall()
			c, err := wschannels.NewChannel(conn, &wschannels.ChannelOptions{
				PayloadType: wschannels.Text, Slow: wschannels.SlowDropOldest, QueueBytes: 100, WriteTimeout: time.Hour,
				CloseTimeout: time.Hour, Heartbeat: time.Millisecond, HeartbeatTimeout: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
			if err := b.Add(c); err != nil {
				t.Fatal(err)
			}
			boxSetUser(t, c, "ann")
			boxJoin(t, b, c, "g", nil)
			provoke(c)
			promiseComes(t, conn.begun)
			promiseBusiness(t, b)
		})
	}
}

// promiseStuck is a fake that tells when a call of a method begins.
type promiseStuck struct {
	*wschannelstest.Conn
	method string
	begun  chan struct{}
}

func (s promiseStuck) begins(method string) {
	if method == s.method {
		select {
		case s.begun <- struct{}{}:
		default:
		}
	}
}

func (s promiseStuck) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	s.begins("Read")
	return s.Conn.Read(ctx)
}

func (s promiseStuck) Write(ctx context.Context, typ websocket.MessageType, p []byte) error {
	s.begins("Write")
	return s.Conn.Write(ctx, typ, p)
}

func (s promiseStuck) Ping(ctx context.Context) error {
	s.begins("Ping")
	return s.Conn.Ping(ctx)
}

func (s promiseStuck) Close(code websocket.StatusCode, reason string) error {
	s.begins("Close")
	return s.Conn.Close(code, reason)
}

// Each callback blocks, the first time, until everybody else has done their business.
func testNoCallbackUnderALock(t *testing.T) {
	type (
		Ctx     = context.Context
		Channel = wschannels.Channel
	)
	// Of a client that sends messages, good and bad, and a ping, and hangs up.
	for name, with := range map[string]func(o *wschannels.Options, block func()) (h wschannels.Handler, mw wschannels.Middleware){
		"middleware": func(_ *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			return nil, wschannels.Auth(func(Ctx, *Channel) error { block(); return nil })
		},
		"handler": func(_ *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			return func(Ctx, *Channel) error { block(); return nil }, nil
		},
		"OnConnect": func(o *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			o.Events.OnConnect = func(Ctx, *Channel) error { block(); return nil }
			return nil, nil
		},
		"OnMessage": func(o *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			o.Events.OnMessage = func(Ctx, *Channel, wschannels.Message) error { block(); return nil }
			return nil, nil
		},
		"OnError": func(o *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			o.Events.OnError = func(*Channel, error) { block() }
			return nil, nil
		},
		"OnDisconnect": func(o *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			o.Events.OnDisconnect = func(*Channel, error) { block() }
			return nil, nil
		},
		"OnPingReceived": func(o *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			o.Accept.OnPingReceived = func(Ctx, []byte) bool { block(); return true }
			return nil, nil
		},
		"Logger": func(o *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			o.Logger = slog.New(promiseLog{slog.DiscardHandler, block})
			return nil, nil
		},
		"Codec.Unmarshal": func(o *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			o.Channel.Codec = promiseCodec{block}
			return func(ctx Ctx, c *Channel) error { return c.ReceiveJSON(ctx, new(any)) }, nil
		},
		"Authenticator": func(o *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			o.Channel.Authenticator = func(Ctx, *Channel, string) error { block(); return nil }
			return func(ctx Ctx, c *Channel) error { return c.Authenticate(ctx, "token") }, nil
		},
		"RateLimitOptions.Key": func(_ *wschannels.Options, block func()) (wschannels.Handler, wschannels.Middleware) {
			return nil, chanLimiter(t, 1, time.Hour, &wschannels.RateLimitOptions{
				Key: func(*http.Request) string { block(); return "" },
			}).Middleware()
		},
	} {
		t.Run(name, func(t *testing.T) {
			block, blocked, release := promiseBlock()
			var o wschannels.Options
			h, mw := with(&o, block)
			b := boxOf(t, &o)
			defer release()
			p := wirePipe(t, b.Handler(h, mw))
			go func() { // ends with the connection
				p.Write(append(wireString("1"), wireString("no JSON")...))
				p.Write(wireFrame(wireFin|wirePing, nil))
				p.Close()
			}()
			promiseComes(t, blocked)
			promiseBusiness(t, b)
		})
	}
	// Of a sender: how payloads encode themselves.
	for name, send := range map[string]func(ctx Ctx, b *wschannels.ChannelBox, c *Channel, payload any) error{
		"payload of GroupSend": func(ctx Ctx, b *wschannels.ChannelBox, _ *Channel, v any) error {
			_, err := b.GroupSend(ctx, "g", v, boxSave)
			return err
		},
		"payload of SendToUser": func(ctx Ctx, b *wschannels.ChannelBox, _ *Channel, v any) error {
			_, err := b.SendToUser(ctx, "ann", v)
			return err
		},
		"payload of Send": func(ctx Ctx, _ *wschannels.ChannelBox, c *Channel, v any) error { return c.Send(ctx, v) },
	} {
		t.Run(name, func(t *testing.T) {
			block, blocked, release := promiseBlock()
			b := boxOf(t, &wschannels.Options{Channel: wschannels.ChannelOptions{Codec: promiseCodec{func() {}}}})
			c, _ := boxMember(t, b, &wschannels.ChannelOptions{Codec: promiseCodec{func() {}}}, "g")
			boxSetUser(t, c, "ann")
			sent := make(chan error, 1)
			go func() { sent <- send(t.Context(), b, c, promisePayload{block}) }()
			promiseComes(t, blocked)
			promiseBusiness(t, b)
			release()
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
}

// promiseBlock returns a function whose first call closes blocked and waits for
// release.
func promiseBlock() (block func(), blocked chan struct{}, release func()) {
	var called, released atomic.Bool
	blocked, free := make(chan struct{}), make(chan struct{})
	return func() {
			if called.CompareAndSwap(false, true) {
				close(blocked)
				<-free
			}
		}, blocked, func() {
			if released.CompareAndSwap(false, true) {
				close(free)
			}
		}
}

func promiseComes(t *testing.T, blocked <-chan struct{}) {
	t.Helper()
	select {
	case <-blocked:
	case <-time.After(boxPatience):
		t.Fatal("it was not called")
	}
}

type promiseLog struct {
	slog.Handler
	block func()
}

func (promiseLog) Enabled(context.Context, slog.Level) bool    { return true }
func (l promiseLog) Handle(context.Context, slog.Record) error { l.block(); return nil }
func (l promiseLog) WithAttrs([]slog.Attr) slog.Handler        { return l }

type promiseCodec struct{ block func() }

func (promiseCodec) Marshal(v any) ([]byte, error) {
	if p, ok := v.(promisePayload); ok {
		p.block()
	}
	return []byte(`"encoded"`), nil
}

func (c promiseCodec) Unmarshal([]byte, any) error { c.block(); return nil }

type promisePayload struct{ block func() }

// promiseBusiness has one more channel in b do all that a channel does, and everything
// that there is to ask b, and fails if one call does not return.
func promiseBusiness(t *testing.T, b *wschannels.ChannelBox) {
	t.Helper()
	ctx := context.Background()
	conn := wschannelstest.NewConn()
	c, err := wschannels.NewChannel(conn, &boxText)
	if err != nil {
		t.Fatal(err)
	}
	gets := func(err error) error {
		if err == nil {
			_, _, err = conn.Next(ctx)
		}
		return err
	}
	group, err := b.Group("g")
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []struct {
		name string
		do   func() error
	}{
		{"Add", func() error { return b.Add(c) }},
		{"Join", func() error { _, err := b.Join(ctx, c, "g", nil); return err }},
		{"GroupSend", func() error { _, err := b.GroupSend(ctx, "g", "x", boxSave); return gets(err) }},
		{"Group.Send", func() error { _, err := group.Send(ctx, "x", nil); return gets(err) }},
		{"SendTo", func() error { return gets(b.SendTo(ctx, c.ID(), "x")) }},
		{"Send", func() error { return gets(c.Send(ctx, "x")) }},
		{"SetUser", func() error { return c.SetUser("ann") }},
		{"SendToUser", func() error { _, err := b.SendToUser(ctx, "ann", "x"); return gets(err) }},
		{"Receive", func() error {
			conn.Push(websocket.MessageText, []byte("x"))
			_, err := c.Receive(ctx)
			return err
		}},
		{"Flush", func() error { return c.Flush(ctx) }},
		{"Leave", func() error { _, err := b.Leave(ctx, c, "g"); return err }},
		{"Join with replay", func() error {
			_, err := b.Join(ctx, c, "g", &wschannels.JoinOptions{ReplayLast: 1})
			return gets(err)
		}},
		{"History", func() error { _, err := b.History(ctx, "g", nil); return err }},
		{"Position", func() error { _, err := b.Position(ctx, "g"); return err }},
		{"FlushHistory", func() error { return b.FlushHistory(ctx, "g") }},
		{"Groups, Members, Channels, Stats", func() error {
			if b.Groups()["g"] == 0 || len(b.Members("g")) == 0 || len(b.Channels()) == 0 || b.Stats().Channels == 0 {
				return errors.New("the channel is not seen")
			}
			return nil
		}},
		{"the other channels", func() error {
			for _, c := range b.Channels() {
				_, _, _, _, _ = c.Groups(), c.User(), c.Err(), c.LastActivity(), c.Value("x")
				c.Touch()
				c.Set("x", 1)
			}
			return nil
		}},
		{"Close", func() error { return c.Close(websocket.StatusNormalClosure, "") }},
	} {
		done := make(chan error, 1)
		go func() { done <- call.do() }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", call.name, err)
			}
		case <-time.After(boxPatience):
			t.Fatalf("%s does not return", call.name)
		}
	}
}
