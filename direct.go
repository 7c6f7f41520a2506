package wschannels

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// direct is what a box with a [RequestBroker] has, to send to one channel or one user of
// another box, and to be sent to.
//
// The IDs of its channels are UUIDs of version 8 (RFC 9562 section 5.8) that begin with
// the tag of the box, which listens at the tag's address: who sends to one asks that box,
// and no other. Where a channel has another ID, the box listens at that one's address.
type direct struct {
	box       *ChannelBox
	engine    *engine
	tag       tag
	listening *listening

	mu           sync.Mutex // guards what follows
	waiting      int        // deliveries of others that wait for room
	waitingBytes int
}

const tagLen = 6

// A tag stands for a box, in the IDs of its channels.
type tag [tagLen]byte

// Bounds of what a box keeps for others.
const (
	maxWaiting      = 1024 // deliveries that wait for room
	maxWaitingBytes = 64 << 20
)

// goDirect gives b its direct, if it was given a broker that can ask others.
func (b *ChannelBox) goDirect() {
	if b.ours || b.engine.requests == nil {
		return
	}
	sum := sha256.Sum256([]byte(b.node))
	d := &direct{box: b, engine: b.engine, tag: tag(sum[:tagLen])}
	d.listening = newListening(b.engine, d, b.brokerFailed)
	b.direct, b.users.remote = d, newRemoteUsers(b.users, d)
	d.listening.update(d.tag.address(), nodeSubject{b})
}

// Addresses: of a box, of a channel that has an ID of another kind, of a user.
const userPrefix = "u/"

func (t tag) address() string            { return "n/" + hex.EncodeToString(t[:]) }
func channelAddress(id uuid.UUID) string { return "c/" + id.String() }
func userAddress(user string) string     { return userPrefix + user }

// mark puts t into id, which is random.
func (t tag) mark(id uuid.UUID) uuid.UUID {
	copy(id[:], t[:])
	id[6] = id[6]&0x0F | 8<<4
	return id
}

// tagOf returns the tag in id, which may be one that somebody chose.
func tagOf(id uuid.UUID) (t tag, ok bool) { return tag(id[:tagLen]), id.Version() == 8 }

// nodeSubject has the box listen at its tag's address.
type nodeSubject struct{ box *ChannelBox }

func (s nodeSubject) wanted() bool              { return !s.box.isShutDown() }
func (s nodeSubject) needs() bool               { return s.wanted() }
func (s nodeSubject) run(context.Context) error { return nil }
func (s nodeSubject) away()                     {}

// channelSubject has the box listen at the address of a channel that is in it.
type channelSubject struct {
	box *ChannelBox
	id  uuid.UUID
}

func (s channelSubject) wanted() bool {
	_, ok := s.box.registry.Get(s.id)
	return ok
}
func (s channelSubject) needs() bool               { return s.wanted() }
func (s channelSubject) run(context.Context) error { return nil }
func (s channelSubject) away()                     {}

// moved is told that c has come into the box, or left it.
func (d *direct) moved(c *Channel) {
	if d == nil {
		return
	}
	if t, ok := tagOf(c.id); !ok || t != d.tag {
		d.listening.update(channelAddress(c.id), channelSubject{d.box, c.id})
	}
}

// send sends payload to the channel with that ID of another box.
func (d *direct) send(ctx context.Context, id uuid.UUID, payload any) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t, data, err := canonical(d.box.opts.Channel.Codec, payload)
	if err != nil {
		return counted(err, &d.box.counters.panics)
	}
	r := &request{kind: toChannel, from: d.tag, id: id, Type: t, data: data}
	if t, ok := tagOf(id); ok && t != d.tag {
		if err := d.sendAt(ctx, t.address(), r); err != ErrNoSuchChannel {
			return err
		} // unless it came back to another box, with the ID that it had
	}
	return d.sendAt(ctx, channelAddress(id), r)
}

