package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/wschannels/wschannels"
)

// publish writes lines to the room of a page's address, over one connection, as
// fast as it can, and waits until all have gone out.
func publish(t *testing.T, chat *program, page, name string, texts ...string) {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(page, chat.addr, chat.addr+"/ws", 1)+"?name="+strings.ReplaceAll(name, " ", "+"),
		&websocket.DialOptions{HTTPHeader: http.Header{"Origin": {chat.url("")}}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := wschannels.NewChannel(conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(websocket.StatusNormalClosure, "")
	for i, text := range texts {
		if err := c.SendJSON(t.Context(), map[string]string{"type": "say", "id": c.ID().String() + fmt.Sprint(i), "text": text}); err != nil {
			t.Fatal(err)
		}
	}
	for m, err := range c.Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Data struct{ ID, Error string }
		}
		if err := json.Unmarshal(m.Data, &got); err != nil {
			t.Fatal(err)
		}
		if got.Data.Error != "" {
			t.Fatalf("the chat said %q", got.Data.Error)
		}
		if got.Data.ID == c.ID().String()+fmt.Sprint(len(texts)-1) {
			return
		}
	}
	t.Fatal("the connection ended before the last line came back")
}

// numbers are the decimal numbers of a range, as lines.
func numbers(from, to int) []string {
	var lines []string
	for n := from; n <= to; n++ {
		lines = append(lines, fmt.Sprint(n))
	}
	return lines
}

func TestCutInABurst(t *testing.T) {
	chat := start(t, "chat")
	net := newProxy(t, chat.addr)
	ann := visit(t, "http://"+net.addr+"/lobby", "Ann")
	ann.keys("a draft")

	const burst, bursts = 50, 6
	for i := range bursts {
		if i%2 == 1 {
			ann.connected()
			net.cutAfter(int64(3000 + 777*i)) // within a message, with most of the burst to come
		}
		publish(t, chat, chat.url("/lobby"), "Ben", numbers(i*burst+1, (i+1)*burst)...)
		if i%2 == 1 {
			ann.lines(i*burst + 1) // some of it, so the cut has happened before the next
		}
	}
	equal(t, ann.lines(burst*bursts), numbers(1, burst*bursts))
	equal(t, ann.texts(".divider"), []string{})
	if draft := eval[string](ann, `document.getElementById('text').value`); draft != "a draft" {
		t.Errorf("the draft is %q", draft)
	}
	ann.here("Ann")
}

func TestWrittenWhileAway(t *testing.T) {
	chat := start(t, "chat")
	net := newProxy(t, chat.addr)
	ann, ben := visit(t, "http://"+net.addr+"/lobby", "Ann"), visit(t, chat.url("/lobby"), "Ben")
	ann.here("Ann", "Ben")

	net.goDown()
	ben.here("Ben")
	ann.wait(`document.querySelector('#status').textContent.match(/(Reconnecting|Offline).* in \d+ s/)`)
	ann.say("one")
	ann.say("two")
	ann.wait(`Array.from(document.querySelectorAll('#outbox small'), e => e.textContent).join() === 'Not sent yet,Not sent yet'`)
	ben.say("meanwhile")
	ben.lines(1)

	net.comeBack(chat.addr)
	ann.click("#retry")
	want := []string{"meanwhile", "one", "two"}
	equal(t, ben.lines(3), want)
	equal(t, ann.lines(3), want)
	ann.wait(`document.querySelectorAll('#outbox li').length === 0`)
	ben.here("Ann", "Ben")
}

func TestTooMuchAtOnce(t *testing.T) {
	chat := start(t, "chat")
	ann := visit(t, chat.url("/lobby"), "Ann")
	const lines = 70 // more than the server takes in ten seconds
	eval[bool](ann, fmt.Sprintf(`(() => {
		for (let n = 1; n <= %d; n++) {
			document.getElementById('text').value = n;
			document.getElementById('composer').requestSubmit();
		}
		return true;
	})()`, lines))
	ann.wait(`document.getElementById('notice').textContent.startsWith('Too many messages')`)
	equal(t, ann.lines(lines), numbers(1, lines))
	ann.wait(`document.getElementById('notice').textContent === ''`)
}

func TestLostConfirmation(t *testing.T) {
	chat := start(t, "chat")
	net := newProxy(t, chat.addr)
	ann, ben := visit(t, "http://"+net.addr+"/lobby", "Ann"), visit(t, chat.url("/lobby"), "Ben")
	ann.here("Ann", "Ben")

	net.lose()
	ann.say("once")
	ben.lines(1) // it has arrived, but Ann cannot know
	ann.wait(`document.querySelectorAll('#outbox li').length === 1`)
	net.cut()
	ann.connected()
	ann.say("and then")
	want := []string{"once", "and then"}
	equal(t, ann.lines(2), want)
	equal(t, ben.lines(2), want)
}

func TestServerStartsAnew(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*program)
	}{
		{"after a shutdown", (*program).stop},
		{"after a crash", (*program).kill},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chat := start(t, "chat")
			net := newProxy(t, chat.addr)
			ann := visit(t, "http://"+net.addr+"/lobby", "Ann")
			ann.say("before")
			ann.lines(1)

			tt.end(chat)
			ann.wait(`document.body.dataset.state !== 'connected'`)
			ann.say("in between")
			anew := start(t, "chat")
			publish(t, anew, anew.url("/lobby"), "Ben", "held")
			net.comeBack(anew.addr)
			ann.connected()
			equal(t, ann.lines(3), []string{"before", "held", "in between"})
			equal(t, ann.texts(".divider"), []string{"The room had to start over. Some messages may be missing here."})
			ann.wait(`document.querySelector('#log .divider').previousElementSibling.textContent.includes('before')`)
		})
	}
}
