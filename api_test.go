package wschannels_test

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	. "github.com/wschannels/wschannels"
	"github.com/wschannels/wschannels/wschannelstest"
)

// The exported surface, as users have written it down. What does not compile here is a
// breaking change.
var (
	_ Conn            = (*websocket.Conn)(nil)
	_ Conn            = (*wschannelstest.Conn)(nil)
	_ http.Handler    = (*ChannelBox)(nil)
	_ Broker          = (*MemoryBroker)(nil)
	_ [3]PayloadType  = [...]PayloadType{JSON, Text, Bytes}
	_ [3]SlowPolicy   = [...]SlowPolicy{SlowDisconnect, SlowDropNewest, SlowDropOldest}
	_ int             = MessageCost
	_ [2]AddStatus    = [...]AddStatus{ChannelAdded, ChannelExists}
	_ [4]RemoveStatus = [...]RemoveStatus{ChannelRemoved, GroupRemoved, ChannelNotMember, NoSuchGroup}
	_ []error         = []error{ErrClosed, ErrExpired, ErrStale, ErrSlowConsumer, ErrRateLimited, ErrUnauthorized,
		ErrTooLarge, ErrInvalidGroup, ErrTooManyGroups, ErrTooManyChannels, ErrNoSuchChannel, ErrDuplicateID,
		ErrUnavailable, ErrUnknownOutcome, ErrNewOrder, &CloseError{}, &PayloadError{}, &PanicError{}, &LostError{}}

	_ func(string) (PayloadType, error)                                                        = ParsePayloadType
	_ func(Conn, *ChannelOptions) (*Channel, error)                                            = NewChannel
	_ func(string, *GroupOptions) (*Group, error)                                              = NewGroup
	_ func() *Registry                                                                         = NewRegistry
	_ func(*Options) (*ChannelBox, error)                                                      = New
	_ func(*HistoryLimits) (*History, error)                                                   = NewHistory
	_ func(int, time.Duration, *RateLimitOptions) (*RateLimiter, error)                        = NewRateLimiter
	_ func(...Middleware) Middleware                                                           = Chain
	_ func(func(context.Context, *Channel) error) Middleware                                   = Auth
	_ func(context.Context, *Channel) (int, error)                                             = Receive[int]
	_ func() *wschannelstest.Conn                                                              = wschannelstest.NewConn
	_ func(testing.TB, http.Handler, string) *websocket.Conn                                   = wschannelstest.Dial
	_ func(PayloadType) string                                                                 = PayloadType.String
	_ func(PayloadType) ([]byte, error)                                                        = PayloadType.MarshalText
	_ func(*PayloadType, []byte) error                                                         = (*PayloadType).UnmarshalText
	_ func(Message, any) error                                                                 = Message.Decode
	_ func(Message) string                                                                     = Message.Text
	_ func(*Channel) uuid.UUID                                                                 = (*Channel).ID
	_ func(*Channel) PayloadType                                                               = (*Channel).PayloadType
	_ func(*Channel) time.Time                                                                 = (*Channel).Created
	_ func(*Channel) time.Time                                                                 = (*Channel).LastActivity
	_ func(*Channel) (time.Time, bool)                                                         = (*Channel).ExpiresAt
	_ func(*Channel)                                                                           = (*Channel).Touch
	_ func(*Channel) Conn                                                                      = (*Channel).Conn
	_ func(*Channel) *http.Request                                                             = (*Channel).Request
	_ func(*Channel) string                                                                    = (*Channel).User
	_ func(*Channel, string) error                                                             = (*Channel).SetUser
	_ func(*Channel) []string                                                                  = (*Channel).Groups
	_ func(*Channel, any, any)                                                                 = (*Channel).Set
	_ func(*Channel, any) any                                                                  = (*Channel).Value
	_ func(*Channel) context.Context                                                           = (*Channel).Context
	_ func(*Channel) <-chan struct{}                                                           = (*Channel).Done
	_ func(*Channel) error                                                                     = (*Channel).Err
	_ func(*Channel, context.Context, any) error                                               = (*Channel).Send
	_ func(*Channel, context.Context, any) error                                               = (*Channel).SendJSON
	_ func(*Channel, context.Context, string) error                                            = (*Channel).SendText
	_ func(*Channel, context.Context, []byte) error                                            = (*Channel).SendBytes
	_ func(*Channel, context.Context) error                                                    = (*Channel).Flush
	_ func(*Channel, context.Context) (Message, error)                                         = (*Channel).Receive
	_ func(*Channel, context.Context, any) error                                               = (*Channel).ReceiveJSON
	_ func(*Channel, context.Context) (string, error)                                          = (*Channel).ReceiveText
	_ func(*Channel, context.Context) ([]byte, error)                                          = (*Channel).ReceiveBytes
	_ func(*Channel, context.Context) iter.Seq2[Message, error]                                = (*Channel).Messages
	_ func(*Channel, context.Context, string) error                                            = (*Channel).Authenticate
	_ func(*Channel, websocket.StatusCode, string) error                                       = (*Channel).Close
	_ func(*Channel) error                                                                     = (*Channel).CloseNow
	_ func(*Group) string                                                                      = (*Group).Name
	_ func(*Group, *Channel) (AddStatus, error)                                                = (*Group).Add
	_ func(*Group, *Channel) RemoveStatus                                                      = (*Group).Remove
	_ func(*Group, *Channel) bool                                                              = (*Group).Has
	_ func(*Group) int                                                                         = (*Group).Len
	_ func(*Group) []*Channel                                                                  = (*Group).Channels
	_ func(*Group, context.Context, any, *SendOptions) (SendResult, error)                     = (*Group).Send
	_ func(*Group, context.Context, any, *SendOptions) (SendResult, error)                     = (*Group).SendJSON
	_ func(*Group, *HistoryOptions) []Message                                                  = (*Group).History
	_ func(*Registry, *Channel) error                                                          = (*Registry).Add
	_ func(*Registry, *Channel) bool                                                           = (*Registry).Remove
	_ func(*Registry, uuid.UUID) (*Channel, bool)                                              = (*Registry).Get
	_ func(*Registry) []*Channel                                                               = (*Registry).All
	_ func(*Registry) int                                                                      = (*Registry).Len
	_ func(*ChannelBox, Handler, ...Middleware) http.Handler                                   = (*ChannelBox).Handler
	_ func(*ChannelBox, *ChannelOptions, Handler, ...Middleware) http.Handler                  = (*ChannelBox).HandlerWith
	_ func(*ChannelBox, http.ResponseWriter, *http.Request, *ChannelOptions) (*Channel, error) = (*ChannelBox).Accept
	_ func(*ChannelBox, *Channel) error                                                        = (*ChannelBox).Add
	_ func(*ChannelBox, context.Context, *Channel, Handler) error                              = (*ChannelBox).Serve
	_ func(*ChannelBox, context.Context, *Channel, string, *JoinOptions) (JoinResult, error)   = (*ChannelBox).Join
	_ func(*ChannelBox, context.Context, *Channel, string) (RemoveStatus, error)               = (*ChannelBox).Leave
	_ func(*ChannelBox, context.Context, string, any, *SendOptions) (SendResult, error)        = (*ChannelBox).GroupSend
	_ func(*ChannelBox, context.Context, uuid.UUID, any) error                                 = (*ChannelBox).SendTo
	_ func(*ChannelBox, context.Context, string, any) (SendResult, error)                      = (*ChannelBox).SendToUser
	_ func(*ChannelBox, string) (*Group, error)                                                = (*ChannelBox).Group
	_ func(*ChannelBox) map[string]int                                                         = (*ChannelBox).Groups
	_ func(*ChannelBox, string) []*Channel                                                     = (*ChannelBox).Members
	_ func(*ChannelBox, uuid.UUID) (*Channel, bool)                                            = (*ChannelBox).Channel
	_ func(*ChannelBox) []*Channel                                                             = (*ChannelBox).Channels
	_ func(*ChannelBox, context.Context, string, *HistoryOptions) ([]Message, error)           = (*ChannelBox).History
	_ func(*ChannelBox, context.Context, string) (Position, error)                             = (*ChannelBox).Position
	_ func(*ChannelBox, context.Context, ...string) error                                      = (*ChannelBox).FlushHistory
	_ func(*ChannelBox, context.Context) error                                                 = (*ChannelBox).FlushGroups
	_ func(*ChannelBox, context.Context, websocket.StatusCode, string) (int, error)            = (*ChannelBox).CloseAll
	_ func(*ChannelBox, context.Context) error                                                 = (*ChannelBox).Shutdown
	_ func(*ChannelBox) Stats                                                                  = (*ChannelBox).Stats
	_ func(*History, Message) error                                                            = (*History).Append
	_ func(*History, *HistoryOptions) []Message                                                = (*History).Messages
	_ func(*History) int                                                                       = (*History).Len
	_ func(*History) int                                                                       = (*History).Bytes
	_ func(*History)                                                                           = (*History).Clear
	_ func(*RateLimiter, string) (bool, time.Duration)                                         = (*RateLimiter).Allow
	_ func(*RateLimiter) RateLimitStats                                                        = (*RateLimiter).Stats
	_ func(*RateLimiter) Middleware                                                            = (*RateLimiter).Middleware
	_ func(*RateLimiter, http.Handler) http.Handler                                            = (*RateLimiter).HTTP
	_ func(*wschannelstest.Conn, websocket.MessageType, []byte)                                = (*wschannelstest.Conn).Push
	_ func(*wschannelstest.Conn, any)                                                          = (*wschannelstest.Conn).PushJSON
	_ func(*wschannelstest.Conn, context.Context) (websocket.MessageType, []byte, error)       = (*wschannelstest.Conn).Next
	_ func(*wschannelstest.Conn, websocket.StatusCode, string)                                 = (*wschannelstest.Conn).Hangup
	_ func(*wschannelstest.Conn, error)                                                        = (*wschannelstest.Conn).FailReads
	_ func(*wschannelstest.Conn, error)                                                        = (*wschannelstest.Conn).FailWrites
	_ func(*wschannelstest.Conn)                                                               = (*wschannelstest.Conn).Stall
	_ func(*wschannelstest.Conn)                                                               = (*wschannelstest.Conn).Resume
	_ func(*wschannelstest.Conn) (websocket.StatusCode, string, bool)                          = (*wschannelstest.Conn).Closed
)

