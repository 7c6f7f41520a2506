package wschannels_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

type boxMood struct{ Mood string }

func (m boxMood) String() string { return "mood: " + m.Mood }

type boxBlob struct{ N int }

func (b boxBlob) MarshalBinary() ([]byte, error) {
	if b.N < 0 {
		return nil, errors.New("negative")
	}
	return []byte{0xff, byte(b.N)}, nil
}

type boxRude struct{}

func (boxRude) String() string               { panic("rude") }
func (boxRude) MarshalJSON() ([]byte, error) { return []byte(`"polite"`), nil }

// boxEach has a member of each payload type in group "g", in the order JSON, Text,
// Bytes.
func boxEach(t *testing.T, b *wschannels.ChannelBox) (read func() [3]string) {
	var reads [3]func() string
	for _, pt := range []wschannels.PayloadType{wschannels.JSON, wschannels.Text, wschannels.Bytes} {
		c, conn := boxMember(t, b, &wschannels.ChannelOptions{PayloadType: pt}, "g")
		reads[pt] = func() string {
			if got := boxFlushed(t, c, conn); len(got) > 0 {
				return fmt.Sprint(got[0])
			}
			return "nothing"
		}
	}
	return func() (got [3]string) {
		for i, r := range reads {
			got[i] = r()
		}
		return got
	}
}

// A member gets the payload as if it had been sent to it directly; the history keeps
// what it was.
func TestGroupPayloadsReachEveryType(t *testing.T) {
	for _, tt := range []struct {
		name    string
		payload any
		want    [3]string // JSON, Text, Bytes
		kept    wschannels.PayloadType
		data    string
	}{
		{"string", `a"b`, [3]string{`"a\"b"`, `a"b`, `a"b`}, wschannels.Text, `a"b`},
		{"empty string", "", [3]string{`""`, "", ""}, wschannels.Text, ""},
		{"bytes that are text", []byte("hi"), [3]string{`"aGk="`, "hi", "hi"}, wschannels.Bytes, "hi"},
		{"map", map[string]int{"n": 1}, [3]string{`{"n":1}`, `{"n":1}`, `{"n":1}`}, wschannels.JSON, `{"n":1}`},
		{"nil", nil, [3]string{"null", "null", "null"}, wschannels.JSON, "null"},
		{"raw JSON", json.RawMessage(`[1, 2]`), [3]string{"[1, 2]", "[1, 2]", "[1, 2]"}, wschannels.JSON, "[1, 2]"},
		{"Stringer", boxMood{"good"}, [3]string{`{"Mood":"good"}`, "mood: good", `{"Mood":"good"}`}, wschannels.JSON, `{"Mood":"good"}`},
		{"BinaryMarshaler", boxBlob{7}, [3]string{`{"N":7}`, `{"N":7}`, "\xff\x07"}, wschannels.JSON, `{"N":7}`},
		{"text Message", wschannels.Message{Type: wschannels.Text, Data: []byte("m")}, [3]string{`"m"`, "m", "m"}, wschannels.Text, "m"},
		{"JSON Message", wschannels.Message{Type: wschannels.JSON, Data: []byte("[0]")}, [3]string{"[0]", "[0]", "[0]"}, wschannels.JSON, "[0]"},
		{"pointer to Message", &wschannels.Message{Type: wschannels.Text, Data: []byte("m")}, [3]string{`"m"`, "m", "m"}, wschannels.Text, "m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := boxOf(t, nil)
			read := boxEach(t, b)
			res := boxSend(t, b, "g", tt.payload, boxSave)
			if res.Queued != 3 || res.Dropped+res.Closed+res.Evicted+res.Waiting != 0 || res.Seq != 1 || res.ID == uuid.Nil {
				t.Errorf("result %+v, want 3 queued and nothing else", res)
			}
			if got := read(); got != tt.want {
				t.Errorf("received %q, want %q", got, tt.want)
			}
			ms, err := b.History(t.Context(), "g", nil)
			if err != nil || len(ms) != 1 {
				t.Fatalf("history: %v, %v", ms, err)
			}
			m := ms[0]
			if m.Type != tt.kept || m.Text() != tt.data || m.ID != res.ID || m.Seq != 1 || m.Group != "g" || m.Created.IsZero() {
				t.Errorf("kept %+v (%q), want %v %q", m, m.Data, tt.kept, tt.data)
			}
		})
	}
}

// SendJSON is JSON for everybody, also where Send would take another form.
func TestGroupSendJSON(t *testing.T) {
	for _, tt := range []struct {
		payload any
		want    string
	}{
		{"s", `"s"`}, {[]byte("hi"), `"aGk="`}, {boxMood{"bad"}, `{"Mood":"bad"}`}, {boxBlob{-1}, `{"N":-1}`},
	} {
		b := boxOf(t, nil)
		read := boxEach(t, b)
		g, _ := b.Group("g")
		if res, err := g.SendJSON(t.Context(), tt.payload, nil); err != nil || res.Queued != 3 {
			t.Errorf("SendJSON(%v) = %+v, %v", tt.payload, res, err)
		}
		if got, want := read(), [3]string{tt.want, tt.want, tt.want}; got != want {
			t.Errorf("SendJSON(%v): received %q, want %q", tt.payload, got, want)
		}
		if _, err := g.SendJSON(t.Context(), func() {}, nil); !errors.As(err, new(*wschannels.PayloadError)) {
			t.Errorf("SendJSON of a func: %v, want a *PayloadError", err)
		}
	}
}

