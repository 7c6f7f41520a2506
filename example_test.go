package wschannels_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// must is for the examples, where nothing can fail.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// next is what the peer at conn gets next.
func next(conn *wschannelstest.Conn) string {
	_, p, err := conn.Next(context.Background())
	if err != nil {
		return err.Error()
	}
	return string(p)
}

func ExampleChannel() {
	conn := wschannelstest.NewConn() // in a server: box.Handler, or box.Accept
	c := must(wschannels.NewChannel(conn, &wschannels.ChannelOptions{TTL: time.Hour}))
	ctx := context.Background()

	conn.PushJSON(map[string]string{"name": "Ann"}) // the peer says who it is
	var hello struct{ Name string }
	if err := c.ReceiveJSON(ctx, &hello); err != nil {
		fmt.Println(err)
	}
	if err := c.Send(ctx, map[string]string{"welcome": hello.Name}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(next(conn))

	fmt.Println(c.Close(websocket.StatusNormalClosure, "bye"))
	fmt.Println(c.Err(), errors.Is(c.Err(), wschannels.ErrClosed))
	// Output:
	// {"welcome":"Ann"}
	// <nil>
	// wschannels: closed: 1000 "bye" true
}

// order validates itself, so that Receive refuses what makes no sense.
type order struct {
	Item string `json:"item"`
	N    int    `json:"n"`
}

func (o order) Validate() error {
	if o.N < 1 {
		return errors.New("n: must be at least 1")
	}
	return nil
}

func ExampleReceive() {
	conn := wschannelstest.NewConn()
	c := must(wschannels.NewChannel(conn, nil))
	defer c.CloseNow()
	ctx := context.Background()

	conn.PushJSON(order{Item: "tea", N: 2})
	o, err := wschannels.Receive[order](ctx, c)
	fmt.Println(o.Item, o.N, err)

	conn.PushJSON(order{Item: "tea"})
	_, err = wschannels.Receive[order](ctx, c)
	var bad *wschannels.PayloadError
	if errors.As(err, &bad) { // the channel is as good as before: answer
		_ = c.Send(ctx, bad)
	}
	fmt.Println(next(conn))
	// Output:
	// tea 2 <nil>
	// {"error":"Invalid message format","details":"n: must be at least 1"}
}

func ExampleGroup() {
	room := must(wschannels.NewGroup("room", nil))
	ann, ben := wschannelstest.NewConn(), wschannelstest.NewConn()
	a := must(wschannels.NewChannel(ann, nil))
	b := must(wschannels.NewChannel(ben, &wschannels.ChannelOptions{PayloadType: wschannels.Text}))
	defer b.CloseNow()
	must(room.Add(a))
	must(room.Add(b))

	res, err := room.Send(context.Background(), "hello", &wschannels.SendOptions{SaveHistory: true})
	fmt.Println(res.Seq, res.Queued, res.Saved, err)
	fmt.Println(next(ann), next(ben)) // as JSON, and as text

	_ = a.CloseNow() // leaves by itself
	fmt.Println(room.Len(), room.Remove(b), room.Remove(b))
	for _, m := range room.History(nil) {
		fmt.Println(m.Seq, m.Text())
	}
	// Output:
	// 1 2 true <nil>
	// "hello" hello
	// 1 GROUP_REMOVED GROUP_DOES_NOT_EXIST
	// 1 hello
}

func ExampleRegistry() {
	r := wschannels.NewRegistry()
	c := must(wschannels.NewChannel(wschannelstest.NewConn(), nil))
	fmt.Println(r.Add(c), r.Len())

	found, ok := r.Get(c.ID())
	fmt.Println(found == c, ok)

	_ = c.CloseNow() // leaves by itself
	fmt.Println(r.Len())
	// Output:
	// <nil> 1
	// true true
	// 0
}

func ExampleHistory() {
	h := must(wschannels.NewHistory(&wschannels.HistoryLimits{Len: 2}))
	for seq, text := range []string{"one", "two", "three"} {
		if err := h.Append(wschannels.Message{Seq: uint64(seq) + 1, Created: time.Now(), Data: []byte(text)}); err != nil {
			fmt.Println(err)
		}
	}
	for _, m := range h.Messages(nil) {
		fmt.Println(m.Seq, m.Text())
	}
	fmt.Println(len(h.Messages(&wschannels.HistoryOptions{After: &wschannels.Position{Seq: 2}})))
	// Output:
	// 2 two
	// 3 three
	// 1
}

// A unit test of a handler needs no network: put a channel on a fake connection in a
// box, and serve it.
func ExampleChannelBox_Serve() {
	box := must(wschannels.New(nil))
	echo := func(ctx context.Context, c *wschannels.Channel) error {
		for msg, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
			if err := c.Send(ctx, msg); err != nil {
				return err
			}
		}
		return nil
	}

	conn := wschannelstest.NewConn()
	c := must(wschannels.NewChannel(conn, nil))
	served := make(chan error)
	go func() { served <- box.Serve(context.Background(), c, echo) }()

	conn.PushJSON("anybody there?")
	fmt.Println(next(conn))
	conn.Hangup(websocket.StatusNormalClosure, "")
	fmt.Println(<-served)
	// Output:
	// "anybody there?"
	// <nil>
}

