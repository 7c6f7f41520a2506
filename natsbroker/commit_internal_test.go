package natsbroker

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/wschannels/wschannels"
)

// A group's first message was stored, not answered, and has made room for others by the time
// it is looked for: it is not taken for one that was never stored, and published again.
func TestAFirstMessageThatHasMadeRoomIsNotPublishedAgain(t *testing.T) {
	s := startServer(t)
	b, err := Open(s.ClientURL(), &Options{History: wschannels.HistoryLimits{Bytes: 1000, Len: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	p := wschannels.Publication{Save: true, Message: wschannels.Message{ID: uuid.New(), Group: "room", Data: []byte("x")}}
	for range 3 {
		if err := b.Publish(t.Context(), &p); err != nil {
			t.Fatal(err)
		}
	}
	room, err := b.pin("room")
	if err != nil {
		t.Fatal(err)
	}
	defer room.unpin()
	now, err := room.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if found, err := room.follows(t.Context(), tail{epoch: now.epoch}, [8]byte{1}); err == nil {
		t.Errorf("the first of this order: %+v, and no error", found)
	}
	if found, err := room.follows(t.Context(), tail{epoch: [8]byte{1}}, [8]byte{1}); err != nil || found != nil {
		t.Errorf("the first of another order, which somebody else began: %+v, %v", found, err)
	}
}
