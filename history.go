package wschannels

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// MessageCost is what a kept message counts beside its payload, in bytes, in
// [HistoryLimits].Bytes and [MailboxLimits].Bytes: about what the struct, its slice and their
// bookkeeping take.
const MessageCost = 128

// historySizeEnv names the environment variable with the default of
// HistoryLimits.Bytes.
const historySizeEnv = "CHANNEL_BOX_HISTORY_SIZE"

// HistoryLimits bounds a [History]. Values below 0 are errors.
type HistoryLimits struct {
	// Bytes is how much it holds: payload bytes, and MessageCost for each message. 0: the
	// value of the environment variable CHANNEL_BOX_HISTORY_SIZE when the history
	// or the box is made (a whole number above 0, or that is an error), else 1 MiB.
	Bytes int

	// Len is how many messages it holds. 0: as many as fit.
	Len int

	// TTL is how long it holds one, by Message.Created. 0: as long as there is room.
	TTL time.Duration
}

// HistoryOptions selects from a history. The zero value selects everything; what is
// set must all be met.
type HistoryOptions struct {
	Last  int       // only that many, the newest
	After *Position // only later ones; of another epoch, or from the future: all that is held
	Since time.Time // only those created then or later
}

// Resolve returns l with its defaults filled in, for brokers that keep to it. An invalid
// field, or an invalid CHANNEL_BOX_HISTORY_SIZE where that is needed, is an error that
// matches [ErrInvalidOption].
func (l HistoryLimits) Resolve() (HistoryLimits, error) {
	switch {
	case l.Bytes < 0:
		return l, badOption("HistoryLimits.Bytes", "is negative")
	case l.Len < 0:
		return l, badOption("HistoryLimits.Len", "is negative")
	case l.TTL < 0:
		return l, badOption("HistoryLimits.TTL", "is negative")
	}
	if env, ok := os.LookupEnv(historySizeEnv); ok && l.Bytes == 0 {
		n, err := strconv.Atoi(env)
		if err != nil || n <= 0 {
			return l, badOption(historySizeEnv, fmt.Sprintf("is %q, not a whole number of bytes above 0", env))
		}
		l.Bytes = n
	}
	l.Bytes = cmp.Or(l.Bytes, 1<<20)
	return l, nil
}

// A History holds messages, oldest out first, and is over none of its limits at any
// time. All methods may be called concurrently; none blocks.
type History struct {
	limits HistoryLimits

	mu    sync.Mutex // guards what follows
	log   []Message  // log[head:] are held
	head  int
	bytes int
	lost  uint64 // Seq of the last message that was held and is not any more

	evicted uint64 // messages that went for room or age
}

// NewHistory returns an empty history. Nil limits are the defaults.
func NewHistory(limits *HistoryLimits) (*History, error) {
	var l HistoryLimits
	if limits != nil {
		l = *limits
	}
	l, err := l.Resolve()
	if err != nil {
		return nil, err
	}
	return &History{limits: l}, nil
}

func cost(m Message) int { return len(m.Data) + MessageCost }

// Append adds m and removes as many of the oldest as that takes. A message that alone
// is over Bytes is [ErrTooLarge], and nothing is removed for it. m.Data must not be
// changed afterwards. A zero Created means now; TTL expects that Created does not go back.
func (h *History) Append(m Message) error {
	if cost(m) > h.limits.Bytes {
		return fmt.Errorf("%w for the history: %d bytes, and it holds %d", ErrTooLarge, cost(m), h.limits.Bytes)
	}
	if m.Created.IsZero() {
		m.Created = time.Now()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fit(cost(m))
	h.log = append(h.log, m)
	h.bytes += cost(m)
	return nil
}

// counts returns Bytes, and how many messages have gone for room or age.
func (h *History) counts() (bytes int, evicted uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(time.Now())
	return h.bytes, h.evicted
}

// makeRoom removes what an Append of a message that counts n would.
func (h *History) makeRoom(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fit(n)
}

// fit removes the oldest until one more message that counts n fits. h.mu is held.
func (h *History) fit(n int) {
	h.expire(time.Now())
	for h.len() > 0 && (n > h.limits.Bytes-h.bytes || h.limits.Len > 0 && h.len() >= h.limits.Len) {
		h.evict()
	}
}

// Messages returns what opts selects, oldest first, in a slice of the caller's. Nil
// selects everything. It knows no epochs: After goes by Seq alone.
func (h *History) Messages(opts *HistoryOptions) []Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(time.Now())
	held := h.log[h.head:]
	if opts == nil {
		return slices.Clone(held)
	}
	if opts.After != nil {
		i, _ := slices.BinarySearchFunc(held, opts.After.Seq, func(m Message, after uint64) int {
			if m.Seq <= after {
				return -1
			}
			return 1
		})
		held = held[i:]
	}
	if !opts.Since.IsZero() { // each by its own time, which is not quite that of its place
		held = slices.DeleteFunc(slices.Clone(held), func(m Message) bool { return m.Created.Before(opts.Since) })
	}
	if opts.Last > 0 && len(held) > opts.Last {
		held = held[len(held)-opts.Last:]
	}
	return slices.Clone(held)
}

// Len returns how many messages are held.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(time.Now())
	return h.len()
}

// Bytes returns what they count, as HistoryLimits.Bytes does.
func (h *History) Bytes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(time.Now())
	return h.bytes
}

// Clear removes everything.
func (h *History) Clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.len() > 0 {
		h.removeOldest()
	}
}

// lostThrough returns the Seq of the last message that was lost.
func (h *History) lostThrough() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expire(time.Now())
	return h.lost
}

func (h *History) len() int { return len(h.log) - h.head }

// expire removes what is older than TTL. h.mu is held.
func (h *History) expire(now time.Time) {
	if h.limits.TTL == 0 {
		return
	}
	for h.len() > 0 && now.Sub(h.log[h.head].Created) >= h.limits.TTL {
		h.evict()
	}
}

// evict removes the oldest because a limit says so. h.mu is held.
func (h *History) evict() {
	h.removeOldest()
	h.evicted++
}

// removeOldest removes the oldest. h.mu is held.
func (h *History) removeOldest() {
	m := &h.log[h.head]
	h.bytes -= cost(*m)
	h.lost = max(h.lost, m.Seq)
	*m = Message{}
	h.head++
	switch {
	case h.head == len(h.log):
		h.log, h.head = nil, 0
	case h.head >= 32 && h.head > len(h.log)/2: // the cost of moving is spread over as many evictions
		n := copy(h.log, h.log[h.head:])
		clear(h.log[n:])
		h.log, h.head = h.log[:n], 0
	}
}
