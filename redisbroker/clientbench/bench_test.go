package clientbench

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/wschannels/wschannels/internal/leak"
	"github.com/wschannels/wschannels/redisbroker/redistest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A client runs the broker's own script, and hears what that publishes.
type client interface {
	publish(ctx context.Context, keys, args []string) error
	subscribe(tb testing.TB, channel string, heard func(string))
	close()
}

var clients = []struct {
	name string
	open func(tb testing.TB, addr, script string) client
}{
	{"rueidis", func(tb testing.TB, addr, script string) client { return openRueidis(tb, addr, script, false) }},
	{"rueidis-always-pipelining", func(tb testing.TB, addr, script string) client { return openRueidis(tb, addr, script, true) }},
	{"go-redis", openGoRedis},
	{"go-redis-256-connections", openGoRedis256},
}

type rueidisClient struct {
	rueidis.Client
	lua *rueidis.Lua
}

func openRueidis(tb testing.TB, addr, script string, always bool) client {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true, AlwaysPipelining: always})
	if err != nil {
		tb.Fatal(err)
	}
	return &rueidisClient{c, rueidis.NewLuaScript(script)}
}

func (c *rueidisClient) publish(ctx context.Context, keys, args []string) error {
	_, err := c.lua.Exec(ctx, c.Client, keys, args).ToArray()
	return err
}

func (c *rueidisClient) subscribe(tb testing.TB, channel string, heard func(string)) {
	conn, _ := c.Dedicate()
	ended := conn.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(m rueidis.PubSubMessage) { heard(m.Message) }})
	if err := conn.Do(context.Background(), conn.B().Subscribe().Channel(channel).Build()).Error(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close(); <-ended })
}

func (c *rueidisClient) close() { c.Close() }

type goRedisClient struct {
	*goredis.Client
	script *goredis.Script
}

func openGoRedis(_ testing.TB, addr, script string) client {
	return &goRedisClient{goredis.NewClient(&goredis.Options{Addr: addr, MaxRetries: -1}), goredis.NewScript(script)}
}

func openGoRedis256(_ testing.TB, addr, script string) client {
	return &goRedisClient{goredis.NewClient(&goredis.Options{Addr: addr, MaxRetries: -1, PoolSize: 256}), goredis.NewScript(script)}
}

func (c *goRedisClient) publish(ctx context.Context, keys, args []string) error {
	anys := make([]any, len(args))
	for i, a := range args {
		anys[i] = a
	}
	_, err := c.script.Run(ctx, c.Client, keys, anys...).Slice()
	return err
}

func (c *goRedisClient) subscribe(tb testing.TB, channel string, heard func(string)) {
	sub := c.Subscribe(context.Background(), channel)
	if _, err := sub.Receive(context.Background()); err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			m, err := sub.ReceiveMessage(context.Background())
			if err != nil {
				return
			}
			heard(m.Payload)
		}
	})
	tb.Cleanup(func() { _ = sub.Close(); wg.Wait() })
}

func (c *goRedisClient) close() { _ = c.Client.Close() }

// script is what the broker publishes with.
func script(tb testing.TB) string {
	var s strings.Builder
	s.WriteString("#!lua\nlocal maxbytes, maxlen, ttl, retain, durable = 1048576, 0, 0, 86400000, false\n")
	for _, name := range []string{"run.lua", "fast.lua", "group.lua", "publish.lua"} {
		b, err := os.ReadFile("../lua/" + name)
		if err != nil {
			tb.Fatal(err)
		}
		s.Write(b)
	}
	return s.String()
}

func arguments(channel string) (keys, args []string) {
	data := strings.Repeat("x", 256)
	return []string{channel}, []string{"0123456789abcdef", "PUBLISH", "0123456789abcdef", "1", data, "1", "1", "1", "256", "384", "1700000000000"}
}

func BenchmarkPublish(b *testing.B) {
	s := redistest.Start(b)
	lua := script(b)
	for _, c := range clients {
		for _, publishers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/publishers=%d", c.name, publishers), func(b *testing.B) {
				s.CLI("FLUSHALL")
				cl := c.open(b, s.Addr(), lua)
				defer cl.close()
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				var left atomic.Int64
				left.Store(int64(b.N))
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for i := range publishers {
					wg.Go(func() {
						keys, args := arguments(fmt.Sprintf("bench:{g.%d}", i))
						for left.Add(-1) >= 0 {
							if err := cl.publish(ctx, keys, args); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}

func BenchmarkReceive(b *testing.B) {
	s := redistest.Start(b)
	for _, c := range clients[:3] {
		b.Run(c.name, func(b *testing.B) {
			cl := c.open(b, s.Addr(), "return 1")
			defer cl.close()
			var n atomic.Int64
			all := make(chan struct{})
			cl.subscribe(b, "channel", func(string) {
				if n.Add(1) == int64(b.N) {
					close(all)
				}
			})
			sender := openRueidis(b, s.Addr(), "return 1", true).(*rueidisClient)
			defer sender.close()
			data := strings.Repeat("x", 256)
			b.ReportAllocs()
			b.ResetTimer()
			const batch = 1000
			for sent := 0; sent < b.N; sent += batch {
				var cmds rueidis.Commands
				for range min(batch, b.N-sent) {
					cmds = append(cmds, sender.B().Publish().Channel("channel").Message(data).Build())
				}
				for _, r := range sender.DoMulti(context.Background(), cmds...) {
					if err := r.Error(); err != nil {
						b.Fatal(err)
					}
				}
			}
			<-all
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