// What one member cannot be given nobody is given, and it takes no place in the order.
func TestGroupPayloadsThatCannotBeEncoded(t *testing.T) {
	cyclic := map[string]any{}
	cyclic["self"] = cyclic
	for name, payload := range map[string]any{
		"bytes that a Text member cannot carry": []byte("\xff\xfe"),
		"string that is not UTF-8":              "\xff",
		"NaN":                                   math.NaN(),
		"func":                                  func() {},
		"cyclic":                                cyclic,
		"malformed raw JSON":                    json.RawMessage("{"),
		"failing BinaryMarshaler":               boxBlob{-1},
		"panicking Stringer":                    boxRude{},
		"Message of an unknown type":            wschannels.Message{Type: 9, Data: []byte("x")},
		"Message with malformed JSON":           wschannels.Message{Data: []byte("x")},
		"binary Message for a Text member":      wschannels.Message{Type: wschannels.Bytes, Data: []byte("\xff")},
	} {
		t.Run(name, func(t *testing.T) {
			b := boxOf(t, nil)
			read := boxEach(t, b)
			res, err := b.GroupSend(t.Context(), "g", payload, boxSave)
			var pe *wschannels.PayloadError
			if !errors.As(err, &pe) || pe.Op != "encode" || pe.Err == nil {
				t.Errorf("GroupSend: %v, want a *PayloadError of encode", err)
			}
			if res != (wschannels.SendResult{}) {
				t.Errorf("result %+v with an error", res)
			}
			if got, want := read(), [3]string{"nothing", "nothing", "nothing"}; got != want {
				t.Errorf("received %q", got)
			}
			boxWant(t, "history", boxHistory(t, b, "g", nil), nil)
			if next := boxSend(t, b, "g", "fine", nil); next.Seq != 1 {
				t.Errorf("the next Seq is %d, want 1", next.Seq)
			}
			if s := b.Stats(); s.Dropped != 0 {
				t.Errorf("Dropped = %d, want 0", s.Dropped)
			}
		})
	}
}

// Binary data is no error where no Text member is.
func TestGroupBinaryWithoutTextMembers(t *testing.T) {
	b := boxOf(t, nil)
	c, conn := boxMember(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Bytes}, "g")
	boxMember(t, b, &boxText, "elsewhere")
	boxSend(t, b, "g", []byte("\xff"), boxSave)
	boxWant(t, "received", boxFlushed(t, c, conn), []string{"\xff"})
}

func TestGroupEnvelopesTellThePlace(t *testing.T) {
	b := boxOf(t, nil)
	jc, jsonConn := boxMember(t, b, &wschannels.ChannelOptions{Envelope: true}, `a "room"`)
	tc, textConn := boxMember(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Text, Envelope: true}, `a "room"`)
	pc, plain := boxMember(t, b, &boxText, `a "room"`)
	at, err := b.Position(t.Context(), `a "room"`)
	if err != nil || at.Epoch == "" || at.Seq != 0 {
		t.Fatalf("Position = %+v, %v", at, err)
	}
	boxSend(t, b, `a "room"`, "first", nil)
	res := boxSend(t, b, `a "room"`, map[string]int{"n": 1}, boxSave)

	type envelope struct {
		Group, Epoch string
		Seq          uint64
		ID           uuid.UUID
		Data         any
	}
	for _, tt := range []struct {
		name string
		got  []string
		want any
	}{
		{"JSON", boxFlushed(t, jc, jsonConn), map[string]any{"n": 1.0}},
		{"Text", boxFlushed(t, tc, textConn), `{"n":1}`},
	} {
		if len(tt.got) != 2 {
			t.Fatalf("%s: got %q, want 2 messages", tt.name, tt.got)
		}
		var e envelope
		if err := json.Unmarshal([]byte(tt.got[1]), &e); err != nil {
			t.Fatalf("%s: %q: %v", tt.name, tt.got[1], err)
		}
		want := envelope{`a "room"`, at.Epoch, 2, res.ID, tt.want}
		if fmt.Sprint(e) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", tt.name, e, want)
		}
	}
	boxWant(t, "the member without", boxFlushed(t, pc, plain), []string{"first", `{"n":1}`})

	// A replayed message has the envelope that it had live.
	live, _ := json.Marshal(res.ID)
	c, conn := boxMember(t, b, &wschannels.ChannelOptions{Envelope: true})
	boxJoin(t, b, c, `a "room"`, &wschannels.JoinOptions{ReplayLast: 5})
	want := fmt.Sprintf(`{"group":"a \"room\"","epoch":"%s","seq":2,"id":%s,"data":{"n":1}}`, at.Epoch, live)
	boxWant(t, "replayed", boxFlushed(t, c, conn), []string{want})

	// Outside a group there is no place.
	if err := c.Send(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	var direct map[string]any
	if got := boxNext(t, conn); json.Unmarshal([]byte(got), &direct) != nil || len(direct) != 2 || direct["data"] != 5.0 || direct["id"] == nil {
		t.Errorf("direct: %q, want id and data", got)
	}
}

