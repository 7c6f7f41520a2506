package wschannels_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

type fuzzOrder struct {
	Item  string         `json:"item"`
	Count *int           `json:"count"`
	Price float64        `json:"price"`
	Tags  []string       `json:"tags"`
	More  map[string]any `json:"more"`
	Next  *fuzzOrder     `json:"next"`
}

// FuzzReceive compares Receive[T] with encoding/json on the same payload.
func FuzzReceive(f *testing.F) {
	for _, s := range []string{
		`{"item":"tea","count":2,"price":1.5,"tags":["a"],"more":{"x":null},"next":{"item":"cup"}}`,
		`{}`, `null`, `[]`, `"text"`, `{"item":1}`, `{"count":1e999}`, `{"item":"a"}{"item":"b"}`, `{"item":`, ``, ` `,
		"{\"item\":\"\xff\"}", `{"item":"\ud800"}`, `{"count":9007199254740993}`, strings.Repeat("[", 10_001),
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, p []byte, text bool) {
		if len(p) > 64<<10 {
			t.Skip("over ReadLimit")
		}
		conn := wschannelstest.NewConn()
		c, err := NewChannel(conn, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		typ := websocket.MessageBinary
		if text {
			typ = websocket.MessageText
		}
		conn.Push(typ, p)
		conn.PushJSON(fuzzOrder{Item: "next"})

		got, err := Receive[fuzzOrder](context.Background(), c)
		var want fuzzOrder
		wantErr := json.Unmarshal(p, &want)
		var bad *PayloadError
		switch {
		case !utf8.Valid(p) && text:
			var end *CloseError
			if !errors.As(err, &end) || end.Code != 1007 {
				t.Errorf("text that is not UTF-8: %v, want an end with 1007", err)
			}
			return
		case !utf8.Valid(p) || wantErr != nil:
			if !errors.As(err, &bad) || bad.Op != "decode" || string(bad.Data) != string(p) {
				t.Errorf("got %v, want a *PayloadError for %q (%v)", err, p, wantErr)
			}
			if answer, err := json.Marshal(bad); err != nil || !json.Valid(answer) {
				t.Errorf("as an answer: %s, %v", answer, err)
			}
		case err != nil || !reflect.DeepEqual(got, want):
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if next, err := Receive[fuzzOrder](context.Background(), c); err != nil || next.Item != "next" {
			t.Errorf("the message after it: %+v, %v", next, err)
		}
	})
}

func FuzzGroupName(f *testing.F) {
	for _, s := range []string{"room", "", "Zürich 🙂", "a\x00b", "\x7f", "\u0085", "\xff", "\u2028", " ", strings.Repeat("x", 255), strings.Repeat("x", 256)} {
		f.Add(s)
	}
	box, err := New(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		valid := len(name) >= 1 && len(name) <= 255 && utf8.ValidString(name) && strings.IndexFunc(name, unicode.IsControl) < 0
		g, err := NewGroup(name, nil)
		if valid && (err != nil || g.Name() != name) || !valid && !errors.Is(err, ErrInvalidGroup) {
			t.Errorf("NewGroup(%q): %v, want valid: %v", name, err, valid)
		}
		_, sendErr := box.GroupSend(context.Background(), name, "hello", nil)
		_, groupErr := box.Group(name)
		_, historyErr := box.History(context.Background(), name, nil)
		for what, err := range map[string]error{"GroupSend": sendErr, "Group": groupErr, "History": historyErr} {
			if valid && err != nil || !valid && !errors.Is(err, ErrInvalidGroup) {
				t.Errorf("%s(%q): %v, want valid: %v", what, name, err, valid)
			}
		}
	})
}

// FuzzHistory compares a History with a slice.
func FuzzHistory(f *testing.F) {
	f.Add(uint16(0), uint8(0), false, []byte{1, 2, 3})
	f.Add(uint16(274), uint8(0), false, []byte{10, 10}) // one byte too few for both
	f.Add(uint16(275), uint8(0), false, []byte{10, 10})
	f.Add(uint16(400), uint8(3), false, []byte{10, 200, 10, 10, 255, 1, 1})
	f.Add(uint16(300), uint8(0), true, []byte{5, 250, 5, 100, 5, 5})
	f.Add(uint16(60_000), uint8(50), true, make([]byte, 300))
	f.Fuzz(func(t *testing.T, size uint16, count uint8, ttl bool, program []byte) {
		if len(program) > 1000 {
			t.Skip("longer ones find no more, and take long")
		}
		const cost = 128 // of each message, as documented
		limits := HistoryLimits{Bytes: 1 + int(size), Len: int(count)}
		if ttl {
			limits.TTL = time.Hour
		}
		h, err := NewHistory(&limits)
		if err != nil {
			t.Fatal(err)
		}
		var model []Message
		total := func() (n int) {
			for _, m := range model {
				n += len(m.Data) + cost
			}
			return n
		}
		now := time.Now()
		created := now.Add(-100 * time.Minute)
		for i, b := range program {
			if b%16 == 15 {
				h.Clear()
				model = nil
			}
			if created = created.Add(time.Duration(b%8) * time.Minute); created.After(now) {
				created = now
			}
			m := Message{Seq: uint64(i + 1), Created: created, Data: make([]byte, b)}
			fits := int(b)+cost <= limits.Bytes
			if err := h.Append(m); fits && err != nil || !fits && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("Append of %d bytes: %v, and the limit is %d", b, err, limits.Bytes)
			}
			if fits {
				model = append(model, m)
			}
			for total() > limits.Bytes || limits.Len > 0 && len(model) > limits.Len ||
				ttl && len(model) > 0 && !model[0].Created.After(now.Add(-time.Hour)) {
				model = model[1:]
			}
			if h.Len() != len(model) || h.Bytes() != total() {
				t.Fatalf("Len %d, Bytes %d; want %d, %d", h.Len(), h.Bytes(), len(model), total())
			}
		}
		for _, opts := range []*HistoryOptions{
			nil, {}, {Last: 1 + len(program)/2}, {After: &Position{Seq: uint64(len(program) / 2)}}, {Since: now.Add(-30 * time.Minute)},
			{Last: 2, After: &Position{Seq: uint64(len(program) / 3)}, Since: now.Add(-50 * time.Minute)},
		} {
			fuzzWantHistory(t, h.Messages(opts), model, opts)
		}
	})
}

func fuzzWantHistory(t *testing.T, got, model []Message, opts *HistoryOptions) {
	t.Helper()
	var want []uint64
	for _, m := range model {
		if opts != nil && (opts.After != nil && m.Seq <= opts.After.Seq || m.Created.Before(opts.Since)) {
			continue
		}
		want = append(want, m.Seq)
	}
	if opts != nil && opts.Last > 0 && len(want) > opts.Last {
		want = want[len(want)-opts.Last:]
	}
	var seqs []uint64
	for _, m := range got {
		seqs = append(seqs, m.Seq)
	}
	if !reflect.DeepEqual(seqs, want) {
		t.Errorf("Messages(%+v): %v, want %v", opts, seqs, want)
	}
}
