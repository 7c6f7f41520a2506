package redisbroker

import (
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Scripts are atomic: Redis runs nothing else meanwhile. With "#!lua" it refuses one, before
// it has begun, that could not write to its end (no memory, read-only, no replicas).
var (
	//go:embed lua/run.lua
	runLua string
	//go:embed lua/group.lua
	groupLua string
	//go:embed lua/fast.lua
	fastLua string
	//go:embed lua/publish.lua
	publishLua string
	//go:embed lua/history.lua
	historyLua string
	//go:embed lua/position.lua
	positionLua string
	//go:embed lua/flush.lua
	flushLua string
)

// groupScripts are the scripts about groups. What is in all calls is in their text: Redis keeps
// that.
type groupScripts struct {
	publish, history, position, flush *rueidis.Lua
}

func newGroupScripts(o Options) groupScripts {
	settings := fmt.Sprintf("#!lua\nlocal maxbytes, maxlen, ttl, retain, durable = %d, %d, %s, %s, %t\n",
		o.History.Bytes, o.History.Len, millis(o.History.TTL), millis(o.keep()), o.Durable)
	script := func(lua string) *rueidis.Lua { return rueidis.NewLuaScript(settings + runLua + groupLua + lua) }
	return groupScripts{
		publish: rueidis.NewLuaScript(settings + runLua + fastLua + groupLua + publishLua),
		history: script(historyLua), position: script(positionLua), flush: script(flushLua),
	}
}

// groupArgs are the key and the arguments that scripts about one group start with; known is
// what has been seen of its order.
func groupArgs(channel string, known seen, more ...string) (keys, args []string) {
	args = append(make([]string, 0, 3+len(more)), newToken(), known.epoch, strconv.FormatUint(known.seq, 10))
	return []string{channel}, append(args, more...)
}

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

// read makes a command that only reads fit for clients that try those again: rueidis would then use
// its memory for another one, while the connection that failed may still be writing it.
func read(cmd rueidis.Completed) rueidis.Completed { return cmd.Pin() }
