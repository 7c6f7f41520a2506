package natsbroker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A stream is one of JetStream's, made when it is first needed, and again if it is gone.
type stream struct {
	b      *Broker
	config jetstream.StreamConfig

	turn chan struct{} // held by who makes it
	mu   sync.Mutex    // guards ok
	ok   bool          // it has been there
}

func newStream(b *Broker, config jetstream.StreamConfig) *stream {
	return &stream{b: b, config: config, turn: make(chan struct{}, 1)}
}

func (s *stream) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ok
}

// ready returns once the stream is there.
func (s *stream) ready(ctx context.Context) error {
	if s.known() {
		return nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return s.b.failure(ctx, nil)
	}
	if s.known() {
		return nil
	}
	if err := s.create(ctx); err != nil {
		return s.b.failure(ctx, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ok = true
	return nil
}

// create makes the stream, or, if it is there, has it as it is configured. A new one goes on
// where none before it has been: a sequence that somebody remembers from a stream that was
// lost is not that of a message of this one.
func (s *stream) create(ctx context.Context) error {
	fresh := s.config
	fresh.FirstSeq = uint64(time.Now().UnixMicro())
	_, err := s.b.js.CreateStream(ctx, fresh)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		_, err = s.b.js.UpdateStream(ctx, s.config)
	}
	return err
}

// swap stores data as the next message of subject if the last one of filter has the
// sequence expected. It returns the new one's.
func (s *stream) swap(c *call, patience time.Duration, subject, filter string, expected uint64, ttl time.Duration, data []byte) (uint64, error) {
	m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(expected, 10)},
	}}
	if filter != subject {
		m.Header[jetstream.ExpectedLastSubjSeqSubjHeader] = []string{filter}
	}
	if ttl > 0 {
		maps.Copy(m.Header, ttlHeader(ttl))
	}
	answer, err := s.b.ask(c, m, patience)
	if err != nil {
		return 0, err
	}
	return readAck(answer)
}

// ttlHeader has NATS remove a message after ttl, in whole seconds.
func ttlHeader(ttl time.Duration) nats.Header {
	return nats.Header{jetstream.MsgTTLHeader: {strconv.FormatInt(int64((ttl+time.Second-1)/time.Second), 10) + "s"}}
}

// maxUnacked is how many messages of publishAll are on their way at a time.
const maxUnacked = 256

// publishAll stores msgs in that order. ErrNoResponders says that none has been.
func (s *stream) publishAll(ctx context.Context, msgs []*nats.Msg) error {
	inbox, err := s.b.nc.SubscribeSync(s.b.nc.NewInbox())
	if err != nil {
		return err
	}
	defer inbox.Unsubscribe()
	for sent, acked := 0, 0; acked < len(msgs); {
		if sent < len(msgs) && sent-acked < maxUnacked {
			msgs[sent].Reply = inbox.Subject
			if err := s.b.nc.PublishMsg(msgs[sent]); err != nil {
				return err
			}
			sent++
			continue
		}
		answer, err := inbox.NextMsgWithContext(ctx)
		if err == nil {
			_, err = readAck(answer)
		}
		switch {
		case errors.Is(err, nats.ErrNoResponders) && acked == 0 && s.again(ctx) == nil:
			return s.publishAll(ctx, msgs)
		case errors.Is(err, nats.ErrNoResponders) && acked > 0:
			return errors.New("the stream has gone") // some are stored
		case err != nil:
			return err
		}
		acked++
	}
	return nil
}

// A stored is one message of a stream.
type stored struct {
	subject string
	seq     uint64
	data    []byte
	when    time.Time
}

