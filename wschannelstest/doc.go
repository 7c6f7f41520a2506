// Package wschannelstest is what users of wschannels test with: connections
// that live in memory, need no port, and work inside a [testing/synctest]
// bubble, where timeouts, heartbeats and lifetimes take no real time.
//
// [Conn] is a fake connection for unit tests. The code under test gets it in
// place of a [*websocket.Conn]; the test plays the peer and decides what it
// sends, when it stops reading, and how it goes away:
//
//	synctest.Test(t, func(t *testing.T) {
//		conn := wschannelstest.NewConn()
//		c, err := wschannels.NewChannel(conn, nil)
//		if err != nil {
//			t.Fatal(err)
//		}
//		defer c.CloseNow()
//
//		conn.PushJSON("ping")
//		answer(t.Context(), c) // the code under test
//
//		_, data, err := conn.Next(t.Context())
//		if err != nil || string(data) != `"pong"` {
//			t.Fatalf("got %s, %v", data, err)
//		}
//	})
//
// [Dial] is for tests of a whole [http.Handler]: a real client and a real
// server, a real handshake and real frames, over a pipe in memory.
//
// In a bubble, make the Conn or call Dial inside it, and use it from there only.
package wschannelstest
