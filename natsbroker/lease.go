package natsbroker

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A lease is what a node has said last of how long it lives. It is the last message of its
// subject:
//
//	version  1 byte, presenceVersion
//	length   8 bytes, nanoseconds from when it was stored
//	node     its name
type lease struct {
	node string
	ends time.Time // by the clock of the stream's leader
}

var errNotLease = errors.New("wschannels: not the lease of a node")

// Renew is [wschannels.PresenceBroker]'s.
func (b *Broker) Renew(ctx context.Context, node string, length time.Duration) ([]string, error) {
	if !validName(node) {
		return nil, errInvalidNode
	}
	ctx, cancel, err := b.presence.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	body := binary.BigEndian.AppendUint64([]byte{presenceVersion}, uint64(length))
	body = append(body, node...)
	if err := b.presence.store(ctx, b.opts.Prefix+".p.n."+token(node), body, length+time.Second); err != nil {
		return nil, b.failure(ctx, err)
	}
	alive, unsure, err := b.presence.leases(ctx, token(node))
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	var names []string
	for name := range alive {
		names = append(names, name)
	}
	if err := b.presence.sweep(ctx, alive, unsure); err != nil {
		return nil, b.failure(ctx, err)
	}
	return names, nil
}

// store keeps body as the last message of subject for ttl.
func (p *presence) store(ctx context.Context, subject string, body []byte, ttl time.Duration) error {
	return p.stream.publishAll(ctx, []*nats.Msg{{Subject: subject, Data: body, Header: ttlHeader(ttl)}})
}

// maxUnsure is how long a lease may be that somebody else has written over: then that goes.
const maxUnsure = time.Hour

// noNode is no name's token.
const noNode = "="

// leases returns the nodes whose lease runs. Whether it does, goes by the clock of the
// stream's leader, which has stamped each renewal: just, if not empty, has been renewed
// just now, and so tells what that clock says.
//
// Where somebody else has written over a lease, it is what this broker has read before. If
// it has not, it is not known whether the node, one of unsure, is alive. That ends as the
// node renews.
func (p *presence) leases(ctx context.Context, just string) (alive, unsure map[string]bool, err error) {
	prefix := p.stream.b.opts.Prefix + ".p.n."
	read := make(map[string]lease)
	var junk []*stored
	err = p.stream.read(ctx, prefix+"*", 1, func(m *stored) bool {
		tok := strings.TrimPrefix(m.subject, prefix)
		if just != "" && tok == just {
			p.mu.Lock()
			p.ahead, p.known = time.Until(m.when), true
			p.mu.Unlock()
		}
		switch l, ok := readLease(m); {
		case tok == noNode:
		case ok && token(l.node) == tok:
			read[tok] = l
		default:
			junk = append(junk, m)
		}
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	alive, unsure = make(map[string]bool), make(map[string]bool)
	var told uint64
	p.mu.Lock()
	for _, m := range junk {
		told = max(told, m.seq)
		tok := strings.TrimPrefix(m.subject, prefix)
		if l, ok := p.seen[tok]; ok {
			read[tok] = l
		} else if node, ok := untoken(tok); ok {
			unsure[node] = true
		}
	}
	p.seen = read
	tell := told > p.junk
	p.junk = max(told, p.junk)
	now := time.Now().Add(p.ahead)
	p.mu.Unlock()
	for _, m := range junk {
		if now.Sub(m.when) > maxUnsure {
			_ = p.stream.api(ctx, "STREAM.MSG.DELETE", map[string]any{"seq": m.seq}, nil) // or another time
		}
	}
	for _, l := range read {
		if now.Before(l.ends) {
			alive[l.node] = true
		}
	}
	if tell {
		p.stream.b.reject("a lease", errNotLease)
	}
	return alive, unsure, nil
}

func readLease(m *stored) (lease, bool) {
	if len(m.data) <= 9 || m.data[0] != presenceVersion {
		return lease{}, false
	}
	return lease{string(m.data[9:]), m.when.Add(time.Duration(binary.BigEndian.Uint64(m.data[1:])))}, true
}

// sweep removes the entries of nodes that were alive at the last Renew and are not now; the
// first time, of all that are not.
func (p *presence) sweep(ctx context.Context, alive, unsure map[string]bool) error {
	for node := range unsure {
		alive[node] = true // until the next time
	}
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

// clock finds out what the clock of the stream's leader says, unless a Renew has.
func (p *presence) clock(ctx context.Context) error {
	p.mu.Lock()
	known := p.known
	p.mu.Unlock()
	if known {
		return nil
	}
	if err := p.store(ctx, p.stream.b.opts.Prefix+".p.n."+noNode, []byte{0}, time.Second); err != nil {
		return err
	}
	_, _, err := p.leases(ctx, noNode)
	return err
}
