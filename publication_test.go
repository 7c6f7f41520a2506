package wschannels_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/wschannels/wschannels"
)

func TestAPublicationSurvivesItsBinaryForm(t *testing.T) {
	for _, p := range []wschannels.Publication{
		{Message: wschannels.Message{ID: uuid.New(), Created: time.Unix(1, 2), Type: wschannels.Text, Data: []byte("é")}},
		{Message: wschannels.Message{ID: uuid.New(), Created: time.Unix(-1, 5), Type: wschannels.Bytes, Data: []byte{0xff}}, Save: true},
		{
			Message: wschannels.Message{ID: uuid.New(), Created: time.Unix(1<<31, 0), Data: []byte("{}")},
			Except:  []uuid.UUID{uuid.New(), uuid.New()},
		},
		{Message: wschannels.Message{ID: uuid.New(), Created: time.Unix(0, 0), Type: wschannels.Bytes, Data: []byte{}}},
	} {
		b, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got := wschannels.Publication{Message: wschannels.Message{Group: "g", Seq: 7}, Epoch: "e", Saved: true}
		if err := got.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		p.Group, p.Seq, p.Epoch, p.Saved = "g", 7, "e", true // which it leaves alone
		if !got.Created.Equal(p.Created) {
			t.Errorf("created %v, want %v", got.Created, p.Created)
		}
		m, want := got.Message, p.Message
		if m.ID != want.ID || m.Group != want.Group || m.Seq != want.Seq || m.Type != want.Type || !reflect.DeepEqual(m.Data, want.Data) {
			t.Errorf("got %+v\nwant %+v", m, want)
		}
		got.Message = want // which may know more than was written
		if !reflect.DeepEqual(got, p) {
			t.Errorf("got %+v\nwant %+v", got, p)
		}
	}
}

func TestAPublicationThatNobodyWroteIsAnError(t *testing.T) {
	p := wschannels.Publication{
		Message: wschannels.Message{ID: uuid.New(), Type: wschannels.Text, Data: []byte("x")},
		Except:  []uuid.UUID{uuid.New()},
	}
	good, err := p.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	const fixed = 26
	with := func(i int, c byte) []byte { b := bytes.Clone(good); b[i] = c; return b }
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "cut": good[:fixed], "cut in except": good[:fixed+10],
		"version": with(0, 9), "type": with(1, 5), "not UTF-8": with(len(good)-1, 0xff),
		"more except than there is": with(fixed, 2), "endless except": append(good[:fixed:fixed], bytes.Repeat([]byte{0xff}, 11)...),
	} {
		got := p
		if err := got.UnmarshalBinary(b); err == nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
	if _, err := (&wschannels.Publication{Message: wschannels.Message{Type: 9}}).MarshalBinary(); !errors.As(err, new(*wschannels.PayloadError)) {
		t.Errorf("a payload type that there is not: %v", err)
	}
}

func FuzzPublication(f *testing.F) {
	p := wschannels.Publication{Message: wschannels.Message{ID: uuid.New(), Data: []byte("{}")}, Save: true, Except: []uuid.UUID{uuid.New()}}
	good, _ := p.MarshalBinary()
	f.Add(good)
	f.Add(good[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, again wschannels.Publication
		if p.UnmarshalBinary(b) != nil {
			return
		}
		out, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalBinary(out); err != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("%+v, then %+v, %v", p, again, err)
		}
	})
}
