package natsbroker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/wschannels/wschannels"
)

// Presence is one stream, with two kinds of subjects: "n", of a node, whose last message is
// its lease, and "e", of an entry, in a group, of a node. Changes of entries go to those
// who are subscribed to the group, on the subject that batches come on.
func (b *Broker) presenceConfig() jetstream.StreamConfig {
	p := b.opts.Prefix
	return jetstream.StreamConfig{
		Name:              p + "-presence",
		Subjects:          []string{p + ".p.n.*", p + ".p.e.*.*.*"},
		MaxMsgsPerSubject: 1,
		Storage:           storage(b.opts.Storage),
		Replicas:          b.opts.Replicas,
		AllowDirect:       true,
		AllowMsgTTL:       true,
		RePublish: &jetstream.RePublish{
			Source:      p + ".p.e.*.*.*",
			Destination: p + ".d.{{wildcard(1)}}",
		},
	}
}

// presenceVersion begins an entry. It is no batchVersion: both come on the same subjects.
const presenceVersion = 2

// goneFor is how long NATS remembers that an entry has gone.
const goneFor = time.Second

type presence struct {
	stream *stream

	mu    sync.Mutex // guards what follows
	ahead time.Duration
	known bool            // ahead is: how far the clock of the stream's leader is ahead of this one
	alive map[string]bool // nodes, as the last Renew has seen; nil: there was none
}

// An entry as it is carried, after presenceVersion. Node and group are in the subject, too,
// where they are needed to find it.
type presenceEntry struct {
	ID    uuid.UUID `json:"id"`
	User  string    `json:"user,omitempty"`
	Node  string    `json:"node"`
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	Gone  bool      `json:"gone,omitempty"`
}

func encodeEntry(e *wschannels.PresenceEntry) ([]byte, error) {
	body, err := json.Marshal((*presenceEntry)(e))
	return append([]byte{presenceVersion}, body...), err
}

func decodeEntry(p []byte) (e wschannels.PresenceEntry, err error) {
	if len(p) == 0 || p[0] != presenceVersion {
		return e, errNotEntry
	}
	if err = json.Unmarshal(p[1:], (*presenceEntry)(&e)); err == nil && !validName(e.Node) {
		err = errNotEntry
	}
	return e, err
}

var (
	errNotEntry    = errors.New("wschannels: not a presence entry")
	errInvalidNode = errors.New("natsbroker: invalid name of a node")
)

