package redisbroker

import (
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Scripts are atomic: Redis runs nothing else meanwhile. With "#!lua" it refuses one, before
// it has begun, that could not write to its end (no memory, read-only, no replicas).
var (
	//go:embed lua/group.lua
	groupLua string
	//go:embed lua/publish.lua
	publishLua string
	//go:embed lua/history.lua
	historyLua string
	//go:embed lua/position.lua
	positionLua string
	//go:embed lua/flush.lua
	flushLua string

	publishScript  = rueidis.NewLuaScript(groupLua + publishLua)
	historyScript  = rueidis.NewLuaScript(groupLua + historyLua)
	positionScript = rueidis.NewLuaScript(groupLua + positionLua)
	flushScript    = rueidis.NewLuaScript(groupLua + flushLua)
)

// groupArgs are the keys and the arguments that scripts about one group start with; known is
// what has been seen of its order.
func (b *Broker) groupArgs(channel string, known seen, more ...string) (keys, args []string) {
	args = make([]string, 0, 7+len(more))
	args = append(args, newToken(), b.limits[0], b.limits[1], b.limits[2], b.limits[3],
		known.epoch, strconv.FormatUint(known.seq, 10))
	return []string{orderKey(channel), logKey(channel)}, append(args, more...)
}

func orderKey(channel string) string { return channel + "order" }
func logKey(channel string) string   { return channel + "log" }

// run runs a script, and returns its reply of at least n parts. The caller has entered.
func (b *Broker) run(ctx context.Context, read bool, n int, script *rueidis.Lua, keys, args []string) ([]rueidis.RedisMessage, error) {
	reply, err := script.Exec(ctx, b.client, keys, args).ToArray()
	switch {
	case err != nil:
		return nil, failure(ctx, read, err)
	case len(reply) < n:
		return nil, errReply
	}
	return reply, nil
}

var errReply = errors.New("redisbroker: a script's reply is none of its own")

// newToken returns a name that nobody else has.
func newToken() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], rand.Uint64())
	return hex.EncodeToString(b[:])
}

func millis(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10)
}
