package wschannelstest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels/wschannelstest"
)

// greet stands for the code under test: it answers every name with a greeting.
func greet(ctx context.Context, c conn) error {
	for {
		typ, name, err := c.Read(ctx)
		if err != nil {
			c.Close(websocket.StatusNormalClosure, "")
			return err
		}
		if err := c.Write(ctx, typ, append([]byte("hello "), name...)); err != nil {
			return err
		}
	}
}

// A whole conversation can be prepared before the code under test runs, and
// looked at afterwards.
func ExampleConn() {
	conn := wschannelstest.NewConn()
	conn.Push(websocket.MessageText, []byte("ann"))
	conn.Push(websocket.MessageText, []byte("bob"))
	conn.Hangup(websocket.StatusGoingAway, "tab closed")

	ctx := context.Background()
	fmt.Println("ended by", websocket.CloseStatus(greet(ctx, conn)))
	for {
		_, data, err := conn.Next(ctx)
		if err != nil {
			break
		}
		fmt.Printf("%s\n", data)
	}
	_, _, ok := conn.Closed()
	fmt.Println("closed:", ok)
	// Output:
	// ended by StatusGoingAway
	// hello ann
	// hello bob
	// closed: true
}

// A stalled peer makes writes wait, here until the time for them is over.
func ExampleConn_Stall() {
	conn := wschannelstest.NewConn()
	conn.Stall()

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(conn.Write(ctx, websocket.MessageText, []byte("hello")))
	// Output: wschannelstest: write: context deadline exceeded
}