// ask begins a call about presence.
func (p *presence) ask(ctx context.Context) (context.Context, context.CancelFunc, error) {
	ctx, cancel, err := p.stream.b.call(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := p.stream.ready(ctx); err != nil {
		cancel()
		return nil, nil, err
	}
	return ctx, cancel, nil
}

// Renew is [wschannels.PresenceBroker]'s.
func (b *Broker) Renew(ctx context.Context, node string, lease time.Duration) ([]string, error) {
	if !validName(node) {
		return nil, errInvalidNode
	}
	ctx, cancel, err := b.presence.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	body := binary.BigEndian.AppendUint64([]byte{presenceVersion}, uint64(lease))
	body = append(body, node...)
	if err := b.presence.store(ctx, b.opts.Prefix+".p.n."+token(node), body, lease+time.Second); err != nil {
		return nil, b.failure(ctx, err)
	}
	leases, err := b.presence.leases(ctx, token(node))
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	var alive []string
	for name := range leases {
		alive = append(alive, name)
	}
	if err := b.presence.sweep(ctx, leases); err != nil {
		return nil, b.failure(ctx, err)
	}
	return alive, nil
}

// store keeps body as the last message of subject for ttl.
func (p *presence) store(ctx context.Context, subject string, body []byte, ttl time.Duration) error {
	return p.stream.publishAll(ctx, []*nats.Msg{{Subject: subject, Data: body, Header: ttlHeader(ttl)}})
}

// leases returns the nodes whose lease runs. Whether it does, goes by the clock of the
// stream's leader, which has stamped each renewal: just, if not empty, has been renewed
// just now, and so tells what that clock says.
func (p *presence) leases(ctx context.Context, just string) (map[string]bool, error) {
	type lease struct {
		node string
		ends time.Time
	}
	var all []lease
	prefix := p.stream.b.opts.Prefix + ".p.n."
	err := p.stream.read(ctx, prefix+"*", 1, func(m *stored) bool {
		if just != "" && m.subject == prefix+just {
			p.mu.Lock()
			p.ahead, p.known = time.Until(m.when), true
			p.mu.Unlock()
		}
		if len(m.data) > 9 && m.data[0] == presenceVersion {
			ends := m.when.Add(time.Duration(binary.BigEndian.Uint64(m.data[1:])))
			all = append(all, lease{string(m.data[9:]), ends})
		}
		return true
	})
	p.mu.Lock()
	now := time.Now().Add(p.ahead)
	p.mu.Unlock()
	running := make(map[string]bool, len(all))
	for _, l := range all {
		if now.Before(l.ends) {
			running[l.node] = true
		}
	}
	return running, err
}

// sweep removes the entries of nodes that were alive at the last Renew and are not now; the
// first time, of all that are not.
func (p *presence) sweep(ctx context.Context, alive map[string]bool) error {
	p.mu.Lock()
	was := p.alive
	p.alive = alive
	p.mu.Unlock()
	dead := make(map[string]bool) // tokens
	for node := range was {
		if !alive[node] {
			dead[token(node)] = true
		}
	}
	prefix := p.stream.b.opts.Prefix + ".p.e."
	if was == nil {
		err := p.stream.read(ctx, prefix+">", 1, func(m *stored) bool {
			if parts := strings.Split(m.subject[len(prefix):], "."); len(parts) == 3 {
				if node, ok := untoken(parts[1]); !ok || !alive[node] {
					dead[parts[1]] = true
				}
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	for node := range dead {
		if err := p.stream.purge(ctx, prefix+"*."+node+".*", 0); err != nil {
			return err
		}
	}
	return nil
}

// SetPresence is [wschannels.PresenceBroker]'s. Where it fails, some of entries may have
// been recorded.
func (b *Broker) SetPresence(ctx context.Context, group string, entries ...wschannels.PresenceEntry) error {
	if !validName(group) {
		return wschannels.ErrInvalidGroup
	}
	for i := range entries {
		if !validName(entries[i].Node) {
			return errInvalidNode
		}
	}
	ctx, cancel, err := b.presence.ask(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	prefix := b.opts.Prefix + ".p.e." + token(group) + "."
	msgs := make([]*nats.Msg, len(entries))
	for i := range entries {
		body, err := encodeEntry(&entries[i])
		if err != nil {
			return err
		}
		msgs[i] = &nats.Msg{Subject: prefix + token(entries[i].Node) + "." + entries[i].ID.String(), Data: body}
		if entries[i].Gone {
			msgs[i].Header = ttlHeader(goneFor)
		}
	}
	err = b.presence.stream.publishAll(ctx, msgs)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return b.failure(ctx, err)
	case err != nil:
		return b.unsure(ctx, err)
	}
	return nil
}

// Presence is [wschannels.PresenceBroker]'s.
func (b *Broker) Presence(ctx context.Context, group string) ([]wschannels.PresenceEntry, error) {
	if !validName(group) {
		return nil, wschannels.ErrInvalidGroup
	}
	ctx, cancel, err := b.presence.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if err := b.presence.clock(ctx); err != nil {
		return nil, b.failure(ctx, err)
	}
	alive, err := b.presence.leases(ctx, "")
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	var entries []wschannels.PresenceEntry
	err = b.presence.stream.read(ctx, b.opts.Prefix+".p.e."+token(group)+".*.*", 1, func(m *stored) bool {
		if e, err := decodeEntry(m.data); err == nil && !e.Gone && alive[e.Node] {
			entries = append(entries, e)
		}
		return true
	})
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	return entries, nil
}

// clock finds out what the clock of the stream's leader says, unless a Renew has.
func (p *presence) clock(ctx context.Context) error {
	p.mu.Lock()
	known := p.known
	p.mu.Unlock()
	if known {
		return nil
	}
	const just = "=" // no name's token
	if err := p.store(ctx, p.stream.b.opts.Prefix+".p.n."+just, []byte{0}, time.Second); err != nil {
		return err
	}
	_, err := p.leases(ctx, just)
	return err
}

// appear hands on a change of presence.
func (s *shard) appear(t *topic, m *nats.Msg) {
	e, err := decodeEntry(m.Data)
	if err != nil {
		s.reject(t, err)
		return
	}
	t.mu.Lock()
	subs := t.subs
	t.mu.Unlock()
	for _, sub := range subs {
		sub.s.Appear(t.group, e)
	}
}