// What is sent may be changed by the caller as soon as the call has returned, and
// what is received or read from the history belongs to its reader.
func TestGroupPayloadsAreCopies(t *testing.T) {
	b := boxOf(t, nil)
	c, conn := boxMember(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Bytes, QueueBytes: 1 << 10})
	conn.Stall()
	boxJoin(t, b, c, "g", nil)
	p := []byte("as it was")
	raw := json.RawMessage(`"as it was"`)
	boxSend(t, b, "g", p, boxSave)
	boxSend(t, b, "g", raw, boxSave)
	copy(p, "########")
	copy(raw, "########")
	except := boxIDs(c)
	boxSend(t, b, "g", "not for c", &wschannels.SendOptions{SaveHistory: true, Except: except})
	except[0] = uuid.Nil
	want := []string{"as it was", `"as it was"`, "not for c"}
	boxWant(t, "history", boxHistory(t, b, "g", nil), want)

	ms, _ := b.History(t.Context(), "g", nil)
	ms[0], ms[1] = ms[1], wschannels.Message{}
	boxWant(t, "history after a reader changed its slice", boxHistory(t, b, "g", nil), want)
	conn.Resume()
	boxWant(t, "received", boxFlushed(t, c, conn), want[:2])
}

func TestGroupMessageIDsAreUnique(t *testing.T) {
	b := boxOf(t, nil)
	seen := make(map[uuid.UUID]bool)
	for range 1000 {
		seen[boxSend(t, b, "g", "x", boxSave).ID] = true
		seen[boxSendUser(t, b, "u", "x").ID] = true
	}
	if len(seen) != 2000 || seen[uuid.Nil] {
		t.Errorf("%d different IDs of 2000, zero among them: %t", len(seen), seen[uuid.Nil])
	}
	ms, _ := b.History(t.Context(), "g", nil)
	for i, m := range ms {
		if !seen[m.ID] || i > 0 && m.Created.Before(ms[i-1].Created) {
			t.Fatalf("message %d: ID %v that no send returned, or Created %v before its predecessor", i, m.ID, m.Created)
		}
	}
}

func TestGroupSendExcept(t *testing.T) {
	for _, n := range []int{0, 1, 8, 9, 40} { // few and many
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := boxOf(t, nil)
			var out []*wschannels.Channel
			for range n {
				c, conn := boxMember(t, b, nil, "g")
				out = append(out, c)
				t.Cleanup(func() { boxWant(t, "an excepted member", boxWritten(conn), nil) })
			}
			c, conn := boxMember(t, b, nil, "g")
			ids := append(boxIDs(out...), uuid.New()) // a stranger does no harm
			if res := boxSend(t, b, "g", "x", &wschannels.SendOptions{Except: ids}); res.Queued != 1 || res.Dropped != 0 {
				t.Errorf("result %+v, want 1 queued", res)
			}
			for _, o := range out {
				if err := o.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			boxWant(t, "the other", boxFlushed(t, c, conn), []string{"x"})
		})
	}
}

// Somebody who is not to get it does not decide whether others can.
func TestGroupExceptedMembersNeedNotCarryThePayload(t *testing.T) {
	b := boxOf(t, nil)
	text, _ := boxMember(t, b, &boxText, "g")
	c, conn := boxMember(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Bytes}, "g")
	res, err := b.GroupSend(t.Context(), "g", []byte("\xff"), &wschannels.SendOptions{Except: boxIDs(text)})
	if err != nil || res.Queued != 1 || res.Dropped != 0 {
		t.Errorf("GroupSend = %+v, %v, want 1 queued", res, err)
	}
	boxWant(t, "received", boxFlushed(t, c, conn), []string{"\xff"})
}

type boxNoBinary struct{}

func (boxNoBinary) MarshalBinary() ([]byte, error) { return nil, nil }

// No bytes are a payload, too, to a group as to one channel.
func TestABinaryMarshalerMayReturnNothing(t *testing.T) {
	b := boxOf(t, nil)
	c, conn := boxMember(t, b, &wschannels.ChannelOptions{PayloadType: wschannels.Bytes}, "g")
	if err := c.Send(t.Context(), boxNoBinary{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.GroupSend(t.Context(), "g", boxNoBinary{}, nil); err != nil {
		t.Fatal(err)
	}
	boxWant(t, "the member", boxFlushed(t, c, conn), []string{"", ""})
}
