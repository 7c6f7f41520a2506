package wschannels

import (
	"context"
	"time"
)

// What an engine does for presence. The broker has the capability, or nobody asks.

func (e *engine) renew(ctx context.Context, node string, lease time.Duration) (alive []string, err error) {
	err = e.ask(ctx, func(ctx context.Context) (err error) {
		alive, err = e.presence.Renew(ctx, node, lease)
		return err
	})
	return alive, err
}

func (e *engine) setPresence(ctx context.Context, group string, entries []PresenceEntry) error {
	return e.call(ctx, errUnsure, func(ctx context.Context) error { return e.presence.SetPresence(ctx, group, entries...) })
}

func (e *engine) whoIsIn(ctx context.Context, group string) (entries []PresenceEntry, err error) {
	err = e.ask(ctx, func(ctx context.Context) (err error) {
		entries, err = e.presence.Presence(ctx, group)
		return err
	})
	return entries, err
}
