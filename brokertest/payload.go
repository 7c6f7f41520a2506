package brokertest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

var payloadPromises = []promise{
	{"PayloadsOfEveryByteArriveAsTheyWere", testEveryByte},
	{"EmptyAndLargePayloadsArriveAsTheyWere", testSizes},
	{"IDsTypesTimesAndExceptArriveAsTheyWere", testAttributes},
	{"ThePublicationOfTheCallerIsSetAndNothingElseOfIt", testPublicationOfTheCaller},
}

func testEveryByte(t *testing.T, s *suite) {
	all := make([]byte, 0, 256*4)
	for i := range 256 * 4 {
		all = append(all, byte(i), byte(i>>2))
	}
	data := [][]byte{all, []byte("\r\n"), []byte("\x00"), []byte("$5\r\nhello\r\n"), {0xff, 0xfe}}
	for i := range 256 {
		data = append(data, []byte{byte(i)})
	}
	s.carries(t, func(i int) *wschannels.Publication {
		if i == len(data) {
			return nil
		}
		p := saved("g", "")
		p.Type, p.Data = wschannels.Bytes, data[i]
		return p
	})
}

func testSizes(t *testing.T, s *suite) {
	largest := cmp.Or(s.f.MaxPayload, 1<<20)
	sizes := []int{0, 1, 1000, 65_535, 65_536, largest - 1, largest}
	s.carries(t, func(i int) *wschannels.Publication {
		if i == len(sizes) {
			return nil
		}
		p := plain("g", "")
		p.Type, p.Data = wschannels.Bytes, bytes.Repeat([]byte("0123456789abcdef"), sizes[i]/16+1)[:sizes[i]]
		return p
	})
}

func testAttributes(t *testing.T, s *suite) {
	now := time.Now()
	cases := []wschannels.Publication{
		{Message: wschannels.Message{Type: wschannels.JSON, Data: []byte(`{"a":1}`), Created: now}},
		{Message: wschannels.Message{Type: wschannels.Text, Data: []byte("grüße, 日本"), Created: now.Add(-time.Millisecond)}, Save: true},
		{Message: wschannels.Message{Type: wschannels.Bytes, Data: []byte("x"), Created: now.Add(7 * time.Nanosecond)}},
		{Message: wschannels.Message{Type: wschannels.Text, Data: []byte("x"), Created: now.UTC()}, Except: []uuid.UUID{uuid.New()}, Save: true},
		{Message: wschannels.Message{Type: wschannels.Text, Data: nil, Created: now}, Except: slices.Repeat([]uuid.UUID{uuid.New(), uuid.New()}, 100)},
	}
	s.carries(t, func(i int) *wschannels.Publication {
		if i == len(cases) {
			return nil
		}
		p := &cases[i]
		p.ID, p.Group = uuid.New(), "g"
		return p
	})
}

// carries checks that what next returns, until it returns nil, is delivered on all nodes, and
// saved, as it was.
func (s *suite) carries(t *testing.T, next func(i int) *wschannels.Publication) {
	t.Helper()
	nodes := s.nodes(t, 2)
	rs := recordAll(t, nodes, "g")
	var sent, kept []wschannels.Publication
	for i := 0; ; i++ {
		p := next(i)
		if p == nil {
			break
		}
		want := *p
		want.Data = bytes.Clone(p.Data)
		publish(t, nodes[i%2], p)
		want.Seq, want.Saved = p.Seq, p.Saved
		sent = append(sent, want)
		if p.Saved {
			kept = append(kept, want)
		}
	}
	for n, r := range rs {
		for i, got := range r.await(t, "g", len(sent)) {
			what := fmt.Sprintf("message %d at node %d", i, n)
			want := sent[i]
			wantSame(t, what, got.Message, want.Message)
			if !slices.Equal(got.Except, want.Except) {
				t.Errorf("%s: Except %v, want %v", what, got.Except, want.Except)
			}
			if got.Save != want.Save || got.Saved != want.Saved {
				t.Errorf("%s: Save, Saved = %v, %v, want %v, %v", what, got.Save, got.Saved, want.Save, want.Saved)
			}
		}
	}
	if s.f.Lacks&History != 0 {
		return
	}
	for n, b := range nodes {
		history := page(t, b, "g", nil).Messages
		if len(history) != len(kept) {
			t.Fatalf("the history at node %d has %d messages, want %d", n, len(history), len(kept))
		}
		for i, got := range history {
			what := fmt.Sprintf("message %d of the history at node %d", i, n)
			wantSame(t, what, got, kept[i].Message)
			if got.Seq != kept[i].Seq {
				t.Errorf("%s: Seq %d, want %d", what, got.Seq, kept[i].Seq)
			}
		}
	}
}

func testPublicationOfTheCaller(t *testing.T, s *suite) {
	b := s.open(t)
	except := []uuid.UUID{uuid.New()}
	p := saved("g", "x")
	p.Except = except
	before := p.Message
	publish(t, b, p)
	wantSame(t, "the caller's publication", p.Message, before)
	if p.Seq != 1 || p.Epoch != position(t, b, "g").Epoch || !p.Save || !slices.Equal(p.Except, except) {
		t.Errorf("the caller's publication has Seq %d, Epoch %q, Save %v, Except %v", p.Seq, p.Epoch, p.Save, p.Except)
	}
	if want := s.f.Lacks&History == 0; p.Saved != want {
		t.Errorf("Saved = %v, want %v", p.Saved, want)
	}
	if p := publish(t, b, plain("g", "x")); p.Saved {
		t.Error("a message is Saved that was not to be")
	}
}
