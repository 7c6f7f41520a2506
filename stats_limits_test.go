package wschannels_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	. "github.com/wschannels/wschannels"
)

// Every limit that ends a channel has a counter of its own, whatever the channel was
// doing, and it alone moves.
func TestEveryLimitOfAPeerHasACounter(t *testing.T) {
	auth := func(context.Context, *Channel, string) error { return nil }
	for _, tt := range []struct {
		name  string
		opts  ChannelOptions
		send  []byte
		code  websocket.StatusCode
		count func(*Stats) *uint64
	}{
		{"ReadLimit", ChannelOptions{ReadLimit: 4}, wireString("hello"), 1009, func(s *Stats) *uint64 { return &s.TooLarge }},
		{"ReadTimeout", ChannelOptions{ReadTimeout: time.Second}, []byte{0x81}, 1008, func(s *Stats) *uint64 { return &s.TimedOut }},
		{"control frames", ChannelOptions{}, slices.Repeat(wireFrame(wireFin|wirePing, nil), 101), 1008, func(s *Stats) *uint64 { return &s.Flooded }},
		{"empty fragments", ChannelOptions{}, append(wireFrame(wireText, nil), slices.Repeat(wireFrame(wireCont, nil), 101)...), 1008, func(s *Stats) *uint64 { return &s.Flooded }},
		{"protocol", ChannelOptions{}, []byte{0xFF, 0x80}, 1002, func(s *Stats) *uint64 { return &s.Violations }},
		{"UTF-8", ChannelOptions{}, wireString("\xff"), 1007, func(s *Stats) *uint64 { return &s.Violations }},
		{"AuthTimeout", ChannelOptions{Authenticator: auth}, nil, StatusUnauthorized, func(s *Stats) *uint64 { return &s.Unauthenticated }},
		{"TTL", ChannelOptions{TTL: time.Minute, Heartbeat: -1}, nil, StatusExpired, func(s *Stats) *uint64 { return &s.Expired }},
	} {
		for _, where := range []string{"in the box", "in the middleware"} {
			t.Run(tt.name+" "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tt.opts.PayloadType = Text
					box := wireBox(t, &Options{Channel: tt.opts})
					want := Stats{Accepted: 1, Disconnected: 1}
					h := box.Handler(nil)
					if where == "in the middleware" {
						want = Stats{Refused: 1}
						h = box.Handler(nil, func(Handler) Handler {
							return func(ctx context.Context, c *Channel) error {
								_, err := c.Receive(ctx)
								return err
							}
						})
					}
					p := wirePipe(t, h)
					go p.Write(tt.send)
					p.wantClose(t, tt.code)
					p.Close()
					synctest.Wait()
					wireShutdown(t, box)
					*tt.count(&want) = 1
					if got := box.Stats(); got != want {
						t.Errorf("got  %+v\nwant %+v", got, want)
					}
				})
			})
		}
	}
}

// A close that the peer does not answer is counted, one that it does is not.
func TestStatsCountUnansweredCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := wireBox(t, nil)
		good, mute := wirePipe(t, box), wirePipe(t, box)
		go func() {
			for f := range good.frames() {
				if f.op == wireClose {
					good.Write(wireFrame(wireFin|wireClose, []byte(f.payload)))
				}
			}
		}()
		synctest.Wait()
		if n, err := box.CloseAll(t.Context(), 1000, ""); n != 2 || err != nil {
			t.Errorf("CloseAll: %d, %v", n, err)
		}
		if got, want := box.Stats(), (Stats{Accepted: 2, Disconnected: 2, Unanswered: 1}); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		mute.Close()
		wireShutdown(t, box)
	})
}

func TestStatsCountGroupsRefused(t *testing.T) {
	b := boxOf(t, &Options{MaxGroups: 2, MaxGroupsPerChannel: 1})
	c, _ := boxMember(t, b, nil, "one")
	if _, err := b.Join(t.Context(), c, "two", nil); !errors.Is(err, ErrTooManyGroups) {
		t.Errorf("a second group of the channel: %v", err)
	}
	boxMember(t, b, nil, "two")
	other, _ := boxMember(t, b, nil)
	if _, err := b.Join(t.Context(), other, "three", nil); !errors.Is(err, ErrTooManyGroups) {
		t.Errorf("a third group of the box: %v", err)
	}
	if _, err := b.GroupSend(t.Context(), "three", "x", boxSave); !errors.Is(err, ErrTooManyGroups) {
		t.Errorf("a third group with history: %v", err)
	}
	boxStats(t, b, "three refusals", Stats{Channels: 3, Accepted: 3, Groups: 2, GroupsRefused: 3})
}

