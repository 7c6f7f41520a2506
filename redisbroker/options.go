package redisbroker

import (
	"cmp"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wschannels/wschannels"
)

// Options configures [New] and [Open]. Nil and the zero value mean "all defaults"; what
// means nothing is refused, with an error that matches [wschannels.ErrInvalidOption].
// Brokers that are to work together need equal options.
type Options struct {
	// Prefix starts the names of all keys and channels: brokers with different ones on
	// one Redis know nothing of each other. 1 to 64 bytes of UTF-8 without control
	// characters, braces, '*', '?', '[', ']', '\' and '^'. The default is "wschannels".
	Prefix string

	// History bounds each group's history.
	History wschannels.HistoryLimits

	// Retain is how long a group's order and history outlive their last use; a subscription
	// is a use. At least a second, and at least History.TTL, which it is raised to. 0: 24 h.
	Retain time.Duration

	// Durable says that Redis loses nothing that it has confirmed: it has "appendfsync always",
	// and no replica becomes master that may lack something. Groups then go on when Redis is
	// started again. Otherwise, as nobody can know what is missing, all groups start anew,
	// without history, whenever a server is started or another one becomes master; and those
	// that are moved within a cluster.
	Durable bool

	// ProbeInterval is how often connections with subscriptions are probed: one that
	// carries nothing any more is replaced after twice that. At least 10 ms. 0: 3 s.
	ProbeInterval time.Duration
}

func (o *Options) resolve() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	r.Prefix = cmp.Or(r.Prefix, "wschannels")
	r.Retain = cmp.Or(r.Retain, 24*time.Hour)
	r.ProbeInterval = cmp.Or(r.ProbeInterval, 3*time.Second)
	var err error
	switch r.History, err = r.History.Resolve(); {
	case err != nil:
		return r, err
	case !validPrefix(r.Prefix):
		return r, badOption("Prefix", fmt.Sprintf("is %q, not 1 to 64 bytes of UTF-8 without control characters and any of %s", r.Prefix, special))
	case r.Retain < time.Second:
		return r, badOption("Retain", "is less than a second")
	case r.ProbeInterval < 10*time.Millisecond:
		return r, badOption("ProbeInterval", "is less than 10 ms")
	}
	r.Retain = max(r.Retain, r.History.TTL)
	return r, nil
}

// keep is how long Redis is told to keep groups. Those that are subscribed to are renewed 4 times
// within Retain, and not each time that they are used.
func (o *Options) keep() time.Duration { return o.Retain + o.Retain/2 }

func badOption(field, why string) error {
	return fmt.Errorf("%w: redisbroker.Options.%s %s", wschannels.ErrInvalidOption, field, why)
}

// special has a meaning in patterns or hash tags.
const special = `{}*?[]\^`

func validPrefix(s string) bool {
	return len(s) <= 64 && utf8.ValidString(s) && !strings.ContainsAny(s, special) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 })
}
