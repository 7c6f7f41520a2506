package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// Browsers have an inflater of their own, with the context that was agreed on: it must
// understand what is compressed once for all members.
func TestBrowsersUnderstandCompressedMessages(t *testing.T) {
	for _, mode := range []websocket.CompressionMode{websocket.CompressionNoContextTakeover, websocket.CompressionContextTakeover} {
		for _, envelope := range []bool{false, true} {
			t.Run(fmt.Sprint(mode, envelope), func(t *testing.T) { testCompressed(t, mode, envelope) })
		}
	}
}

func testCompressed(t *testing.T, mode websocket.CompressionMode, envelope bool) {
	var box *wschannels.ChannelBox
	box, err := wschannels.New(&wschannels.Options{
		Channel: wschannels.ChannelOptions{Envelope: envelope},
		Accept:  websocket.AcceptOptions{CompressionMode: mode},
		Events: wschannels.Events{
			OnConnect: func(ctx context.Context, c *wschannels.Channel) error {
				_, err := box.Join(ctx, c, "all", nil)
				return err
			},
			OnMessage: func(ctx context.Context, _ *wschannels.Channel, m wschannels.Message) error {
				_, err := box.GroupSend(ctx, "all", m, nil)
				return err
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", box)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script>
			const got = [], ws = new WebSocket("ws://" + location.host + "/ws");
			ws.onmessage = e => got.push(e.data);
			const text = i => ("message " + i + ": ünïcödé ").repeat(i * 10);
			const send = n => { for (let i = 0; i < n; i++) ws.send(JSON.stringify({i, text: text(i)})); };
			const right = () => got.map(s => JSON.parse(s)).map(m => m.data || m).filter((m, i) => m.i === i && m.text === text(i)).length;
		</script>`)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	defer func() {
		if err := box.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()

	a, b := open(t, srv.URL), open(t, srv.URL)
	for _, w := range []*window{a, b} {
		w.wait("ws.readyState === 1")
		if got := eval[string](w, "ws.extensions"); got == "" {
			t.Fatal("the browser and the server agreed on no compression")
		}
	}
	const n = 60
	eval[any](a, fmt.Sprintf("send(%d)", n))
	for _, w := range []*window{a, b} {
		w.wait(fmt.Sprintf("got.length >= %d || ws.readyState > 1", n))
		if right := eval[int](w, "right()"); right != n {
			t.Errorf("%d of %d messages are right; the connection's state is %d", right, n, eval[int](w, "ws.readyState"))
		}
	}
}
