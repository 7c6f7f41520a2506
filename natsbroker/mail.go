package natsbroker

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
)

// A mailbox is one message of the stream, the last of its user's subject:
//
//	version   1 byte
//	changes   as many IDs of 8 bytes: what was done to it last, newest last
//	ttl       8 bytes, nanoseconds: how old messages get
//	each      uvarint, the length of a publication, and as many bytes; oldest first
const (
	mailVersion = 1
	mailChanges = 8
)

// mailRest is how long an emptied mailbox is remembered: longer than anybody waits to hear
// what became of a change.
const mailRest = time.Minute

func (b *Broker) mailConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              b.opts.Prefix + "-mail",
		Subjects:          []string{b.opts.Prefix + ".m.*"},
		MaxMsgsPerSubject: 1,
		Storage:           storage(b.opts.Storage),
		Replicas:          b.opts.Replicas,
		AllowDirect:       true,
		AllowMsgTTL:       true,
	}
}

type mailbox struct {
	changes [mailChanges][8]byte
	ttl     time.Duration
	msgs    []wschannels.Message
}

// PutMail is [wschannels.MailboxBroker]'s. A mailbox holds no more than one message of NATS
// carries, whatever limits say.
func (b *Broker) PutMail(ctx context.Context, user string, msgs []wschannels.Message, front bool, limits wschannels.MailboxLimits) (kept, lost int, err error) {
	if len(msgs) == 0 {
		return 0, 0, context.Cause(ctx)
	}
	if limit := int(b.nc.MaxPayload()) - 1024; limit > 0 {
		limits.Bytes = min(limits.Bytes, limit)
	}
	err = b.changeMail(ctx, user, func(box *mailbox) (bool, time.Duration) {
		kept, lost = box.put(msgs, front, limits)
		return true, limits.TTL
	})
	if err != nil {
		return 0, 0, err
	}
	return kept, lost, nil
}

// put adds msgs, and returns how many of them are in the mailbox then, and how many, of them
// and others, are not any more.
func (m *mailbox) put(msgs []wschannels.Message, front bool, limits wschannels.MailboxLimits) (kept, lost int) {
	at := len(m.msgs)
	if front {
		at = 0
	}
	all := slices.Insert(slices.Clone(m.msgs), at, msgs...)
	now := time.Now()
	m.ttl = limits.TTL
	fits := func(i int) bool { return len(all[i].Data)+wschannels.MessageCost <= limits.Bytes }
	from, bytes := len(all), 0
	for ; from > 0; from-- {
		if cost := len(all[from-1].Data) + wschannels.MessageCost; fits(from - 1) {
			if bytes += cost; bytes > limits.Bytes {
				break
			}
		}
	}
	m.msgs = m.msgs[:0:0]
	for i := from; i < len(all); i++ {
		if !fits(i) || m.old(all[i], now) {
			continue
		}
		m.msgs = append(m.msgs, all[i])
		if i >= at && i < at+len(msgs) {
			kept++
		}
	}
	return kept, len(all) - len(m.msgs)
}

func (m *mailbox) old(msg wschannels.Message, now time.Time) bool {
	return now.Sub(msg.Created) >= m.ttl
}

// TakeMail is [wschannels.MailboxBroker]'s.
func (b *Broker) TakeMail(ctx context.Context, user string) (msgs []wschannels.Message, err error) {
	err = b.changeMail(ctx, user, func(box *mailbox) (bool, time.Duration) {
		now := time.Now()
		msgs = slices.DeleteFunc(box.msgs, func(m wschannels.Message) bool { return box.old(m, now) })
		box.msgs = nil
		return len(msgs) > 0, mailRest
	})
	if err != nil {
		return nil, err
	}
	return msgs, nil
}

