package natsbroker

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func startServer(t *testing.T) *server.Server {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server does not start")
	}
	return s
}

func TestAQuestionGetsItsOwnAnswerAfterOneThatWasAnsweredTwice(t *testing.T) {
	s := startServer(t)
	b, err := Open(s.ClientURL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	other, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Subscribe("twice", func(m *nats.Msg) {
		_ = m.Respond(m.Data)
		_ = m.Respond(m.Data)
	}); err != nil {
		t.Fatal(err)
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		c, err := b.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint("question ", i)
		answer, err := b.ask(c, &nats.Msg{Subject: "twice", Data: []byte(want)}, time.Minute)
		c.end()
		if err != nil || string(answer.Data) != want {
			t.Fatalf("the answer to %q is %q, %v", want, answer.Data, err)
		}
	}
}

func FuzzAck(f *testing.F) {
	for _, p := range []string{
		`{"stream":"wschannels-order","seq":1764000000000000}`, `{"stream":"x", "seq": 7}`, `{"stream":"x","seq":7,"duplicate":true}`,
		`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"x","seq":0}`, `{"stream":"x","seq":18446744073709551616}`,
		`{"stream":"\u0022","seq":7}`, `{"stream":"x","seq":07}`, `}`, ``,
	} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		seq, ok := quickAck(p)
		if !ok {
			return
		}
		var ack struct {
			Error *apiError `json:"error"`
			Seq   uint64    `json:"seq"`
		}
		if err := json.Unmarshal(p, &ack); err != nil || ack.Error != nil || ack.Seq != seq {
			t.Errorf("%q is %d, and says %d, %v, %v", p, seq, ack.Seq, ack.Error, err)
		}
	})
}