// Fields that users set and read, with their types.
var (
	_ = Message{ID: uuid.UUID{}, Group: "", Seq: uint64(0), Created: time.Time{}, Type: JSON, Data: []byte(nil)}
	_ = ChannelOptions{
		PayloadType: JSON, ID: uuid.UUID{}, TTL: time.Second, MaxLifetime: time.Second, ReadLimit: int64(1),
		ReadTimeout: time.Second, QueueBytes: int(1), Slow: SlowDisconnect, WriteTimeout: time.Second,
		CloseTimeout: time.Second, Heartbeat: time.Second, HeartbeatTimeout: time.Second, MessageLimit: int(1),
		MessageWindow: time.Second, Envelope: true,
		Authenticator: func(context.Context, *Channel, string) error { return nil },
		AuthTimeout:   time.Second, Events: Events{}, Codec: Codec(nil),
	}
	_ = MemoryBrokerOptions{History: HistoryLimits{}, HistoryBytes: int(1), MaxGroups: int(1), MaxMailboxes: int(1)}
	_ = GroupOptions{History: HistoryLimits{Bytes: int(1), Len: int(1), TTL: time.Second}, Codec: nil}
	_ = Options{
		Channel: ChannelOptions{}, Accept: websocket.AcceptOptions{}, Events: Events{}, History: HistoryLimits{},
		HistoryTotalBytes: int(1), MailboxBytes: int(1), MailboxTTL: time.Second, MaxMailboxes: int(1),
		MaxChannels: int(1), MaxGroupsPerChannel: int(1), MaxGroups: int(1), Broker: Broker(nil), Logger: (*slog.Logger)(nil),
		LocalFallback: true,
	}
	_ = Events{
		OnConnect:    func(context.Context, *Channel) error { return nil },
		OnDisconnect: func(*Channel, error) {},
		OnMessage:    func(context.Context, *Channel, Message) error { return nil },
		OnError:      func(*Channel, error) {},
	}
	_ = Stats{
		Channels: int(0), Groups: int(0), Mailboxes: int(0), QueuedMessages: int64(0), QueuedBytes: int64(0),
		HistoryBytes: int64(0), MailboxBytes: int64(0), Accepted: uint64(0), Refused: uint64(0), Disconnected: uint64(0),
		Received: uint64(0), Sent: uint64(0), BytesReceived: uint64(0), BytesSent: uint64(0), Dropped: uint64(0),
		SlowClosed: uint64(0), Expired: uint64(0), Stale: uint64(0), RateLimited: uint64(0), Invalid: uint64(0), Panics: uint64(0),
		BadHandshakes: uint64(0), Violations: uint64(0), TooLarge: uint64(0), TimedOut: uint64(0), Flooded: uint64(0),
		Unauthenticated: uint64(0), Unanswered: uint64(0), GroupsRefused: uint64(0), HistoryEvicted: uint64(0), BrokerErrors: uint64(0),
		Lost: uint64(0), LocalSends: uint64(0),
	}
	_ = SendOptions{SaveHistory: true, Except: []uuid.UUID(nil)}
	_ = SendResult{
		ID: uuid.UUID{}, Seq: uint64(0), Saved: true, Queued: int(0), Waiting: int(0), Dropped: int(0), Evicted: int(0), Closed: int(0),
		Remote: int(0), Local: true,
	}
	_ = JoinOptions{ReplayLast: int(0), ReplayAfter: &Position{Epoch: "", Seq: uint64(0)}}
	_ = JoinResult{Status: ChannelAdded, Position: Position{}, Replayed: int(0), Recovered: true}
	_ = HistoryOptions{Last: int(0), After: &Position{}, Since: time.Time{}}
	_ = RateLimitStats{Keys: int(0), Allowed: uint64(0), Limited: uint64(0), Forgotten: uint64(0)}
	_ = RateLimitOptions{Key: func(*http.Request) string { return "" }, MaxKeys: int(0)}
	_ = CloseError{Code: StatusStale, Reason: "", Remote: true, Err: error(nil)}
	_ = PayloadError{Op: "", Type: JSON, Data: []byte(nil), Err: error(nil)}
	_ = LostError{Group: "", Epoch: "", From: uint64(0), To: uint64(0), Lost: uint64(0), Err: error(nil)}
	_ = PanicError{Value: any(nil), Stack: []byte(nil)}
)

func TestStatusNumbers(t *testing.T) {
	for i, code := range []websocket.StatusCode{StatusStale, StatusUnauthorized, StatusRateLimited, StatusExpired, StatusSlowConsumer} {
		if want := websocket.StatusCode(4000 + i); code != want {
			t.Errorf("code %d, want %d", code, want)
		}
	}
}