// A client that comes back with the last position it saw gets what it missed.
func ExampleChannelBox_Join() {
	box := must(wschannels.New(nil))
	ctx := context.Background()
	save := &wschannels.SendOptions{SaveHistory: true}
	must(box.GroupSend(ctx, "news", "first", save))
	seen := must(box.Position(ctx, "news"))
	must(box.GroupSend(ctx, "news", "second", save))
	must(box.GroupSend(ctx, "news", "third", save))

	conn := wschannelstest.NewConn()
	c := must(wschannels.NewChannel(conn, nil))
	defer c.CloseNow()
	if err := box.Add(c); err != nil {
		fmt.Println(err)
	}
	res := must(box.Join(ctx, c, "news", &wschannels.JoinOptions{ReplayAfter: &seen}))
	fmt.Println(res.Status, res.Replayed, res.Recovered)
	fmt.Println(next(conn), next(conn))
	// Output:
	// CHANNEL_ADDED 2 true
	// "second" "third"
}

// What is sent to a user who is away waits in a mailbox.
func ExampleChannelBox_SendToUser() {
	box := must(wschannels.New(nil))
	ctx := context.Background()
	res := must(box.SendToUser(ctx, "ann", "you have mail"))
	fmt.Println(res.Queued, res.Waiting)

	conn := wschannelstest.NewConn()
	c := must(wschannels.NewChannel(conn, nil))
	defer c.CloseNow()
	if err := box.Add(c); err != nil {
		fmt.Println(err)
	}
	if err := c.SetUser("ann"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(next(conn))
	// Output:
	// 0 1
	// "you have mail"
}

// Middleware runs before a channel is in the box, and can refuse it.
func ExampleAuth() {
	box := must(wschannels.New(nil))
	limiter := must(wschannels.NewRateLimiter(10, time.Minute, nil))
	auth := wschannels.Auth(func(ctx context.Context, c *wschannels.Channel) error {
		user, _, ok := c.Request().BasicAuth()
		if !ok {
			return errors.New("no credentials") // for the log; the peer sees 4001 "unauthorized"
		}
		return c.SetUser(user)
	})
	hello := func(ctx context.Context, c *wschannels.Channel) error {
		return c.Send(ctx, "hello "+c.User())
	}
	http.Handle("/ws", limiter.HTTP(box.Handler(hello, limiter.Middleware(), auth)))
}

// In event mode no handler is needed: the box itself is the endpoint.
func ExampleEvents() {
	var box *wschannels.ChannelBox
	box = must(wschannels.New(&wschannels.Options{Events: wschannels.Events{
		OnConnect: func(ctx context.Context, c *wschannels.Channel) error {
			_, err := box.Join(ctx, c, "lobby", nil)
			return err
		},
		OnMessage: func(ctx context.Context, c *wschannels.Channel, m wschannels.Message) error {
			_, err := box.GroupSend(ctx, "lobby", m, nil)
			return err
		},
		OnDisconnect: func(c *wschannels.Channel, err error) {
			fmt.Println("left", c.Groups(), err)
		},
	}}))
	conn := wschannelstest.NewConn()
	c := must(wschannels.NewChannel(conn, nil))
	served := make(chan error)
	go func() { served <- box.Serve(context.Background(), c, nil) }() // with a network: http.Handle("/ws", box)

	conn.PushJSON("hi")
	fmt.Println(next(conn))
	conn.Hangup(websocket.StatusGoingAway, "")
	fmt.Println(<-served)
	// Output:
	// "hi"
	// left [lobby] wschannels: closed: 1001 by the peer
	// <nil>
}

func ExampleChain() {
	logged := func(name string) wschannels.Middleware {
		return func(next wschannels.Handler) wschannels.Handler {
			return func(ctx context.Context, c *wschannels.Channel) error {
				fmt.Println(name, "in")
				defer fmt.Println(name, "out")
				return next(ctx, c)
			}
		}
	}
	both := wschannels.Chain(logged("first"), logged("second"))
	c := must(wschannels.NewChannel(wschannelstest.NewConn(), nil))
	defer c.CloseNow()
	_ = both(func(context.Context, *wschannels.Channel) error { return nil })(context.Background(), c)
	// Output:
	// first in
	// second in
	// second out
	// first out
}

func ExampleRateLimiter() {
	l := must(wschannels.NewRateLimiter(2, time.Minute, nil))
	for range 3 {
		ok, after := l.Allow("203.0.113.7")
		fmt.Println(ok, after.Round(time.Minute))
	}
	// Output:
	// true 0s
	// true 0s
	// false 1m0s
}
