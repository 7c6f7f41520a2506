package wschannels_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wschannels/wschannels"
)

// A message that is alone over the cap goes out all the same, and evicts nothing.
func TestBoxHistoryLeavesOutWhatIsOverTheCap(t *testing.T) {
	fixed := boxCost(t)
	for name, opts := range map[string]wschannels.Options{
		"of the group":  {History: wschannels.HistoryLimits{Bytes: 2 * (fixed + 10)}},
		"of all groups": {HistoryTotalBytes: 2 * (fixed + 10)},
	} {
		t.Run(name, func(t *testing.T) {
			b := boxOf(t, &opts)
			c, conn := boxMember(t, b, nil, "g")
			large := strings.Repeat("L", fixed+2*10+1)
			if res := boxSend(t, b, "g", "small", boxSave); !res.Saved {
				t.Errorf("small: %+v, want Saved", res)
			}
			if res := boxSend(t, b, "g", large, boxSave); res.Saved || res.Queued != 1 || res.Seq != 2 {
				t.Errorf("large: %+v, want not Saved, 1 queued, Seq 2", res)
			}
			boxWant(t, "received", boxFlushed(t, c, conn), []string{"small", large})
			boxWant(t, "history", boxHistory(t, b, "g", nil), []string{"small"})
			// It was not saved, so nobody has lost it.
			late, _ := boxMember(t, b, nil)
			at, _ := b.Position(t.Context(), "g")
			res := boxJoin(t, b, late, "g", &wschannels.JoinOptions{ReplayAfter: &wschannels.Position{Epoch: at.Epoch, Seq: 1}})
			if !res.Recovered || res.Replayed != 0 {
				t.Errorf("Join = %+v, want Recovered", res)
			}
		})
	}
}