// changeMail has change applied to the mailbox as it is, once. change returns whether it
// has changed anything, and how long that is of use.
func (b *Broker) changeMail(ctx context.Context, user string, change func(*mailbox) (bool, time.Duration)) error {
	if !validName(user) {
		return wschannels.ErrInvalidUser
	}
	c, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	ctx = c.context()
	if err := b.mail.ready(ctx); err != nil {
		return err
	}
	subject := b.opts.Prefix + ".m." + token(user)
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], rand.Uint64())
	var before [8]byte // the change that came before this one
	doubt := false     // this one may have been stored
	for {
		box, at, err := b.readMail(ctx, subject)
		switch {
		case err != nil && doubt:
			return b.unsure(ctx, err)
		case err != nil:
			return b.failure(ctx, err)
		case slices.Contains(box.changes[:], id): // whatever was said of it
			return nil
		case doubt && !slices.Contains(box.changes[:], before):
			return b.unsure(ctx, errors.New("too much has changed since"))
		}
		before = box.changes[mailChanges-1]
		changed, ttl := change(box)
		if !changed {
			return nil
		}
		copy(box.changes[:], box.changes[1:])
		box.changes[mailChanges-1] = id
		body, err := box.encode()
		if err != nil {
			return err
		}
		doubt, err = b.writeMail(c, subject, at, max(ttl, mailRest), body)
		switch {
		case err == nil:
			return nil
		case isCode(err, codeWrongLast, codeWrongLast2): // somebody else was first, or this was
			pause(ctx, time.Duration(rand.IntN(1000))*time.Microsecond)
		case doubt:
			return b.unsure(ctx, err)
		default:
			return b.failure(ctx, err)
		}
	}
}

// writeMail tries until there is an answer. It also returns whether an earlier try may have
// worked.
func (b *Broker) writeMail(c *call, subject string, at uint64, ttl time.Duration, body []byte) (doubt bool, err error) {
	ctx := c.context()
	for {
		_, err = b.mail.swap(c, b.patience(), subject, subject, at, ttl, body)
		refused := new(apiError)
		switch {
		case err == nil, errors.As(err, &refused), errors.Is(err, nats.ErrReconnectBufExceeded):
			return doubt, err
		case errors.Is(err, nats.ErrNoResponders) && !doubt:
			if b.mail.again(ctx) != nil {
				return false, err
			}
			return false, &apiError{ErrCode: codeWrongLast, Description: "the stream is a new one"}
		}
		if doubt = true; ctx.Err() != nil || b.nc.IsClosed() {
			return true, err
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// readMail returns a mailbox, an empty one if there is none, and its place in the stream.
func (b *Broker) readMail(ctx context.Context, subject string) (*mailbox, uint64, error) {
	for {
		m, err := b.mail.last(ctx, subject)
		if errors.Is(err, nats.ErrNoResponders) && b.mail.again(ctx) == nil {
			m, err = b.mail.last(ctx, subject)
		}
		if err != nil || m == nil {
			return &mailbox{}, 0, err
		}
		box, err := decodeMailbox(m.data)
		if err == nil {
			return box, m.seq, nil
		}
		if err := b.mail.discard(ctx, m, func(err error) { b.reject("a mailbox", err) }, err); err != nil {
			return nil, 0, err
		}
	}
}

func (m *mailbox) encode() ([]byte, error) {
	out := []byte{mailVersion}
	for _, id := range m.changes {
		out = append(out, id[:]...)
	}
	out = binary.BigEndian.AppendUint64(out, uint64(m.ttl))
	for _, msg := range m.msgs {
		item, err := (&wschannels.Publication{Message: msg}).MarshalBinary()
		if err != nil {
			return nil, err
		}
		out = binary.AppendUvarint(out, uint64(len(item)))
		out = append(out, item...)
	}
	return out, nil
}

var errNotMailbox = errors.New("wschannels: not a mailbox")

func decodeMailbox(p []byte) (*mailbox, error) {
	const fixed = 1 + 8*mailChanges + 8
	if len(p) < fixed || p[0] != mailVersion {
		return nil, errNotMailbox
	}
	m := &mailbox{}
	for i := range m.changes {
		copy(m.changes[i][:], p[1+8*i:])
	}
	m.ttl = time.Duration(binary.BigEndian.Uint64(p[fixed-8:]))
	for p = p[fixed:]; len(p) > 0; {
		n, size := binary.Uvarint(p)
		if size <= 0 || n > uint64(len(p)-size) {
			return nil, errNotMailbox
		}
		var msg wschannels.Publication
		if err := msg.UnmarshalBinary(p[size : size+int(n) : size+int(n)]); err != nil {
			return nil, err
		}
		m.msgs = append(m.msgs, msg.Message)
		p = p[size+int(n):]
	}
	return m, nil
}