// sendAt sends r to the channel that is reached by address. A channel without room is
// asked again, as each trial ends with BrokerTimeout.
func (d *direct) sendAt(ctx context.Context, address string, r *request) error {
	for {
		limit := d.engine.timeout
		deadline, ok := ctx.Deadline()
		last := ok && time.Until(deadline) <= limit
		if last {
			limit = time.Until(deadline)
		}
		r.wait = max(0, limit-min(limit/10, 50*time.Millisecond)) // for the answer to come in time
		a, err := d.ask(ctx, address, r)
		switch {
		case err == ErrNobody:
			return ErrNoSuchChannel
		case err != nil:
			return err
		}
		if err = a.err(); err != errNoRoom {
			return err
		}
		if last {
			<-ctx.Done()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// ask sends a request, and returns the first answer. The error of having nobody to ask is
// ErrNobody itself.
func (d *direct) ask(ctx context.Context, address string, r *request) (answer, error) {
	b, err := d.engine.request(ctx, address, r.marshal())
	if errors.Is(err, ErrNobody) {
		return answer{}, ErrNobody
	}
	if err != nil {
		return answer{}, err
	}
	return parseAnswer(b)
}

// Hear is the broker's way in.
func (d *direct) Hear(address string, data []byte, reply func([]byte)) {
	r, err := parseRequest(data)
	user, ofUser := strings.CutPrefix(address, userPrefix)
	if err != nil || (r.kind == toChannel) == ofUser || ofUser && !validName(user) {
		d.box.brokerFailed(errNotRequest)
		return
	}
	answer := func(a answer) {
		a.from = d.tag
		reply(a.marshal())
	}
	switch r.kind {
	case toChannel:
		d.deliver(r, answer)
	case toUser:
		d.box.users.remote.hear(user, r, answer)
	case ring:
		d.box.users.remote.rung(user)
		answer(answerOf(nil))
	}
}

// Interrupted is the broker's, too.
func (d *direct) Interrupted(address string) {
	if user, ok := strings.CutPrefix(address, userPrefix); ok {
		d.box.users.remote.missed(user)
	}
}

// deliver does what Channel.Send does, waiting included: but that on a goroutine.
func (d *direct) deliver(r *request, done func(answer)) {
	c, ok := d.box.registry.Get(r.id)
	if !ok {
		done(answerOf(ErrNoSuchChannel))
		return
	}
	if err := c.writable(context.Background()); err != nil {
		done(answerOf(err))
		return
	}
	f, err := c.pack(c.opts.PayloadType, c.opts.PayloadType.frameType(), Message{Type: r.Type, Data: r.data})
	if err != nil {
		done(answerOf(err))
		return
	}
	s, err := c.queue.try(f, false)
	switch {
	case s == nil:
		done(answerOf(c.queued(f, err)))
	case d.mayWait(f.size()):
		go func() { // ends with the wait, the channel, or BrokerTimeout
			defer d.waited(f.size())
			ctx, cancel := context.WithTimeoutCause(context.Background(), min(r.wait, d.engine.timeout), errNoRoom)
			defer cancel()
			done(answerOf(c.queued(f, c.queue.await(ctx, s))))
		}()
	case c.queue.giveUp(s):
		done(answerOf(errTooBusy))
	default: // it has just had its turn
		done(answerOf(c.queued(f, c.queue.await(context.Background(), s))))
	}
}

// mayWait counts one more delivery that waits, if there may be one.
func (d *direct) mayWait(size int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting >= maxWaiting || size > maxWaitingBytes-d.waitingBytes {
		return false
	}
	d.waiting++
	d.waitingBytes += size
	return true
}

func (d *direct) waited(size int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
	d.waitingBytes -= size
}

// close waits until what the end of the channels has begun is done, or ctx ends.
func (d *direct) close(ctx context.Context) error {
	if d == nil {
		return nil
	}
	d.listening.update(d.tag.address(), nodeSubject{d.box})
	err := d.listening.close(ctx)
	d.box.users.remote.close() // nothing is heard any more
	return err
}