func TestBoxHistoryOutlivesMembersAndOtherGroups(t *testing.T) {
	b := boxOf(t, nil)
	c, _ := boxMember(t, b, nil, "g")
	boxSend(t, b, "g", "1", boxSave)
	c.CloseNow()
	boxSend(t, b, "other", "x", boxSave)
	boxSend(t, b, "g", "2", boxSave)
	boxWant(t, "history", boxHistory(t, b, "g", nil), []string{"1", "2"})
	if err := b.FlushHistory(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	boxWant(t, "history of other", boxHistory(t, b, "other", nil), nil)
	boxWant(t, "history", boxHistory(t, b, "g", nil), []string{"1", "2"})
	boxWant(t, "history of a group that never was", boxHistory(t, b, "never", nil), nil)
}

func TestBoxHistoryOfAnotherEpochIsAllThatIsHeld(t *testing.T) {
	b := boxOf(t, nil)
	for i := range 3 {
		boxSend(t, b, "g", fmt.Sprint(i+1), boxSave)
	}
	at, _ := b.Position(t.Context(), "g")
	for _, tt := range []struct {
		name  string
		after wschannels.Position
		from  int
	}{
		{"this epoch", wschannels.Position{Epoch: at.Epoch, Seq: 2}, 3},
		{"the end", at, 4},
		{"another epoch", wschannels.Position{Epoch: "x", Seq: 2}, 1},
		{"no epoch", wschannels.Position{Seq: 2}, 1},
		{"the future", wschannels.Position{Epoch: at.Epoch, Seq: 4}, 1},
	} {
		boxWant(t, tt.name, boxHistory(t, b, "g", &wschannels.HistoryOptions{After: &tt.after}), boxNumbers(tt.from, 3))
	}
	boxWant(t, "Last of another epoch",
		boxHistory(t, b, "g", &wschannels.HistoryOptions{After: &wschannels.Position{Epoch: "x"}, Last: 2}), boxNumbers(2, 3))
}

func TestBoxFlushHistoryKeepsTheOrder(t *testing.T) {
	b := boxOf(t, nil)
	for _, g := range []string{"a", "b", "c"} {
		boxSend(t, b, g, "1", boxSave)
		boxSend(t, b, g, "2", boxSave)
	}
	if err := b.FlushHistory(t.Context(), "a", "never"); err != nil {
		t.Fatal(err)
	}
	boxWant(t, "a", boxHistory(t, b, "a", nil), nil)
	boxWant(t, "b", boxHistory(t, b, "b", nil), boxNumbers(1, 2))
	if res := boxSend(t, b, "a", "3", boxSave); res.Seq != 3 || !res.Saved {
		t.Errorf("send after a flush: %+v, want Seq 3", res)
	}
	boxWant(t, "a", boxHistory(t, b, "a", nil), []string{"3"})
	if err := b.FlushHistory(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, g := range []string{"a", "b", "c"} {
		boxWant(t, g, boxHistory(t, b, g, nil), nil)
	}
	if s := b.Stats(); s.HistoryBytes != 0 || s.Dropped != 0 {
		t.Errorf("Stats: %+v, want no history and nothing dropped", s)
	}
}

// The group that was written longest ago goes first, as a whole.
func TestBoxHistoryTotalEvictsTheLeastRecentlyWritten(t *testing.T) {
	fixed := boxCost(t)
	b := boxOf(t, &wschannels.Options{HistoryTotalBytes: 6 * (fixed + 1)})
	for _, g := range []string{"a", "b", "c"} {
		boxSend(t, b, g, "1", boxSave)
		boxSend(t, b, g, "2", boxSave)
	}
	boxSend(t, b, "a", "3", boxSave) // a is the newest now, and b has to go
	for g, want := range map[string][]string{"a": {"1", "2", "3"}, "b": nil, "c": {"1", "2"}} {
		boxWant(t, g, boxHistory(t, b, g, nil), want)
	}
	boxHistory(t, b, "c", nil) // reading is not writing
	boxSend(t, b, "d", "1", boxSave)
	boxSend(t, b, "d", "2", boxSave)
	for g, want := range map[string][]string{"a": {"1", "2", "3"}, "b": nil, "c": nil, "d": {"1", "2"}} {
		boxWant(t, g, boxHistory(t, b, g, nil), want)
	}
	// Alone it may have all of it, and its own oldest go.
	for i := 3; i <= 10; i++ {
		boxSend(t, b, "d", fmt.Sprint(i%10), boxSave)
	}
	boxWant(t, "d", boxHistory(t, b, "d", nil), []string{"5", "6", "7", "8", "9", "0"})
	boxWant(t, "a", boxHistory(t, b, "a", nil), nil)
	// A join knows what it has missed.
	at, _ := b.Position(t.Context(), "a")
	c, _ := boxMember(t, b, nil)
	res := boxJoin(t, b, c, "a", &wschannels.JoinOptions{ReplayAfter: &wschannels.Position{Epoch: at.Epoch, Seq: 2}})
	if res.Recovered || res.Replayed != 0 || res.Position.Seq != 3 {
		t.Errorf("Join = %+v, want not Recovered at 3", res)
	}
}

// A cap of a group that is as good as none leaves that of all.
func TestBoxHistoryTotalWithoutACapOfEach(t *testing.T) {
	fixed := boxCost(t)
	b := boxOf(t, &wschannels.Options{
		HistoryTotalBytes: 3 * (fixed + 1), History: wschannels.HistoryLimits{Bytes: math.MaxInt},
	})
	for i := range 5 {
		boxSend(t, b, "a", fmt.Sprint(i), boxSave)
	}
	boxWant(t, "a alone", boxHistory(t, b, "a", nil), []string{"2", "3", "4"})
	boxSend(t, b, "b", "0", boxSave)
	boxWant(t, "b", boxHistory(t, b, "b", nil), []string{"0"})
	boxWant(t, "a, once there is b", boxHistory(t, b, "a", nil), nil)
}

// Both caps hold at any instant that anybody can look at.
func TestBoxHistoryCapsHoldAtAnyInstant(t *testing.T) {
	fixed := boxCost(t)
	const total, each = 20_000, 3_000
	b := boxOf(t, &wschannels.Options{HistoryTotalBytes: total, History: wschannels.HistoryLimits{Bytes: each}})
	var wg, watch sync.WaitGroup
	var done atomic.Bool
	watch.Go(func() {
		for i := 0; !done.Load(); i++ {
			if n := b.Stats().HistoryBytes; n > total {
				t.Errorf("HistoryBytes = %d, over %d", n, total)
				return
			}
			held := 0
			ms, err := b.History(t.Context(), fmt.Sprint(i%20), nil)
			for _, m := range ms {
				held += len(m.Data) + fixed
			}
			if held > each || err != nil {
				t.Errorf("a group holds %d bytes, over %d (%v)", held, each, err)
				return
			}
		}
	})
	for p := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				if _, err := b.GroupSend(t.Context(), fmt.Sprint((i*7+p)%20), strings.Repeat("x", i*31%900), boxSave); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	done.Store(true)
	watch.Wait()
	if n := b.Stats().HistoryBytes; n < total/2 {
		t.Errorf("HistoryBytes = %d: the cap was never tested", n)
	}
}

func TestBoxHistoryTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, &wschannels.Options{History: wschannels.HistoryLimits{TTL: time.Minute}, MaxGroups: 2})
		boxSend(t, b, "a", "1", boxSave)
		at, _ := b.Position(t.Context(), "a")
		time.Sleep(30 * time.Second)
		boxSend(t, b, "a", "2", boxSave)
		boxSend(t, b, "b", "1", boxSave)
		time.Sleep(30 * time.Second)
		boxWant(t, "a", boxHistory(t, b, "a", nil), []string{"2"})
		c, _ := boxMember(t, b, nil)
		if res := boxJoin(t, b, c, "a", &wschannels.JoinOptions{ReplayAfter: &wschannels.Position{Epoch: at.Epoch}}); res.Recovered || res.Replayed != 1 {
			t.Errorf("Join across an expired message: %+v, want not Recovered, 1 replayed", res)
		}
		if _, err := b.Leave(t.Context(), c, "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if n := b.Stats().HistoryBytes; n != 0 {
			t.Errorf("HistoryBytes = %d after the TTL", n)
		}
	})
}

