package main

import (
	"context"
	"errors"
	"unicode/utf8"

	"github.com/wschannels/wschannels"
)

// order is the one message that the endpoints take.
type order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

// Validate is called by Receive; what it says reaches the client.
func (o order) Validate() error {
	switch {
	case o.Item == "" || utf8.RuneCountInString(o.Item) > 40:
		return errors.New("item must have 1 to 40 characters")
	case o.Count < 1 || o.Count > 9:
		return errors.New("count must be from 1 to 9")
	}
	return nil
}

type (
	accepted struct {
		OK    bool  `json:"ok"`
		Order order `json:"order"`
	}
	problem struct {
		Error   string `json:"error"`
		Details string `json:"details"`
	}
)

// takeOrders answers every message: with the order, or with what is wrong.
func takeOrders(ctx context.Context, c *wschannels.Channel) error {
	for {
		o, err := wschannels.Receive[order](ctx, c)
		var answer any = accepted{OK: true, Order: o}
		var invalid *wschannels.PayloadError
		switch {
		case errors.As(err, &invalid):
			answer = invalid // {"error":"Invalid message format","details":…}
		case errors.Is(err, wschannels.ErrRateLimited):
			answer = problem{Error: "Too many messages", Details: "at most 5 in 10 seconds"}
		case err != nil:
			return err
		}
		if err := c.Send(ctx, answer); err != nil {
			return err
		}
	}
}