// last returns the last message that matches filter, as the stream's leader has it; nil:
// there is none.
func (s *stream) last(ctx context.Context, filter string) (*stored, error) {
	if s.config.Replicas == 1 {
		return s.direct(ctx, map[string]any{"last_by_subj": filter})
	}
	var answer struct {
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err := s.api(ctx, "STREAM.MSG.GET", map[string]any{"last_by_subj": filter}, &answer)
	switch {
	case isCode(err, codeNoMessage):
		return nil, nil
	case err != nil:
		return nil, err
	case answer.Message == nil:
		return nil, errors.New("an answer without a message")
	}
	m := answer.Message
	return &stored{m.Subject, m.Seq, m.Data, m.Time}, nil
}

// direct returns the message that query asks for, from any replica; nil: there is none.
func (s *stream) direct(ctx context.Context, query map[string]any) (*stored, error) {
	body, _ := json.Marshal(query)
	answer, err := s.b.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+s.config.Name, body)
	if errors.Is(err, nats.ErrNoResponders) && s.again(ctx) == nil {
		answer, err = s.b.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+s.config.Name, body)
	}
	if err != nil {
		return nil, err
	}
	return readStored(answer)
}

// discard removes m, which no broker has stored, and tells of it. The caller reads again then:
// where the server refused, m may still be there.
func (s *stream) discard(ctx context.Context, m *stored, tell func(error), why error) error {
	err := s.api(ctx, "STREAM.MSG.DELETE", map[string]any{"seq": m.seq}, nil)
	refused := new(apiError)
	switch {
	case err == nil:
		tell(why)
	case errors.As(err, &refused): // somebody else was first
		pause(ctx, 10*time.Millisecond)
	default:
		return err
	}
	return context.Cause(ctx)
}

// again makes a stream that has gone; if that is not what was wrong, it says so.
func (s *stream) again(ctx context.Context) error {
	s.mu.Lock()
	was := s.ok
	s.ok = false
	s.mu.Unlock()
	if !was {
		return nats.ErrNoResponders
	}
	return s.ready(ctx)
}

// readStored reads a message as a direct get answers; nil: there is none.
func readStored(m *nats.Msg) (*stored, error) {
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404", "204":
		return nil, nil
	default:
		return nil, fmt.Errorf("JetStream: %s %s", status, m.Header.Get("Description"))
	}
	r := &stored{subject: m.Header.Get(jetstream.SubjectHeader), data: m.Data}
	var err1, err2 error
	r.seq, err1 = strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	r.when, err2 = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	return r, errors.Join(err1, err2)
}

// api asks the leader of the stream, in JSON.
func (s *stream) api(ctx context.Context, what string, query, answer any) error {
	body, err := json.Marshal(query)
	if err != nil {
		return err
	}
	m, err := s.b.nc.RequestWithContext(ctx, "$JS.API."+what+"."+s.config.Name, body)
	if err != nil {
		return err
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return err
	}
	if failed.Error != nil {
		return failed.Error
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(m.Data, answer)
}

// purge removes what matches filter and comes before the sequence.
func (s *stream) purge(ctx context.Context, filter string, before uint64) error {
	query := map[string]any{"filter": filter}
	if before > 0 {
		query["seq"] = before
	}
	return s.api(ctx, "STREAM.PURGE", query, nil)
}

// What one request for many messages asks for at most.
const (
	pageMessages = 1000
	pageBytes    = 4 << 20
)

// read calls yield with the messages that match filter, from a sequence on, in order, until it returns false.
// They come from any replica.
func (s *stream) read(ctx context.Context, filter string, from uint64, yield func(*stored) bool) error {
	inbox, err := s.b.nc.SubscribeSync(s.b.nc.NewInbox())
	if err != nil {
		return err
	}
	defer inbox.Unsubscribe()
	for {
		body, _ := json.Marshal(map[string]any{
			"seq": from, "next_by_subj": filter, "batch": pageMessages, "max_bytes": pageBytes,
		})
		if err := s.b.nc.PublishRequest("$JS.API.DIRECT.GET."+s.config.Name, inbox.Subject, body); err != nil {
			return err
		}
		more := false
		for {
			m, err := inbox.NextMsgWithContext(ctx)
			if errors.Is(err, nats.ErrNoResponders) && s.again(ctx) == nil {
				more = true
				break
			}
			if err != nil {
				return err
			}
			if m.Header.Get("Status") == "204" {
				more = m.Header.Get("Nats-Num-Pending") != "0"
				break
			}
			r, err := readStored(m)
			if r == nil || err != nil {
				return err
			}
			from = r.seq + 1
			if !yield(r) {
				return nil
			}
		}
		if !more {
			return nil
		}
	}
}
