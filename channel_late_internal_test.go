package wschannels

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels/wschannelstest"
)

// When this process did not run for a while, a laptop's lid was closed say, the peer
// gets a second ping before it is called stale; but only one.
func TestLateHeartbeatAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := wschannelstest.NewConn()
		conn.Stall()
		c, err := NewChannel(conn, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		time.Sleep(30 * time.Second) // the first ping is out
		synctest.Wait()
		late := c.created.Add(time.Hour)
		next, stale := c.checkHeartbeat(late)
		if stale || !next.Equal(late.Add(20*time.Second)) {
			t.Errorf("an hour late: stale %v, next look %v later; want a second chance of HeartbeatTimeout", stale, next.Sub(late))
		}
		if _, stale := c.checkHeartbeat(next.Add(time.Hour)); !stale {
			t.Error("the second chance went by, too, and the peer is not stale")
		}
	})
}
