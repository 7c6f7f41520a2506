package redisbroker

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

var (
	//go:embed lua/nodes.lua
	nodesLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/say.lua
	sayLua string
	//go:embed lua/alive.lua
	aliveLua string
	//go:embed lua/forget.lua
	forgetLua string
	//go:embed lua/here.lua
	hereLua string
	//go:embed lua/clear.lua
	clearLua string

	renewScript  = rueidis.NewLuaScript(nodesLua + renewLua)
	sayScript    = rueidis.NewLuaScript(nodesLua + sayLua)
	aliveScript  = rueidis.NewLuaScript(nodesLua + aliveLua)
	forgetScript = rueidis.NewLuaScript(nodesLua + forgetLua)
	hereScript   = rueidis.NewLuaScript(hereLua)
	clearScript  = rueidis.NewLuaScript(clearLua)
)

// nodesKey starts the names of what is known of nodes, and is in one slot.
func (b *Broker) nodesKey() string { return b.opts.Prefix + ":{nodes}" }

func (b *Broker) nodeKeys(more ...string) []string {
	return append([]string{b.nodesKey() + "leases", b.nodesKey() + "runs"}, more...)
}

// saidKey is the set of groups that node has said something of.
func (b *Broker) saidKey(node string) string { return b.nodesKey() + "said." + escape(node) }

// Renew is [wschannels.PresenceBroker]'s. It has what nodes said whose lease has ended
// removed, in the background.
func (b *Broker) Renew(ctx context.Context, node string, lease time.Duration) (alive []string, err error) {
	if _, err := b.enter(ctx, b.nodesKey()); err != nil {
		return nil, err
	}
	defer b.leave()
	retain := millis(max(b.opts.Retain, lease))
	reply, err := b.run(ctx, false, 2, renewScript, b.nodeKeys(b.saidKey(node)), []string{node, millis(lease), newToken(), retain})
	if err != nil {
		return nil, err
	}
	alive, err1 := reply[0].AsStrSlice()
	dead, err2 := reply[1].AsStrSlice()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	b.bury(dead)
	return alive, nil
}

// SetPresence is [wschannels.PresenceBroker]'s. The entries and what subscribers hear of them
// are one step.
func (b *Broker) SetPresence(ctx context.Context, group string, entries ...wschannels.PresenceEntry) error {
	if len(entries) == 0 {
		return nil
	}
	channel := b.channel(ofGroup, group)
	if _, err := b.enter(ctx, channel); err != nil {
		return err
	}
	defer b.leave()
	runs := make(map[string]string)
	args := make([]string, 0, 4+2*len(entries))
	args = append(args, b.publishCommand(), channel, presenceMessage(entries), millis(b.opts.Retain))
	for _, e := range entries {
		field := string(e.ID[:]) + e.Node
		if e.Gone {
			args = append(args, field, "")
			continue
		}
		if runs[e.Node] == "" {
			reply, err := b.run(ctx, false, 1, sayScript, b.nodeKeys(b.saidKey(e.Node)), []string{e.Node, newToken(), group, millis(b.opts.Retain)})
			if err != nil {
				return err
			}
			if runs[e.Node], err = reply[0].ToString(); err != nil {
				return err
			}
		}
		args = append(args, field, runs[e.Node]+rueidis.BinaryString(appendEntry(nil, e)))
	}
	_, err := b.run(ctx, false, 0, hereScript, []string{channel + "here"}, args)
	return err
}

// Presence is [wschannels.PresenceBroker]'s.
func (b *Broker) Presence(ctx context.Context, group string) ([]wschannels.PresenceEntry, error) {
	key := b.channel(ofGroup, group)
	if _, err := b.enter(ctx, key); err != nil {
		return nil, err
	}
	defer b.leave()
	here, err := b.client.Do(ctx, read(b.client.B().Hvals().Key(key+"here").Build())).AsStrSlice()
	if err != nil {
		return nil, failure(ctx, true, err)
	}
	if len(here) == 0 {
		return nil, nil
	}
	reply, err := b.run(ctx, true, 0, aliveScript, b.nodeKeys(), nil)
	if err != nil {
		return nil, err
	}
	runs := make(map[string]string, len(reply)/2)
	for i := 0; i+1 < len(reply); i += 2 {
		node, err1 := reply[i].ToString()
		run, err2 := reply[i+1].ToString()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		runs[node] = run
	}
	var entries []wschannels.PresenceEntry
	for _, s := range here {
		if len(s) < epochLen {
			return nil, errGarbage
		}
		e, rest, ok := readEntry([]byte(s[epochLen:]))
		if !ok || len(rest) > 0 {
			return nil, errGarbage
		}
		if run, lives := runs[e.Node]; lives && run == s[:epochLen] {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// bury removes what dead nodes said: pairs of a node and the run of its lease that ended.
func (b *Broker) bury(dead []string) {
	if len(dead) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.burying {
		return // the next Renew finds them again
	}
	b.burying = true
	b.wg.Go(func() {
		for i := 0; i+1 < len(dead); i += 2 {
			b.buryOne(dead[i], dead[i+1])
		}
		b.mu.Lock()
		b.burying = false
		b.mu.Unlock()
	})
}

// buryOne does that for one node. What fails, somebody's next Renew finds again.
func (b *Broker) buryOne(node, run string) {
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	said := b.saidKey(node)
	groups, err := b.client.Do(ctx, read(b.client.B().Smembers().Key(said).Build())).AsStrSlice()
	if err != nil {
		return
	}
	for _, group := range groups {
		if err := clearScript.Exec(ctx, b.client, []string{b.channel(ofGroup, group) + "here"}, []string{node, run}).Error(); err != nil {
			return
		}
	}
	_ = forgetScript.Exec(ctx, b.client, b.nodeKeys(said), []string{node, run})
}

// appeared hands changes to those who are subscribed.
func (l *link) appeared(m rueidis.PubSubMessage) {
	entries, ok := readPresence(m.Message)
	if !ok {
		l.b.garbage(m.Channel)
		return
	}
	l.b.mu.Lock()
	t := l.b.topics[m.Channel]
	if t == nil {
		l.b.mu.Unlock()
		return
	}
	name, subs := t.name, t.subs
	l.b.mu.Unlock()
	for _, s := range subs {
		for _, e := range entries {
			s.Appear(name, e)
		}
	}
}
