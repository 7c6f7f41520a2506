package wschannels_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
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
