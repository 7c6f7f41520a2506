package natsbroker

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// readAck returns the sequence that an answer says.
func readAck(answer *nats.Msg) (uint64, error) {
	if seq, ok := quickAck(answer.Data); ok {
		return seq, nil
	}
	var ack struct {
		Error *apiError `json:"error"`
		Seq   uint64    `json:"seq"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, err
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Seq == 0 {
		return 0, fmt.Errorf("not an acknowledgement: %q", answer.Data)
	}
	return ack.Seq, nil
}

// quickAck reads what usually comes, and is JSON: {"stream":"name","seq":7}.
func quickAck(p []byte) (seq uint64, ok bool) {
	p, ok = bytes.CutPrefix(p, []byte(`{"stream":"`))
	for len(p) > 0 && plain(p[0]) {
		p = p[1:]
	}
	rest, ok2 := bytes.CutPrefix(p, []byte(`","seq":`))
	rest, ok3 := bytes.CutSuffix(rest, []byte("}"))
	if !ok || !ok2 || !ok3 || len(rest) == 0 || len(rest) > 19 || rest[0] == '0' {
		return 0, false
	}
	for _, c := range rest {
		if c < '0' || c > '9' {
			return 0, false
		}
		seq = 10*seq + uint64(c-'0')
	}
	return seq, true
}
