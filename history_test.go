package wschannels_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

func boxLog(t *testing.T, limits *wschannels.HistoryLimits) *wschannels.History {
	t.Helper()
	h, err := wschannels.NewHistory(limits)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// boxCost is what an empty message counts in a history.
func boxCost(t *testing.T) int {
	t.Helper()
	h := boxLog(t, nil)
	if err := h.Append(wschannels.Message{}); err != nil || h.Bytes() <= 0 {
		t.Fatalf("an empty message is free: %d bytes, %v", h.Bytes(), err)
	}
	return h.Bytes()
}

func boxEntry(seq int, size int) wschannels.Message {
	text := fmt.Sprint(seq)
	text += strings.Repeat(".", max(0, size-len(text)))
	return wschannels.Message{
		ID: uuid.New(), Seq: uint64(seq), Created: time.Now(), Type: wschannels.Text, Data: []byte(text),
	}
}

func TestHistoryCountsPayloadBytes(t *testing.T) {
	fixed := boxCost(t)
	h := boxLog(t, nil)
	for i := 1; i <= 3; i++ {
		if err := h.Append(boxEntry(i, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := h.Bytes(), 3*(100+fixed); got != want || h.Len() != 3 {
		t.Errorf("Bytes = %d, Len = %d, want %d and 3", got, h.Len(), want)
	}
	h.Clear()
	if h.Bytes() != 0 || h.Len() != 0 || len(h.Messages(nil)) != 0 {
		t.Errorf("after Clear: Bytes = %d, Len = %d", h.Bytes(), h.Len())
	}
}

// Each cap alone and together: never exceeded, and only the oldest give way.
func TestHistoryCaps(t *testing.T) {
	fixed := boxCost(t)
	for _, tt := range []struct {
		name   string
		limits wschannels.HistoryLimits
		keeps  int // of messages of 100 bytes
	}{
		{"bytes", wschannels.HistoryLimits{Bytes: 5 * (100 + fixed)}, 5},
		{"one byte less", wschannels.HistoryLimits{Bytes: 5*(100+fixed) - 1}, 4},
		{"exactly one", wschannels.HistoryLimits{Bytes: 100 + fixed}, 1},
		{"len", wschannels.HistoryLimits{Len: 7}, 7},
		{"len 1", wschannels.HistoryLimits{Len: 1}, 1},
		{"len below bytes", wschannels.HistoryLimits{Bytes: 5 * (100 + fixed), Len: 3}, 3},
		{"bytes below len", wschannels.HistoryLimits{Bytes: 5 * (100 + fixed), Len: 8}, 5},
		{"all, TTL far away", wschannels.HistoryLimits{Bytes: 5 * (100 + fixed), Len: 4, TTL: time.Hour}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := boxLog(t, &tt.limits)
			for i := 1; i <= 500; i++ {
				if err := h.Append(boxEntry(i, 100)); err != nil {
					t.Fatal(err)
				}
				ms := h.Messages(nil)
				if want := min(i, tt.keeps); len(ms) != want || h.Len() != want || h.Bytes() != want*(100+fixed) {
					t.Fatalf("after %d: %d messages, Len %d, Bytes %d, want %d", i, len(ms), h.Len(), h.Bytes(), want)
				}
				for j, m := range ms {
					if want := uint64(i - len(ms) + 1 + j); m.Seq != want {
						t.Fatalf("after %d: message %d has Seq %d, want %d", i, j, m.Seq, want)
					}
				}
			}
		})
	}
}

func TestHistoryCapsHoldForAnySizes(t *testing.T) {
	fixed := boxCost(t)
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		limits := wschannels.HistoryLimits{Bytes: 500 + rnd.IntN(5000), Len: rnd.IntN(30)}
		h := boxLog(t, &limits)
		var want []wschannels.Message
		held := 0
		for i := range 300 {
			m := boxEntry(i+1, rnd.IntN(700))
			size := len(m.Data) + fixed
			err := h.Append(m)
			if size > limits.Bytes {
				if !errors.Is(err, wschannels.ErrTooLarge) {
					t.Fatalf("seed %d: Append of %d bytes: %v, want ErrTooLarge", seed, size, err)
				}
			} else {
				want, held = append(want, m), held+size
				for held > limits.Bytes || limits.Len > 0 && len(want) > limits.Len {
					held -= len(want[0].Data) + fixed
					want = want[1:]
				}
			}
			if h.Bytes() != held || h.Len() != len(want) {
				t.Fatalf("seed %d, message %d: %d messages of %d bytes, want %d of %d", seed, i, h.Len(), h.Bytes(), len(want), held)
			}
		}
		boxWant(t, fmt.Sprint("seed ", seed), boxTexts(h.Messages(nil)), boxTexts(want))
	}
}

func TestHistoryRefusesWhatAloneIsOverTheCap(t *testing.T) {
	fixed := boxCost(t)
	h := boxLog(t, &wschannels.HistoryLimits{Bytes: 1000})
	if err := h.Append(boxEntry(1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := h.Append(boxEntry(2, 1000-fixed+1)); !errors.Is(err, wschannels.ErrTooLarge) {
		t.Errorf("Append: %v, want ErrTooLarge", err)
	}
	if got := h.Messages(nil); len(got) != 1 || got[0].Seq != 1 {
		t.Errorf("something gave way to a message that was refused: %v", got)
	}
	if err := h.Append(boxEntry(3, 1000-fixed)); err != nil || h.Len() != 1 || h.Bytes() != 1000 {
		t.Errorf("a message that just fits: %v, then %d messages of %d bytes", err, h.Len(), h.Bytes())
	}
}

func TestHistoryTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boxLog(t, &wschannels.HistoryLimits{TTL: time.Minute, Len: 3})
		for i := 1; i <= 4; i++ { // at 0, 10, 20 and 30 s
			if err := h.Append(boxEntry(i, 10)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(30*time.Second - 1) // 1 ns before the second is a minute old
		if got := h.Len(); got != 3 {
			t.Errorf("before the TTL: %d messages, want 3", got)
		}
		time.Sleep(time.Nanosecond)
		ms := h.Messages(nil)
		if len(ms) != 2 || ms[0].Seq != 3 || h.Len() != 2 {
			t.Errorf("at the TTL: %v, want 3 and 4", boxTexts(ms))
		}
		before := h.Bytes()
		time.Sleep(time.Minute)
		if h.Bytes() != 0 || before == 0 {
			t.Errorf("Bytes = %d, then %d, want 0 at last", before, h.Bytes())
		}
	})
}

func TestHistorySelection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boxLog(t, nil)
		start := time.Now()
		for i := 1; i <= 10; i++ { // at 0 to 9 s
			if err := h.Append(boxEntry(i, 0)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		at := func(seq uint64) *wschannels.Position { return &wschannels.Position{Seq: seq} }
		for _, tt := range []struct {
			name     string
			opts     *wschannels.HistoryOptions
			from, to int
		}{
			{"nil", nil, 1, 10},
			{"zero", &wschannels.HistoryOptions{}, 1, 10},
			{"last", &wschannels.HistoryOptions{Last: 3}, 8, 10},
			{"last 1", &wschannels.HistoryOptions{Last: 1}, 10, 10},
			{"more than there are", &wschannels.HistoryOptions{Last: 30}, 1, 10},
			{"after", &wschannels.HistoryOptions{After: at(4)}, 5, 10},
			{"after nothing", &wschannels.HistoryOptions{After: at(0)}, 1, 10},
			{"after the end", &wschannels.HistoryOptions{After: at(10)}, 1, 0},
			{"after the last there can be", &wschannels.HistoryOptions{After: at(math.MaxUint64)}, 1, 0},
			{"since", &wschannels.HistoryOptions{Since: start.Add(6 * time.Second)}, 7, 10},
			{"since between", &wschannels.HistoryOptions{Since: start.Add(6*time.Second + 1)}, 8, 10},
			{"since the future", &wschannels.HistoryOptions{Since: start.Add(time.Hour)}, 1, 0},
			{"after and last", &wschannels.HistoryOptions{After: at(4), Last: 2}, 9, 10},
			{"after and a wide last", &wschannels.HistoryOptions{After: at(8), Last: 5}, 9, 10},
			{"since and after", &wschannels.HistoryOptions{After: at(8), Since: start.Add(time.Second)}, 9, 10},
			{"all three", &wschannels.HistoryOptions{After: at(2), Since: start.Add(5 * time.Second), Last: 4}, 7, 10},
		} {
			boxWant(t, tt.name, boxTexts(h.Messages(tt.opts)), boxNumbers(tt.from, tt.to))
		}
	})
}

// Publishers take the time before they take their place: what Since selects goes by
// each message's own time.
func TestHistorySinceGoesByEachMessage(t *testing.T) {
	h := boxLog(t, nil)
	now := time.Now()
	for i, age := range []time.Duration{3, 1, 2, 0} {
		m := boxEntry(i+1, 0)
		m.Created = now.Add(-age * time.Second)
		if err := h.Append(m); err != nil {
			t.Fatal(err)
		}
	}
	boxWant(t, "since", boxTexts(h.Messages(&wschannels.HistoryOptions{Since: now.Add(-time.Second)})), []string{"2", "4"})
}

func TestHistorySizeFromTheEnvironment(t *testing.T) {
	const name = "CHANNEL_BOX_HISTORY_SIZE"
	fixed := boxCost(t)
	for _, tt := range []struct {
		name, env string // "-" is unset
		option    int
		want      int // bytes; 0: an error
	}{
		{"unset", "-", 0, 1 << 20},
		{"valid", "5000", 0, 5000},
		{"5 MiB", "5242880", 0, 5242880},
		{"option wins", "5000", 3000, 3000},
		{"option wins over garbage", "lots", 3000, 3000},
		{"zero", "0", 0, 0},
		{"negative", "-1", 0, 0},
		{"garbage", "lots", 0, 0},
		{"unit", "5MB", 0, 0},
		{"fraction", "5000.5", 0, 0},
		{"empty", "", 0, 0},
		{"out of range", "99999999999999999999", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(name, tt.env) // long after the package was initialized
			if tt.env == "-" {
				os.Unsetenv(name)
			}
			limits := wschannels.HistoryLimits{Bytes: tt.option}
			h, herr := wschannels.NewHistory(&limits)
			g, gerr := wschannels.NewGroup("g", &wschannels.GroupOptions{History: limits})
			b, berr := wschannels.New(&wschannels.Options{History: limits})
			for what, err := range map[string]error{"NewHistory": herr, "NewGroup": gerr, "New": berr} {
				if (err != nil) != (tt.want == 0) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if tt.want == 0 {
				return
			}
			whole, over := make([]byte, tt.want-fixed), make([]byte, tt.want-fixed+1)
			if err := h.Append(wschannels.Message{Data: over}); !errors.Is(err, wschannels.ErrTooLarge) {
				t.Errorf("NewHistory: Append over the cap: %v, want ErrTooLarge", err)
			}
			if err := h.Append(wschannels.Message{Data: whole}); err != nil || h.Bytes() != tt.want {
				t.Errorf("NewHistory: Append of the cap: %v, %d bytes", err, h.Bytes())
			}
			if res, err := g.Send(t.Context(), over, boxSave); err != nil || res.Saved {
				t.Errorf("NewGroup: over the cap: %+v, %v", res, err)
			}
			if res, err := g.Send(t.Context(), whole, boxSave); err != nil || !res.Saved {
				t.Errorf("NewGroup: the cap: %+v, %v", res, err)
			}
			if res := boxSend(t, b, "g", over, boxSave); res.Saved {
				t.Errorf("New: over the cap: %+v", res)
			}
			if res := boxSend(t, b, "g", whole, boxSave); !res.Saved || b.Stats().HistoryBytes != int64(tt.want) {
				t.Errorf("New: the cap: %+v, %d bytes", res, b.Stats().HistoryBytes)
			}
		})
	}
}

func TestHistoryRefusesNegativeLimits(t *testing.T) {
	for _, l := range []wschannels.HistoryLimits{{Bytes: -1}, {Len: -1}, {TTL: -1}} {
		if h, err := wschannels.NewHistory(&l); !errors.Is(err, wschannels.ErrInvalidOption) || h != nil {
			t.Errorf("%+v: %v, %v, want ErrInvalidOption", l, h, err)
		}
	}
}

// A message without a time is as old as its place in the history.
func TestHistoryZeroCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := boxLog(t, &wschannels.HistoryLimits{TTL: time.Minute})
		if err := h.Append(wschannels.Message{Seq: 1, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - 1)
		if h.Len() != 1 {
			t.Error("it is gone before its time")
		}
		time.Sleep(time.Nanosecond)
		if h.Len() != 0 {
			t.Error("it is still there")
		}
	})
}
