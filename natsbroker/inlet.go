package natsbroker

import "github.com/nats-io/nats.go"

// An inlet is where the messages of many subscriptions come in.
type inlet struct {
	msgs chan *nats.Msg
	wake chan struct{}
}

// maxQueued is how many messages wait in an inlet. NATS's client drops more.
const maxQueued = 8192

func newInlet() inlet {
	return inlet{make(chan *nats.Msg, maxQueued), make(chan struct{}, 1)}
}

// stir has run call stirred. It does not block.
func (in *inlet) stir() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// run takes messages, until closing is closed. After there may have been more than there was
// room for, it calls full.
func (in *inlet) run(closing <-chan struct{}, take func(*nats.Msg), stirred, full func()) {
	crowded := false
	for {
		select {
		case <-closing:
			return
		case m := <-in.msgs:
			crowded = crowded || len(in.msgs) >= maxQueued-1
			take(m)
		case <-in.wake:
			stirred()
		}
		if crowded && len(in.msgs) < maxQueued/2 {
			crowded = false
			full()
		}
	}
}