// What a limit of histories lets go is counted, what Flush lets go is not.
func TestStatsCountEvictedHistory(t *testing.T) {
	cost := boxCost(t)
	for name, opts := range map[string]Options{
		"Len":               {History: HistoryLimits{Len: 2}},
		"Bytes":             {History: HistoryLimits{Bytes: 2*(cost+1) + 1}},
		"HistoryTotalBytes": {HistoryTotalBytes: 2*(cost+1) + 1},
	} {
		for _, groups := range [][]string{{"a", "a", "a", "a", "a"}, {"a", "a", "b", "b", "b"}} {
			b := boxOf(t, &opts)
			for _, g := range groups {
				boxSend(t, b, g, "x", boxSave)
			}
			want := Stats{HistoryEvicted: 3, HistoryBytes: 2 * int64(cost+1)}
			if name != "HistoryTotalBytes" && groups[2] == "b" {
				want = Stats{HistoryEvicted: 1, HistoryBytes: 4 * int64(cost+1)}
			}
			boxStats(t, b, name, want)
			if err := b.FlushHistory(t.Context()); err != nil {
				t.Fatal(err)
			}
			want.HistoryBytes = 0
			boxStats(t, b, name+", flushed", want)
		}
	}
}

func TestStatsCountHistoryThatGrewOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := boxOf(t, &Options{History: HistoryLimits{TTL: time.Minute}})
		boxSend(t, b, "a", "x", boxSave)
		boxSend(t, b, "b", "x", boxSave)
		time.Sleep(time.Minute)
		boxStats(t, b, "a minute later", Stats{HistoryEvicted: 2})
	})
}

// A request that is no handshake is counted, and logged without anything raw in it.
func TestStatsCountBadHandshakes(t *testing.T) {
	var log strings.Builder
	b := boxOf(t, &Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	evil := wireUpgradeRequest(t)
	evil.Header.Set("Origin", "http://evil\x1b[2J.example")
	w := wireHijack(server)
	b.ServeHTTP(w, evil)
	if w.Code != http.StatusForbidden {
		t.Errorf("status %d, want 403", w.Code)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	b.ServeHTTP(httptest.NewRecorder(), r) // no http.Hijacker: nobody could connect here
	http2 := r.Clone(t.Context())
	http2.Proto, http2.ProtoMajor, http2.ProtoMinor = "HTTP/2.0", 2, 0
	b.ServeHTTP(httptest.NewRecorder(), http2) // has none anywhere, and anybody can send it
	boxStats(t, b, "three requests", Stats{BadHandshakes: 3})
	text := log.String()
	if strings.Count(text, "handshake refused") != 3 || strings.ContainsRune(text, 0x1b) {
		t.Errorf("the log says %q", text)
	}
	if strings.Count(text, "level=DEBUG") != 2 || strings.Count(text, "level=ERROR") != 1 {
		t.Errorf("the log says %q, want one error, and the rest for debugging", text)
	}
}

// clingyBroker does not let go of subscriptions.
type clingyBroker struct{ *MemoryBroker }

var errClingy = errors.New("it stays")

func (clingyBroker) Unsubscribe(context.Context, string, Subscriber) error { return errClingy }

// An error that comes when nobody waits for it is counted, and logged.
func TestStatsCountErrorsOfTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := NewMemoryBroker(nil)
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		b := boxOf(t, &Options{Broker: clingyBroker{m}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		c, _ := boxMember(t, b, nil, "g")
		if status, err := b.Leave(t.Context(), c, "g"); status != GroupRemoved || err != nil {
			t.Errorf("Leave: %v, %v", status, err)
		}
		synctest.Wait()
		boxStats(t, b, "one that left", Stats{Channels: 1, Accepted: 1, BrokerErrors: 1})
		if text := log.String(); strings.Count(text, errClingy.Error()) != 1 {
			t.Errorf("the log says %q", text)
		}
	})
}
