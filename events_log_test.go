package wschannels_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/wschannels/wschannels"
)

// Logs say what happened, without what was sent, and on one line each.
func TestLogsHoldNoPayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, logged := chanLogger()
		box := chanBox(t, &wschannels.Options{Logger: logger, Events: wschannels.Events{
			OnMessage: func(_ context.Context, _ *wschannels.Channel, m wschannels.Message) error {
				var v struct {
					A int8
					T time.Time
				}
				return m.Decode(&v)
			},
		}})
		for _, data := range []string{
			`SECRET`, `{"SECRET":`, `{"A":"SECRET"}`, `{"A":1234567}`, `{"T":"SECRET"}`, `"SECRET"`, `[1] SECRET`, `SECRET` + "\nlevel=ERROR",
		} {
			_, conn, _ := chanServe(t, box, nil, nil)
			conn.Push(websocket.MessageText, []byte(data))
			conn.Push(websocket.MessageBinary, []byte(data))
			synctest.Wait()
			conn.Hangup(4321, "evil\nlevel=ERROR")
		}
		_, conn, result := chanServe(t, box, nil, func(ctx context.Context, c *wschannels.Channel) error {
			_, err := c.Receive(ctx)
			return errors.Join(err, errors.New("after the end"))
		})
		synctest.Wait()
		conn.Hangup(4321, "evil\nlevel=ERROR")
		_ = result()
		text := logged()
		if n := strings.Count(text, "msg="); n < 10 {
			t.Fatalf("%d lines were logged, want one for each bad message:\n%s", n, text)
		}
		for _, bad := range []string{"SECRET", "1234567", "\nlevel=ERROR"} {
			if strings.Contains(text, bad) {
				t.Errorf("the log has %q:\n%s", bad, text)
			}
		}
	})
}
