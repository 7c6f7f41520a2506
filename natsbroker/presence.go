package natsbroker

import (
	"context"
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
	known bool             // ahead is: how far the clock of the stream's leader is ahead of this one
	alive map[string]bool  // nodes, as the last Renew has seen; nil: there was none
	seen  map[string]lease // of nodes, by token, as was read last
	junk  uint64           // sequence of the last that no broker has stored, and that was told of
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
	alive, _, err := b.presence.leases(ctx, "")
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	var entries []wschannels.PresenceEntry
	var junk []*stored
	err = b.presence.stream.read(ctx, b.opts.Prefix+".p.e."+token(group)+".*.*", 1, func(m *stored) bool {
		switch e, err := decodeEntry(m.data); {
		case err != nil || !strings.HasSuffix(m.subject, "."+token(e.Node)+"."+e.ID.String()):
			junk = append(junk, m)
		case !e.Gone && alive[e.Node]:
			entries = append(entries, e)
		}
		return true
	})
	for _, m := range junk {
		if err == nil {
			err = b.presence.stream.discard(ctx, m, func(err error) { b.reject("an entry of presence", err) }, errNotEntry)
		}
	}
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	return entries, nil
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
