package natsbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/wschannels/wschannels"
)

// requests are what this node listens to.
type requests struct {
	b     *Broker
	inlet // of all addresses; it is stirred when all listeners are to be told that they were interrupted

	mu        sync.Mutex // guards what follows
	addresses map[string]*address
	leaving   []*nats.Subscription      // that NATS may not have ended yet
	absences  map[*nats.Msg]*time.Timer // requests without a listener here, and not answered yet
}

// An address is one that somebody here listens to.
type address struct {
	name      string
	sub       *nats.Subscription
	listeners []wschannels.Listener
	dropped   int // by sub, that have been told of
}

func (r *requests) init(b *Broker) {
	r.b, r.inlet = b, newInlet()
	r.addresses, r.absences = make(map[string]*address), make(map[*nats.Msg]*time.Timer)
}

func (b *Broker) requestSubject(token string) string { return b.opts.Prefix + ".r." + token }

// What an answer begins with: an empty message would be NATS's own.
const (
	answered = 1
	absent   = 2 // nobody listens here; nothing follows
)

var (
	errInvalidAddress = errors.New("natsbroker: invalid address")
	errNoReply        = errors.New("wschannels: it cannot be answered")
)

// Listen is [wschannels.RequestBroker]'s.
func (b *Broker) Listen(ctx context.Context, address string, l wschannels.Listener) error {
	if !validAddress(address) {
		return errInvalidAddress
	}
	ctx, cancel, err := b.call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := b.order.ready(ctx); err != nil {
		return err
	}
	added, err := b.requests.add(address, l)
	if err == nil {
		err = b.leader(ctx)
	}
	if err != nil {
		if added {
			b.requests.remove(address, l)
		}
		return b.failure(ctx, err)
	}
	return context.Cause(b.closing)
}

func (r *requests) add(name string, l wschannels.Listener) (added bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := token(name)
	a := r.addresses[key]
	if a == nil {
		a = &address{name: name}
		if a.sub, err = r.b.nc.ChanSubscribe(r.b.requestSubject(key), r.msgs); err != nil {
			return false, err
		}
		r.addresses[key] = a
	}
	if slices.Contains(a.listeners, l) {
		return false, nil
	}
	a.listeners = append(slices.Clone(a.listeners), l)
	return true, nil
}

func (r *requests) remove(name string, l wschannels.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := token(name)
	a := r.addresses[key]
	if a == nil {
		return
	}
	a.listeners = slices.DeleteFunc(slices.Clone(a.listeners), func(o wschannels.Listener) bool { return o == l })
	if len(a.listeners) == 0 {
		delete(r.addresses, key)
		r.leave(a.sub)
	}
}

// Unlisten is [wschannels.RequestBroker]'s.
func (b *Broker) Unlisten(ctx context.Context, address string, l wschannels.Listener) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case b.closing.Err() != nil:
		return context.Cause(b.closing)
	case !validAddress(address):
		return errInvalidAddress
	}
	b.requests.remove(address, l)
	return nil
}

// Request is [wschannels.RequestBroker]'s.
func (b *Broker) Request(ctx context.Context, address string, data []byte) ([]byte, error) {
	if !validAddress(address) {
		return nil, errInvalidAddress
	}
	if limit := int(b.nc.MaxPayload()); limit > 0 && len(data) > limit {
		return nil, fmt.Errorf("%w for NATS: %d bytes, and max_payload is %d", wschannels.ErrTooLarge, len(data), limit)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	up, err := b.link.up()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(up, func() { cancel(context.Cause(up)) })()
	if _, ok := ctx.Deadline(); !ok { // what waits for ever for who will not answer
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, b.opts.RequestTimeout, errSilent)
		defer stop()
	}
	m, err := b.nc.RequestWithContext(ctx, b.requestSubject(token(address)), data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, wschannels.ErrNobody
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return nil, b.failure(ctx, err)
	case err != nil:
		return nil, b.unsure(ctx, err)
	case len(m.Data) > 0 && m.Data[0] == answered:
		return m.Data[1:], nil
	case len(m.Data) == 1 && m.Data[0] == absent:
		return nil, wschannels.ErrNobody
	}
	return nil, fmt.Errorf("%w: not an answer", wschannels.ErrUnknownOutcome)
}

// run hands on requests until the broker is closed.
func (r *requests) run() {
	r.inlet.run(r.b.closing.Done(), r.hear,
		func() { r.tellInterrupted(func(*address) bool { return true }) },
		func() { r.tellInterrupted((*address).hasDropped) })
}

// hasDropped reports whether messages came for which there was no room. The mu of requests
// is held.
func (a *address) hasDropped() bool {
	n, err := a.sub.Dropped()
	was := a.dropped
	a.dropped = n
	return err == nil && n != was
}

func (r *requests) tellInterrupted(which func(*address) bool) {
	r.mu.Lock()
	var told []address
	for _, a := range r.addresses {
		if which(a) {
			told = append(told, *a)
		}
	}
	r.mu.Unlock()
	for _, a := range told {
		for _, l := range a.listeners {
			l.Interrupted(a.name)
		}
	}
}

func (r *requests) hear(m *nats.Msg) {
	if m.Reply == "" {
		r.b.reject("a request", errNoReply)
		return
	}
	r.mu.Lock()
	var name string
	var listeners []wschannels.Listener
	if a := r.addresses[strings.TrimPrefix(m.Subject, r.b.requestSubject(""))]; a != nil {
		name, listeners = a.name, a.listeners
	}
	r.mu.Unlock()
	if len(listeners) == 0 {
		r.absence(m)
	}
	for _, l := range listeners {
		l.Hear(name, m.Data, func(data []byte) {
			if r.b.nc.IsConnected() { // or it would be sent some time
				_ = m.Respond(append([]byte{answered}, data...)) // who asked sees that none comes
			}
		})
	}
}

// end stops listening. Nothing of the broker runs any more.
func (r *requests) end() {
	r.mu.Lock()
	for key, a := range r.addresses {
		delete(r.addresses, key)
		r.leave(a.sub)
	}
	connected := r.b.nc.IsConnected()
	r.mu.Unlock()
	if connected && r.b.nc.FlushTimeout(time.Second) == nil { // nothing more comes
		for len(r.msgs) > 0 {
			r.absence(<-r.msgs)
		}
	}
	r.abandon()
	r.mu.Lock()
	defer r.mu.Unlock()
	for m, timer := range r.absences {
		timer.Stop()
		delete(r.absences, m)
		_ = m.Respond([]byte{absent})
	}
	if connected {
		_ = r.b.nc.FlushTimeout(time.Second) // an error is as answers that are lost
	}
}
