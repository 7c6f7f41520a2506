package redisbroker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// answerTime bounds how long an answer tries to get through.
const answerTime = 5 * time.Second

// A desk is what waits for answers to this broker's requests.
type desk struct {
	mu      sync.Mutex // guards what follows
	last    uint64
	waiting map[uint64]*question
}

// A question waits for the first answer, or until all who got it have said that nobody is there.
type question struct {
	answer chan reply // of one
	asked  int64      // how many have got it; known when it has been sent
	nobody int64      // how many have said that
}

type reply struct {
	data []byte
	err  error
}

// Interrupted makes a desk a member of its topic; the calls know of the outage already.
func (d *desk) Interrupted(string) {}

func (d *desk) open() (id uint64, answer <-chan reply) {
	q := &question{answer: make(chan reply, 1), asked: -1}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = make(map[uint64]*question)
	}
	d.last++
	d.waiting[d.last] = q
	return d.last, q.answer
}

func (d *desk) forget(id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waiting, id)
}

// answer hands r to the request of that number, if it still waits and has no answer.
func (d *desk) answer(id uint64, r reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.waiting[id]; q != nil {
		q.answer <- r
		delete(d.waiting, id)
	}
}

// sent says how many have got the request of that number.
func (d *desk) sent(id uint64, n int64) { d.count(id, func(q *question) { q.asked = n }) }

// nobody says that one of them has no listener.
func (d *desk) nobody(id uint64) { d.count(id, func(q *question) { q.nobody++ }) }

func (d *desk) count(id uint64, change func(q *question)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.waiting[id]
	if q == nil {
		return
	}
	if change(q); q.nobody == q.asked {
		q.answer <- reply{err: wschannels.ErrNobody}
		delete(d.waiting, id)
	}
}

// fail ends all waiting.
func (d *desk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, q := range d.waiting {
		q.answer <- reply{err: err}
		delete(d.waiting, id)
	}
}

// Listen is [wschannels.RequestBroker]'s.
func (b *Broker) Listen(ctx context.Context, address string, l wschannels.Listener) error {
	return b.join(ctx, ofAddress, address, l)
}

// Unlisten is [wschannels.RequestBroker]'s.
func (b *Broker) Unlisten(ctx context.Context, address string, l wschannels.Listener) error {
	return b.part(ctx, b.channel(ofAddress, address), l)
}

// Request is [wschannels.RequestBroker]'s. How many may have a listener, Redis says when it has
// passed the request on; which of these have none any more, they say.
func (b *Broker) Request(ctx context.Context, address string, data []byte) ([]byte, error) {
	if err := b.join(ctx, ofBroker, b.token, &b.desk); err != nil { // the first, or after an outage
		return nil, err
	}
	id, answer := b.desk.open()
	defer b.desk.forget(id)
	channel := b.channel(ofAddress, address)
	n, err := b.ask(ctx, channel, b.request(id, data))
	if err != nil {
		return nil, err
	}
	b.desk.sent(id, n)
	select {
	case r := <-answer:
		return r.data, r.err
	case <-b.ctx.Done():
		return nil, fmt.Errorf("redisbroker: %w: no answer: %w", wschannels.ErrUnknownOutcome, wschannels.ErrClosed)
	case <-ctx.Done():
		return nil, because(wschannels.ErrUnknownOutcome, context.Cause(ctx))
	}
}

// PUBLISH would count those who hear a pattern, too, as tools do.
var askScript = rueidis.NewLuaScript(`
redis.call('PUBLISH', KEYS[1], ARGV[1])
return redis.call('PUBSUB', 'NUMSUB', KEYS[1])[2]`)

// ask publishes s to channel, and returns how many are subscribed to that and got it.
func (b *Broker) ask(ctx context.Context, channel, s string) (int64, error) {
	if b.shards != nil { // there are no patterns
		return b.send(ctx, channel, s)
	}
	if _, err := b.enter(ctx, channel); err != nil {
		return 0, err
	}
	defer b.leave()
	n, err := askScript.Exec(ctx, b.client, []string{channel}, []string{s}).AsInt64()
	if err != nil {
		return 0, failure(ctx, false, err)
	}
	return n, nil
}

// send publishes s to channel, and returns how many connections got it.
func (b *Broker) send(ctx context.Context, channel, s string) (int64, error) {
	if _, err := b.enter(ctx, channel); err != nil {
		return 0, err
	}
	defer b.leave()
	cmd := b.client.B().Publish().Channel(channel).Message(s).Build()
	if b.shards != nil {
		cmd = b.client.B().Spublish().Channel(channel).Message(s).Build()
	}
	n, err := b.client.Do(ctx, cmd).AsInt64()
	if err != nil {
		return 0, failure(ctx, false, err)
	}
	return n, nil
}

// request is what is sent: 'q', the token of the broker that asks, the request's number, a
// space, and data. The answer is 'a', the number, a space, and data; or 'n' and the number: nobody
// is there.
func (b *Broker) request(id uint64, data []byte) string {
	return "q" + b.token + strconv.FormatUint(id, 10) + " " + rueidis.BinaryString(data)
}

// requested hands a request to those who listen.
func (l *link) requested(m rueidis.PubSubMessage) {
	number, data, ok := strings.Cut(m.Message[1:], " ")
	if !ok || len(number) <= epochLen || !isToken(number[:epochLen]) {
		l.b.garbage(m.Channel)
		return
	}
	asker := strings.Clone(number[:epochLen])
	id, err := strconv.ParseUint(number[epochLen:], 10, 64)
	if err != nil {
		l.b.garbage(m.Channel)
		return
	}
	l.b.mu.Lock()
	var name string
	var ears []wschannels.Listener
	if t := l.b.topics[m.Channel]; t != nil {
		name, ears = t.name, t.ears
	}
	l.b.mu.Unlock()
	if len(ears) == 0 { // it was on its way when the last one went
		l.b.answer(asker, "n"+strconv.FormatUint(id, 10))
	}
	for _, ear := range ears {
		var once sync.Once
		ear.Hear(name, []byte(data), func(data []byte) {
			once.Do(func() { l.b.answer(asker, "a"+strconv.FormatUint(id, 10)+" "+rueidis.BinaryString(data)) })
		})
	}
}

// answer sends an answer without waiting for that.
func (b *Broker) answer(asker, s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.wg.Go(func() {
		ctx, cancel := context.WithTimeout(b.ctx, answerTime)
		defer cancel()
		_, _ = b.send(ctx, b.channel(ofBroker, asker), s) // who asked hears of an outage, or waits
	})
}

// answered hands an answer to the request that waits for it.
func (l *link) answered(m rueidis.PubSubMessage) {
	number, data, hasData := strings.Cut(m.Message[1:], " ")
	id, err := strconv.ParseUint(number, 10, 64)
	nobody := m.Message[0] == 'n'
	switch {
	case err != nil, hasData == nobody, m.Channel != l.b.inbox:
		l.b.garbage(m.Channel)
	case nobody:
		l.b.desk.nobody(id)
	default:
		l.b.desk.answer(id, reply{data: []byte(data)})
	}
}
