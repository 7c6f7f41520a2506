package natsbroker

import (
	"context"
	"errors"
	"fmt"

	"github.com/wschannels/wschannels"
)

// failure is the error of a call that asked NATS and has changed nothing.
func (b *Broker) failure(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, wschannels.ErrClosed) || errors.Is(err, wschannels.ErrUnavailable) {
		return err
	}
	return because(wschannels.ErrUnavailable, err)
}

// unsure is the error of a call that may have changed something.
func (b *Broker) unsure(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return because(wschannels.ErrUnknownOutcome, err)
}

// because is an error of one kind, also where its cause says the other: a context that ended
// knows nothing of what had been done by then.
func because(kind, err error) error {
	if kind != wschannels.ErrUnavailable && errors.Is(err, wschannels.ErrUnavailable) ||
		kind != wschannels.ErrUnknownOutcome && errors.Is(err, wschannels.ErrUnknownOutcome) {
		return fmt.Errorf("%w: NATS: %v", kind, err)
	}
	return fmt.Errorf("%w: NATS: %w", kind, err)
}

// What JetStream's answers say, by its error codes.
const (
	codeWrongLast  = 10071
	codeWrongLast2 = 10164 // the same, where it does not say what would be right
	codeNoMessage  = 10037
	codeNoStream   = 10059
)

// An apiError is what JetStream answers instead of doing something.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return "JetStream: " + e.Description }

func isCode(err error, codes ...int) bool {
	e := new(apiError)
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.ErrCode == code {
			return true
		}
	}
	return false
}
