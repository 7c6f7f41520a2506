package wschannels_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	. "github.com/wschannels/wschannels"
)

// The wall clock may jump, and no duration does: a time.Time knows the monotonic clock, and
// nothing in the package makes one that does not, or takes that knowledge away.
func TestNothingForgetsTheMonotonicClock(t *testing.T) {
	forbidden := map[string]string{}
	for _, method := range []string{
		"UTC", "Local", "In", "Round", "Truncate", "AddDate", "Unix", "UnixMilli", "UnixMicro", "UnixNano",
		"MarshalBinary", "MarshalJSON", "MarshalText", "GobEncode",
	} {
		forbidden["."+method] = "forgets the monotonic clock, or its time does"
	}
	for _, function := range []string{"Date", "Parse", "ParseInLocation", "Unix", "UnixMilli", "UnixMicro"} {
		forbidden["time."+function] = "makes a time that does not know the monotonic clock"
	}
	ours := map[string]bool{ // of the same name, and about no time
		"PayloadError.MarshalJSON": true, "PayloadType.MarshalText": true, "v.MarshalBinary": true,
	}
	files := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls, nows := 0, 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || name == "publication.go" { // other nodes' times know no clock of ours
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			calls++
			name := "." + sel.Sel.Name
			if x, ok := sel.X.(*ast.Ident); ok {
				if name = x.Name + name; ours[name] {
					return true
				}
			}
			if name == "time.Now" {
				nows++
			}
			for bad, why := range forbidden {
				if name == bad || strings.HasPrefix(bad, ".") && strings.HasSuffix(name, bad) {
					t.Errorf("%s: %s: %s", files.Position(call.Pos()), name, why)
				}
			}
			return true
		})
	}
	if calls < 500 || nows < 10 {
		t.Errorf("%d calls, %d of time.Now: this did not look at the package", calls, nows)
	}
}

// Messages from nodes whose clocks are a day fast, a day slow, or without a monotonic
// reading, as all are that came over a network. Order, bounds and the channels' own times
// are none of their clocks' business; only how long the history keeps them is.
func TestClocksOfOtherNodes(t *testing.T) {
	const day, ttl = 24 * time.Hour, time.Hour
	for _, held := range []int{0, 5} { // limit of the history's length; 0: none
		synctest.Test(t, func(t *testing.T) {
			broker, err := NewMemoryBroker(&MemoryBrokerOptions{History: HistoryLimits{TTL: ttl, Bytes: 2000, Len: held}})
			if err != nil {
				t.Fatal(err)
			}
			opts := boxText
			opts.TTL, opts.Heartbeat = 2*ttl, -1
			b := boxOf(t, &Options{Broker: broker, Channel: opts, History: HistoryLimits{TTL: ttl}})
			c, conn := boxMember(t, b, &opts, "g")
			late, lateConn := boxMember(t, b, &opts)
			var want []string
			for i, skew := range []time.Duration{0, -day, day, 0, -day, -2 * day, day / 2, 0} {
				text := fmt.Sprint(i)
				want = append(want, text)
				at := time.Now().Add(skew).Round(0)
				m := Message{ID: uuid.New(), Group: "g", Created: at, Type: Text, Data: []byte(text)}
				if err := broker.Publish(t.Context(), &Publication{Message: m, Save: true}); err != nil {
					t.Fatal(err)
				}
				if s := b.Stats(); s.HistoryBytes > 2000 || held > 0 && len(boxHistory(t, b, "g", nil)) > held {
					t.Errorf("after %d messages: %+v", i+1, s)
				}
			}
			boxWant(t, "the member", boxFlushed(t, c, conn), want)
			if at := c.LastActivity(); !at.Equal(time.Now()) {
				t.Errorf("the last activity was %v ago, want now", time.Since(at))
			}
			if expires, _ := c.ExpiresAt(); !expires.Equal(time.Now().Add(2 * ttl)) {
				t.Errorf("the member expires in %v, want 2 h", time.Until(expires))
			}
			saved := boxHistory(t, b, "g", nil)
			if len(saved) == 0 || saved[len(saved)-1] != "7" {
				t.Errorf("the history holds %q, want the newest at least", saved)
			}
			boxJoin(t, b, late, "g", &JoinOptions{ReplayLast: 100})
			boxWant(t, "who came later", boxFlushed(t, late, lateConn), saved)

			time.Sleep(day + ttl)
			synctest.Wait()
			if n := b.Stats().HistoryBytes; n != 0 {
				t.Errorf("%d bytes of history are left when all of it has expired", n)
			}
			for _, c := range []*Channel{c, late} {
				if code := boxEnd(t, c); code != StatusExpired {
					t.Errorf("a member ended with %d, want %d after its own 2 h", code, StatusExpired)
				}
			}
			// The group goes on.
			again, conn := boxMember(t, b, &opts, "g")
			if res := boxSend(t, b, "g", "on", boxSave); res.Seq != 9 || !res.Saved {
				t.Errorf("the next send: %+v", res)
			}
			boxWant(t, "a new member", boxFlushed(t, again, conn), []string{"on"})
			again.CloseNow()
			boxNothingLeft(t, b)
		})
	}
}