// A group whose history has expired is none that counts.
func TestBoxMaxGroupsForgetsExpiredHistories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, &wschannels.Options{History: wschannels.HistoryLimits{TTL: time.Minute}, MaxGroups: 2})
		boxSend(t, b, "a", "1", boxSave)
		boxSend(t, b, "b", "1", boxSave)
		time.Sleep(time.Minute)
		boxSend(t, b, "c", "1", boxSave)
		boxWant(t, "c", boxHistory(t, b, "c", nil), []string{"1"})
		c, _ := boxMember(t, b, nil)
		boxJoin(t, b, c, "d", nil)
	})
}

// boxLoud is a codec that shows where it was used.
type boxLoud struct{}

func (boxLoud) Marshal(v any) ([]byte, error) { return json.Marshal(fmt.Sprint("loud ", v)) }
func (boxLoud) Unmarshal(p []byte, v any) error {
	*v.(*string) = "loudly " + string(p)
	return nil
}

// Group payloads are encoded with the box's codec, whatever the member's, and what
// the history returns is decoded with it.
func TestBoxCodecIsTheGroups(t *testing.T) {
	b := boxOf(t, &wschannels.Options{Channel: wschannels.ChannelOptions{Codec: boxLoud{}}})
	c, conn := boxMember(t, b, &wschannels.ChannelOptions{}, "g")
	boxSend(t, b, "g", 1, boxSave)
	boxSendUser(t, b, "ann", 2)
	boxSetUser(t, c, "ann")
	boxWant(t, "received", boxFlushed(t, c, conn), []string{`"loud 1"`, `"loud 2"`})
	g, _ := b.Group("g")
	saved, err := b.History(t.Context(), "g", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append(saved, g.History(nil)...) {
		var got string
		if err := m.Decode(&got); err != nil || got != `loudly "loud 1"` {
			t.Errorf("Decode: %q, %v", got, err)
		}
	}
}

// What is being saved while the box shuts down is not kept by a box that has ended.
func TestShutdownLeavesNoHistory(t *testing.T) {
	for range 100 {
		b := boxOf(t, nil)
		var wg, begun sync.WaitGroup
		for range 4 {
			begun.Add(1)
			wg.Go(func() {
				_, err := b.GroupSend(t.Context(), "g", "x", boxSave)
				begun.Done()
				for err == nil {
					_, err = b.GroupSend(t.Context(), "g", "x", boxSave)
				}
			})
		}
		begun.Wait()
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if n := b.Stats().HistoryBytes; n != 0 {
			t.Fatalf("HistoryBytes %d after Shutdown", n)
		}
	}
}
