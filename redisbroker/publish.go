package redisbroker

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// sizeOf is at least how long p is as it is sent, but for a few bytes.
func sizeOf(p *wschannels.Publication) int { return 48 + 16*len(p.Except) + len(p.Data) }

// Publish is [wschannels.Broker]'s. One script gives the place, saves and publishes, so that
// all of that happens or nothing does.
func (b *Broker) Publish(ctx context.Context, p *wschannels.Publication) error {
	created := p.Created
	if created.IsZero() {
		created = time.Now()
	}
	out := wschannels.Publication{Message: p.Message, Save: p.Save, Except: p.Except}
	out.Created = created
	parcel := &parcel{channel: b.channel(ofGroup, p.Group), created: created.UnixMilli()}
	if cost := len(p.Data) + wschannels.MessageCost; p.Save && cost <= b.opts.History.Bytes {
		parcel.cost = cost
	}
	var err error
	parcel.data, err = appendPublication(make([]byte, 0, sizeOf(p)), &out, parcel.cost > 0)
	if err != nil {
		return err
	}
	if _, err := b.enter(ctx, parcel.channel); err != nil {
		return err
	}
	defer b.leave()
	if err := b.post(ctx, parcel); err != nil {
		return err
	}
	p.Epoch, p.Seq, p.Saved = parcel.at.Epoch, parcel.at.Seq, parcel.cost > 0
	return nil
}

// Position is [wschannels.Broker]'s.
func (b *Broker) Position(ctx context.Context, group string) (wschannels.Position, error) {
	return b.at(ctx, true, b.scripts.position, group)
}

// at runs a script about group that returns its position.
func (b *Broker) at(ctx context.Context, read bool, script *rueidis.Lua, group string) (at wschannels.Position, err error) {
	channel := b.channel(ofGroup, group)
	known, err := b.enter(ctx, channel)
	if err != nil {
		return at, err
	}
	defer b.leave()
	keys, args := groupArgs(channel, known)
	reply, err := b.run(ctx, read, 2, script, keys, args)
	if err != nil {
		return at, err
	}
	return position(reply)
}

func position(reply []rueidis.RedisMessage) (at wschannels.Position, err error) {
	if at.Epoch, err = reply[0].ToString(); err != nil {
		return at, err
	}
	at.Seq, err = reply[1].AsUint64()
	return at, err
}

// epochLen is the length of what newToken returns.
const epochLen = 16

// A push is what the script published: 'p', the first publication's place, and the publications,
// as appendPublication wrote them.
type push struct {
	at   wschannels.Position // of the next publication
	rest []byte
}

func readPush(s string) (push, bool) {
	at, items, ok := readPlace(s[1:])
	return push{at, []byte(items)}, ok && items != ""
}

// next reads one publication into p, all but its Group.
func (m *push) next(p *wschannels.Publication) error {
	if len(m.rest) < itemHead {
		return errGarbage
	}
	saved, size := m.rest[0], uint64(binary.BigEndian.Uint32(m.rest[1:]))
	data := m.rest[itemHead:]
	if saved != '0' && saved != '1' || size > uint64(len(data)) {
		return errGarbage
	}
	if err := p.UnmarshalBinary(data[:size:size]); err != nil {
		return err
	}
	m.rest = data[size:]
	p.Epoch, p.Seq, p.Saved = m.at.Epoch, m.at.Seq, saved == '1'
	m.at.Seq++
	return nil
}

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == epochLen
}
