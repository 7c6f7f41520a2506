package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels"
)

// failure says what err, of the client's, means for the call that got it. If that call
// changes nothing (read), nothing has been done in any case.
func failure(ctx context.Context, read bool, err error) error {
	kind := wschannels.ErrUnknownOutcome
	var op *net.OpError
	var answer *rueidis.RedisError
	switch {
	case errors.As(err, &answer):
		if !refused(answer.Error()) {
			return fmt.Errorf("redisbroker: %w", err)
		}
		kind = wschannels.ErrUnavailable
	case read, errors.As(err, &op) && op.Op == "dial":
		kind = wschannels.ErrUnavailable
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return because(kind, err)
}

// because is an error of one kind, even where its cause says the other: a context that ended
// knows nothing of what had been done by then.
func because(kind, err error) error {
	if kind != wschannels.ErrUnavailable && errors.Is(err, wschannels.ErrUnavailable) ||
		kind != wschannels.ErrUnknownOutcome && errors.Is(err, wschannels.ErrUnknownOutcome) {
		return fmt.Errorf("redisbroker: %w: %v", kind, err)
	}
	return fmt.Errorf("redisbroker: %w: %w", kind, err)
}

// refused reports whether an answer of Redis's says that it can do nothing now.
func refused(answer string) bool {
	code, _, _ := strings.Cut(answer, " ")
	switch code {
	case "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF", "OOM", "BUSY", "MOVED", "ASK", "NOAUTH":
		return true
	}
	return false
}

// unavailable is the error of a call that has done nothing because of err.
func unavailable(err error) error {
	return because(wschannels.ErrUnavailable, err)
}
