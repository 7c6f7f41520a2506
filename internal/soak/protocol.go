package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/wschannels/wschannels"
)

// A kind is how some of the clients and their channels are.
type kind struct {
	name     string
	share    int // of 20 clients
	envelope bool
	binary   bool
	handler  bool // its channels run a Handler; the others are in event mode
	deflate  bool // the client offers compression
	lossy    bool // its SlowPolicy leaves out messages
	evicts   bool // or drops them when they are in the queue already
	expires  bool
	opts     wschannels.ChannelOptions
}

// kinds returns the kinds of clients there are.
func (cfg *config) kinds() []*kind {
	base := wschannels.ChannelOptions{
		QueueBytes: queueBytes, ReadLimit: readLimit, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, CloseTimeout: closeTimeout,
		Heartbeat: cfg.beat, HeartbeatTimeout: staleTimeout,
	}
	kinds := []*kind{
		{name: "envelope", share: 6, envelope: true},
		{name: "envelope-handler", share: 2, envelope: true, handler: true},
		{name: "compressed", share: 2, envelope: true, deflate: true},
		{name: "expiring", share: 2, envelope: true, expires: true},
		{name: "drop-oldest", share: 2, envelope: true, lossy: true, evicts: true},
		{name: "text-drop-newest", share: 3, handler: true, lossy: true},
		{name: "bytes", share: 3, binary: true},
	}
	for _, k := range kinds {
		k.opts = base
		k.opts.Envelope = k.envelope
		switch k.name {
		case "expiring":
			k.opts.TTL, k.opts.MaxLifetime = cfg.expiry, 2*cfg.expiry
		case "drop-oldest":
			k.opts.Slow = wschannels.SlowDropOldest
		case "text-drop-newest":
			k.opts.PayloadType, k.opts.Slow = wschannels.Text, wschannels.SlowDropNewest
		case "bytes":
			k.opts.PayloadType = wschannels.Bytes
		}
	}
	return kinds
}

// A request is what a client asks for.
type request struct {
	Do    string `json:"do"`
	Group string `json:"group,omitempty"`
	Epoch string `json:"epoch,omitempty"` // join: replay what came after it and Seq
	Seq   uint64 `json:"seq,omitempty"`
	Last  int    `json:"last,omitempty"` // join: replay so many
	N     uint64 `json:"n,omitempty"`
}

// An answer is how that went.
type answer struct {
	Re        string `json:"re,omitempty"`
	Group     string `json:"group,omitempty"`
	Epoch     string `json:"epoch,omitempty"`
	Seq       uint64 `json:"seq,omitempty"`
	Replayed  int    `json:"replayed,omitempty"`
	Recovered bool   `json:"recovered,omitempty"`
}

// A note is what is sent to groups and users. It can be told from a damaged one, and one
// that went elsewhere.
type note struct {
	To   string `json:"to,omitempty"`  // the group or the user
	From int    `json:"from"`          // which publisher; or nobody
	N    uint64 `json:"n"`             // the how manieth of its publisher to the group, or to the user
	Not  string `json:"not,omitempty"` // the visit that was excepted
	Pad  string `json:"pad,omitempty"` // by N
}

// A payload is one of both, or both.
type payload struct {
	answer
	note
}

const (
	publishers = 4
	nobody     = publishers // whose notes have no order of their own
)

// padding is what note n is filled with: different bytes in different notes, and now and
// then a lot.
func padding(n uint64) string {
	size := 20 + int(n*37%300)
	if n%97 == 0 {
		size = 3000
	}
	return strings.Repeat(string(rune('a'+n%26)), size)
}

// damaged reports whether n is not what it was when it was sent.
func (n *note) damaged() bool { return n.Pad != padding(n.N) }

// Rooms have names that say what they are: the messages of archives are all saved, those
// of others now and then or never. Many are in lobbies. Duties are joined and left by the
// server alone.
func (cfg *config) room(rnd *rand.Rand) string {
	if rnd.IntN(40) == 0 {
		return fmt.Sprintf("lobby%d", rnd.IntN(3))
	}
	i := rnd.IntN(cfg.rooms)
	return fmt.Sprintf("%s%d", []string{"archive", "mixed", "unsaved"}[i%3], i)
}

func (cfg *config) duty(rnd *rand.Rand) string {
	return fmt.Sprintf("duty%d", rnd.IntN(cfg.rooms/10+1))
}

func isArchive(group string) bool { return group[0] == 'a' }
func isDuty(group string) bool    { return group[0] == 'd' }

// saves reports whether the nth message of group is to be saved.
func saves(group string, n uint64) bool {
	return isArchive(group) || group[0] != 'u' && n%3 == 0
}
