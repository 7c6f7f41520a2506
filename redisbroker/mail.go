package redisbroker

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

var (
	//go:embed lua/mailput.lua
	mailPutLua string
	//go:embed lua/mailtake.lua
	mailTakeLua string

	mailPutScript  = rueidis.NewLuaScript(mailPutLua)
	mailTakeScript = rueidis.NewLuaScript(mailTakeLua)
)

// PutMail is [wschannels.MailboxBroker]'s. A mailbox goes when the last message in it is too
// old.
func (b *Broker) PutMail(ctx context.Context, user string, msgs []wschannels.Message, front bool, limits wschannels.MailboxLimits) (kept, lost int, err error) {
	name := b.channel(ofUser, user)
	args := make([]string, 0, 3+3*len(msgs))
	args = append(args, strconv.Itoa(limits.Bytes), millis(limits.TTL), flag(front))
	for _, m := range msgs {
		data, err := appendMail(nil, m)
		if err != nil {
			return 0, 0, err
		}
		args = append(args, strconv.FormatInt(m.Created.UnixMilli(), 10), strconv.Itoa(len(m.Data)+wschannels.MessageCost), rueidis.BinaryString(data))
	}
	if _, err := b.enter(ctx, name); err != nil {
		return 0, 0, err
	}
	defer b.leave()
	reply, err := b.run(ctx, false, 2, mailPutScript, mailKeys(name), args)
	if err != nil {
		return 0, 0, err
	}
	k, err1 := reply[0].AsInt64()
	l, err2 := reply[1].AsInt64()
	return int(k), int(l), errors.Join(err1, err2)
}

// TakeMail is [wschannels.MailboxBroker]'s. If it fails with ErrUnknownOutcome, what was in
// the mailbox may be lost. What no broker put there is a zero Message, which a box counts as
// lost and reports.
func (b *Broker) TakeMail(ctx context.Context, user string) ([]wschannels.Message, error) {
	name := b.channel(ofUser, user)
	if _, err := b.enter(ctx, name); err != nil {
		return nil, err
	}
	defer b.leave()
	reply, err := b.run(ctx, false, 0, mailTakeScript, mailKeys(name), nil)
	if err != nil {
		return nil, err
	}
	msgs := make([]wschannels.Message, len(reply))
	for i, r := range reply {
		s, err := r.ToString()
		if err != nil {
			return nil, err
		}
		msgs[i], _ = readMail(s) // the mailbox is empty now: what cannot be read is no reason to lose the rest
	}
	return msgs, nil
}

func mailKeys(name string) []string { return []string{name + "mail", name + "size"} }

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

// appendMail appends m: its group's length and name, its Seq, and a publication's form.
func appendMail(b []byte, m wschannels.Message) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(len(m.Group)))
	b = append(b, m.Group...)
	b = binary.AppendUvarint(b, m.Seq)
	return (&wschannels.Publication{Message: m}).AppendBinary(b)
}

// readMail returns the message that s is; the zero one, and false, if it is none.
func readMail(s string) (m wschannels.Message, ok bool) {
	b := []byte(s)
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return m, false
	}
	group, b := string(b[size:size+int(n)]), b[size+int(n):]
	seq, size := binary.Uvarint(b)
	if size <= 0 {
		return m, false
	}
	var p wschannels.Publication
	if p.UnmarshalBinary(b[size:]) != nil {
		return m, false
	}
	p.Group, p.Seq = group, seq
	return p.Message, true
}
