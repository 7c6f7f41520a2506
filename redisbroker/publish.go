package redisbroker

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// costOf is what a message counts in a history beside its payload; see HistoryLimits.Bytes.
const costOf = 128

// Publish is [wschannels.Broker]'s. One script gives the place, saves and publishes, so that
// all of that happens or nothing does.
func (b *Broker) Publish(ctx context.Context, p *wschannels.Publication) error {
	channel := b.channel(ofGroup, p.Group)
	created := p.Created
	if created.IsZero() {
		created = time.Now()
	}
	out := wschannels.Publication{Message: p.Message, Save: p.Save, Except: p.Except}
	out.Created = created
	data, err := out.MarshalBinary()
	if err != nil {
		return err
	}
	cost := 0
	if p.Save {
		cost = len(p.Data) + costOf
	}
	known, err := b.enter(ctx, channel)
	if err != nil {
		return err
	}
	defer b.leave()
	parcel := &parcel{keys: [2]string{channel + "order", channel + "log"}, args: [6]string{known.epoch,
		strconv.FormatUint(known.seq, 10), rueidis.BinaryString(data), strconv.Itoa(cost),
		strconv.FormatInt(created.UnixMilli(), 10), channel}}
	if err := b.post(ctx, parcel); err != nil {
		return err
	}
	reply := parcel.reply
	at, err := position(reply)
	if err != nil {
		return err
	}
	saved, err := reply[2].AsInt64()
	if err != nil {
		return err
	}
	p.Epoch, p.Seq, p.Saved = at.Epoch, at.Seq, saved == 1
	return nil
}

// Position is [wschannels.Broker]'s.
func (b *Broker) Position(ctx context.Context, group string) (wschannels.Position, error) {
	return b.at(ctx, true, positionScript, group)
}

// at runs a script about group that returns its position.
func (b *Broker) at(ctx context.Context, read bool, script *rueidis.Lua, group string) (at wschannels.Position, err error) {
	channel := b.channel(ofGroup, group)
	known, err := b.enter(ctx, channel)
	if err != nil {
		return at, err
	}
	defer b.leave()
	keys, args := b.groupArgs(channel, known)
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

// readPublication reads what the script published: 'p', the epoch, whether it is saved, the
// seq, a space, and the publication's own form.
func readPublication(p *wschannels.Publication, s string) error {
	if len(s) < 1+epochLen+1 {
		return errGarbage
	}
	epoch, saved := s[1:1+epochLen], s[1+epochLen]
	digits, data, ok := strings.Cut(s[1+epochLen+1:], " ")
	seq, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || seq == 0 || saved != '0' && saved != '1' || !isToken(epoch) {
		return errGarbage
	}
	if err := p.UnmarshalBinary([]byte(data)); err != nil {
		return err
	}
	p.Epoch, p.Seq, p.Saved = strings.Clone(epoch), seq, saved == '1'
	return nil
}

func isToken(s string) bool {
	return len(s) == epochLen && strings.Trim(s, "0123456789abcdef") == ""
}
